//! Sets `cfg(mlx)` where MLX is linked in, tells programs where libmlx lies, and lists the profiles of machines in
//! `calibration/`.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(mlx)");
    profiles();
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if std::env::var_os("CARGO_FEATURE_MLX").is_none() || !matches!(&*system, "macos" | "linux") {
        return;
    }
    println!("cargo::rustc-cfg=mlx");
    // Set by the Cargo configuration that `cargo xtask setup` writes, and to a place beside the program for wheels.
    println!("cargo::rerun-if-env-changed=MLXPLAN_LIBMLX");
    if let Ok(folder) = std::env::var("MLXPLAN_LIBMLX") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    }
}

/// Writes the list of profiles, each with its text, as Rust.
fn profiles() {
    println!("cargo::rerun-if-changed=calibration");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("calibration");
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    paths.sort();
    let row = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        format!("({name:?}, include_str!({:?})),\n", path.display().to_string())
    };
    let rows: String = paths.iter().map(row).collect();
    let text = format!(
        "/// Names and texts of the profiles.\nconst FILES: &[(&str, &str)] = &[\n{rows}];\n"
    );
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    if let Err(e) = std::fs::write(out.join("shipped_profiles.rs"), text) {
        println!("cargo::error=the list of profiles cannot be written: {e}");
    }
}
