//! `cargo xtask check-macos`: the macOS code, type-checked from Linux.
//!
//! Debian's compiler comes with the sources of the standard library, from which Cargo checks it for macOS; rustup's
//! macOS library may be out of reach. It proves that the code compiles, not that it runs.

use crate::project::Project;
use crate::{apt, setup};
use anyhow::{Context, Result, bail};
use std::path::Path;
use xshell::cmd;

const TARGET: &str = "aarch64-apple-darwin";
const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";

/// Checks all targets, without MLX and with it.
pub fn run(project: &Project) -> Result<()> {
    if cfg!(not(target_os = "linux")) {
        bail!("check-macos is for Linux; on macOS, `cargo check` checks the macOS code");
    }
    compiler(project)?;
    setup::libraries(project)?;
    let sh = &project.shell;
    let target = project.target.join("macos");
    let config = &setup::cargo_arguments(project);
    for features in [&[][..], &["--features", "mlx"]] {
        cmd!(
            sh,
            "{CARGO} check {config...} -Zbuild-std=std,panic_abort --target {TARGET} --workspace --all-targets {features...}"
        )
        .env("PATH", "/usr/bin:/bin")
        .env("RUSTC", RUSTC)
        // -Zbuild-std is for nightly compilers; this one matches its sources, so it may use it.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target)
        // C sources of dependencies need no compiling for a check.
        .env("CC_aarch64_apple_darwin", "/bin/true")
        .env("AR_aarch64_apple_darwin", "/bin/true")
        // The running toolchain's libraries are not this compiler's.
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("RUSTUP_TOOLCHAIN")
        .run()
        .context("the macOS code does not type-check")?;
    }
    Ok(())
}

/// Makes sure of Debian's compiler and its library's sources; root on Debian gets them installed.
fn compiler(project: &Project) -> Result<()> {
    let sh = &project.shell;
    let there = || {
        let root =
            cmd!(sh, "{RUSTC} --print sysroot").quiet().ignore_stderr().read().unwrap_or_default();
        Path::new(CARGO).exists() && Path::new(&root).join("lib/rustlib/src/rust/library").exists()
    };
    if there() {
        return Ok(());
    }
    apt::install(project, "Debian's Rust compiler with its library's sources", &PACKAGES)?;
    if !there() {
        bail!("{} did not bring {RUSTC} and the library's sources", PACKAGES.join(", "));
    }
    Ok(())
}
