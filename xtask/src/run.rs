//! `cargo xtask run -- ARGS` and `cargo xtask build`: mlxplan with the feature `mlx`.

use crate::project::Project;
use crate::setup;
use anyhow::Result;
use xshell::cmd;

/// Builds mlxplan with MLX, optimized, and runs it with `args`; its exit code becomes this program's.
pub fn run(project: &Project, args: &[String]) -> Result<()> {
    setup::libraries(project)?;
    let config = setup::cargo_arguments(project);
    let status = std::process::Command::from(
        cmd!(project.shell, "cargo run {config...} --quiet --release --features mlx -- {args...}")
            .quiet(),
    )
    .status()?;
    std::process::exit(status.code().unwrap_or(1));
}

/// Builds mlxplan as releases have it: the profile `dist`, with MLX. Says where the program lies.
pub fn build(project: &Project) -> Result<()> {
    setup::libraries(project)?;
    let config = setup::cargo_arguments(project);
    cmd!(project.shell, "cargo build {config...} --profile dist --features mlx").run()?;
    println!("{}", project.target.join("dist/mlxplan").display());
    Ok(())
}
