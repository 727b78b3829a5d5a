//! The Cargo configuration that replaces the build script of `mlx-sys`.

use super::mlx_sys::Source;
use super::{bindings, libmlx, wrapper};
use crate::project::Project;
use anyhow::Result;

/// Writes the file, if it is not there as it should be; its paths are absolute.
///
/// `mlx-sys` declares `links = "mlx"`, so Cargo takes its build script's results from here instead of running it.
pub fn write(project: &Project, sys: &Source) -> Result<()> {
    let (lib, libmlx) = (wrapper::library(project), libmlx::library(project));
    let (lib, libmlx) = (lib.display(), libmlx.display());
    let bindings = bindings::folder(project);
    let (host, bindings) = (&sys.host, bindings.display());
    let (cpp, for_macos) = match cfg!(target_os = "macos") {
        true => ("c++", format!("MACOSX_DEPLOYMENT_TARGET = \"{}\"\n", super::MACOS)),
        false => ("stdc++", String::new()),
    };
    let type_check = match cfg!(target_os = "macos") {
        true => String::new(),
        false => format!(
            "\n# For type checks only (`cargo xtask check-macos`): nothing is linked there.\n\
             [target.aarch64-apple-darwin.mlx]\nrustc-env = {{ OUT_DIR = \"{bindings}\" }}\n"
        ),
    };
    let text = format!(
        r#"# Written by `cargo xtask setup`: cargo build --config <this file> --features mlx (after the subcommand)

[target.{host}.mlx]
rustc-link-search = ["native={lib}", "native={libmlx}"]
rustc-link-lib = ["static=mlxc", "dylib=mlx", "dylib={cpp}"]
rustc-env = {{ OUT_DIR = "{bindings}" }}
{type_check}
# Where programs look for libmlx.
[env]
MLXPLAN_LIBMLX = "{libmlx}"
{for_macos}"#
    );
    let file = project.cargo_config();
    if std::fs::read_to_string(&file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    project.shell.write_file(&file, text)?;
    eprintln!("cargo configuration: {}", file.display());
    Ok(())
}
