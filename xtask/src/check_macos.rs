//! `cargo xtask check-macos`: the macOS code, type-checked from Linux.
//!
//! rustup's macOS library serves where it can be had, and needs no root. Elsewhere Debian's compiler does, which comes
//! with the sources of the standard library, from which Cargo checks it for macOS. Either proves that the code
//! compiles, not that it runs.

use crate::packages;
use crate::project::Project;
use crate::setup;
use anyhow::{Context, Result, bail};
use std::path::Path;
use xshell::{Cmd, cmd};

const TARGET: &str = "aarch64-apple-darwin";
const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";

/// Checks the library and the program, with MLX where `mlx` says that it is there: no macOS code is for builds without
/// it alone, and the tests hold none.
pub fn run(project: &Project, mlx: bool) -> Result<()> {
    if cfg!(not(target_os = "linux")) {
        bail!("check-macos is for Linux; on macOS, `cargo check` checks the macOS code");
    }
    let toolchain = Toolchain::find(project)?;
    let mut arguments = Vec::new();
    if mlx {
        arguments = setup::cargo_arguments(project);
        arguments.extend(["--features".into(), "mlx".into()]);
    }
    toolchain.check(project, &arguments)
}

/// A compiler that knows macOS.
enum Toolchain {
    /// The running one, with rustup's macOS library.
    Rustup,
    /// Debian's, with the sources of its library.
    Debian,
}

impl Toolchain {
    /// Asks rustup for the macOS library, then Debian for its compiler.
    fn find(project: &Project) -> Result<Self> {
        let sh = &project.shell;
        if cmd!(sh, "rustup target add {TARGET}").quiet().ignore_stderr().run().is_ok() {
            return Ok(Self::Rustup);
        }
        if !debian_is_there(project) {
            packages::install(
                project,
                "a compiler for macOS (`rustup target add aarch64-apple-darwin`, or Debian's)",
                &PACKAGES,
            )?;
        }
        if !debian_is_there(project) {
            bail!("{} did not bring {RUSTC} and the library's sources", PACKAGES.join(", "));
        }
        Ok(Self::Debian)
    }

    fn check(&self, project: &Project, arguments: &[std::ffi::OsString]) -> Result<()> {
        let sh = &project.shell;
        let words = ["--target", TARGET, "--lib", "--bins"];
        let command = match self {
            Self::Rustup => cmd!(sh, "cargo check {words...} {arguments...}"),
            Self::Debian => debian(project, cmd!(sh, "{CARGO} check {words...} {arguments...}")),
        };
        command
            // C sources of dependencies need no compiling for a check.
            .env("CC_aarch64_apple_darwin", "/bin/true")
            .env("AR_aarch64_apple_darwin", "/bin/true")
            .run()
            .context("the macOS code does not type-check")
    }
}

/// Lets Debian's compiler check its own library for macOS.
fn debian<'a>(project: &Project, command: Cmd<'a>) -> Cmd<'a> {
    command
        .arg("-Zbuild-std=std,panic_abort")
        .env("PATH", "/usr/bin:/bin")
        .env("RUSTC", RUSTC)
        // -Zbuild-std is for nightly compilers; this one matches its sources, so it may use it.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", project.target.join("macos"))
        // The running toolchain's libraries are not this compiler's.
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("RUSTUP_TOOLCHAIN")
}

fn debian_is_there(project: &Project) -> bool {
    let sh = &project.shell;
    let root =
        cmd!(sh, "{RUSTC} --print sysroot").quiet().ignore_stderr().read().unwrap_or_default();
    Path::new(CARGO).exists() && Path::new(&root).join("lib/rustlib/src/rust/library").exists()
}
