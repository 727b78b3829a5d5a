//! The C wrapper of MLX, compiled from the sources inside `mlx-sys`.

use super::super::step::{fingerprint, once};
use super::libmlx;
use super::mlx_sys::Source;
use crate::packages::Missing;
use crate::project::Project;
use crate::versions::MLX_LINKED;
use anyhow::{Context, Result};
use std::path::PathBuf;
use xshell::cmd;

/// Stands in for `std::format` where the C++ library has none (GCC 12).
const FORMAT_SHIM: &str = include_str!("../../../assets/format_shim.hpp");

/// Compiles `libmlxc.a`.
pub fn build(project: &Project, sys: &Source) -> Result<()> {
    let sh = &project.shell;
    let compiler =
        cmd!(sh, "c++ --version").quiet().ignore_stderr().read().map_err(|_| {
            Missing::error("a C++ compiler", "install one with C++20 (Debian: g++)")
        })?;
    let compiler = compiler.lines().next().unwrap_or_default();
    let inputs = format!(
        "mlx-sys {}\nMLX {MLX_LINKED}\n{compiler}\nformat shim {}",
        sys.version,
        fingerprint(FORMAT_SHIM)
    );
    let folder = library(project);
    once(project, "wrapper", &inputs, &folder.join("libmlxc.a"), || {
        sh.remove_path(&folder)?;
        sh.create_dir(&folder)?;
        let shim = folder.join("format_shim.hpp");
        sh.write_file(&shim, FORMAT_SHIM)?;
        let mut sources = sh.read_dir(sys.wrapper.join("mlx/c"))?;
        sources.retain(|path| path.extension().is_some_and(|e| e == "cpp"));
        if cfg!(target_os = "macos") {
            // SAFETY: no other thread runs at this point. The C++ library has `std::format` for macOS 13.3 and newer.
            unsafe { std::env::set_var("MACOSX_DEPLOYMENT_TARGET", super::MACOS) };
        }
        cc::Build::new()
            .cpp(true)
            .std("c++20")
            .files(sources)
            .include(&sys.wrapper)
            .include(libmlx::include(project))
            .flag("-include")
            .flag(&shim)
            .host(&sys.host)
            .target(&sys.host)
            .opt_level(2)
            .debug(false)
            .pic(true)
            .warnings(false)
            .cargo_metadata(false)
            .out_dir(&folder)
            .try_compile("mlxc")
            .context("the C wrapper of MLX did not compile")?;
        Ok(())
    })
}

/// Folder of `libmlxc.a`.
pub fn library(project: &Project) -> PathBuf {
    project.mlx.join("lib")
}
