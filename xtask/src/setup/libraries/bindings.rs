//! Rust declarations of the C wrapper, where `mlx-sys` includes them from.

use super::super::step::{fingerprint, once};
use super::libmlx;
use super::mlx_sys::Source;
use crate::project::Project;
use crate::versions::MLX_LINKED;
use anyhow::{Context, Result};
use std::path::PathBuf;
use xshell::cmd;

/// The half types, which the headers declare on Arm only.
const HALF_TYPES: &str = include_str!("../../../assets/half_types.rs");

/// Generates `bindings.rs`, with the options of the crate's own build script.
pub fn generate(project: &Project, sys: &Source) -> Result<()> {
    let sh = &project.shell;
    let inputs = format!(
        "mlx-sys {}\nMLX {MLX_LINKED}\n{}\nhalf types {}",
        sys.version,
        sys.host,
        fingerprint(HALF_TYPES)
    );
    let output = folder(project).join("bindings.rs");
    once(project, "bindings", &inputs, &output, || {
        // libclang's wheel has no headers of the compiler's own, such as stddef.h.
        let headers = cmd!(sh, "cc -print-file-name=include").quiet().read()?;
        // SAFETY: no other thread runs at this point; bindgen reads the variable in this one.
        unsafe { std::env::set_var("LIBCLANG_PATH", libmlx::clang(project)) };
        let mut files = sh.read_dir(sys.wrapper.join("mlx/c"))?;
        files.retain(|path| path.extension().is_some_and(|e| e == "h"));
        files.sort();
        let mut builder = bindgen::Builder::default()
            .rust_target("1.73.0".parse().map_err(anyhow::Error::msg)?)
            .clang_arg(format!("-I{}", sys.wrapper.display()))
            .clang_arg(format!("-I{headers}"))
            .blocklist_function("malloc")
            .blocklist_function("realloc");
        if cfg!(target_os = "macos") {
            let sdk = cmd!(sh, "xcrun --show-sdk-path").quiet().read()?;
            builder = builder.clang_args(["-isysroot".to_owned(), sdk]);
        }
        let mut text = files
            .iter()
            .fold(builder, |builder, file| builder.header(file.to_string_lossy()))
            .generate()
            .context("bindgen failed on the headers of mlx-c")?
            .to_string();
        if !text.contains("mlx_array_data_float16") {
            text.push_str(HALF_TYPES);
        }
        sh.write_file(&output, text)?;
        Ok(())
    })
}

/// Folder of `bindings.rs`.
pub fn folder(project: &Project) -> PathBuf {
    project.mlx.join("bindings")
}
