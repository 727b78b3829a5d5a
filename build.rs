//! Sets `cfg(mlx)` where MLX is linked in, and tells programs where libmlx lies.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(mlx)");
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
