//! Where the project's files lie, and a shell that stands in its root.

use anyhow::{Context, Result};
use std::env;
use std::path::{Path, PathBuf};
use xshell::Shell;

/// The project's folders.
#[derive(Clone)]
pub struct Project {
    /// A shell whose current folder is the root of the workspace.
    pub shell: Shell,
    /// Cargo's target folder, absolute.
    pub target: PathBuf,
    /// Whether root on Debian may install packages.
    pub system_packages: bool,
    /// What `setup` brings: libmlx, the C wrapper, bindings, the Python environment, models.
    pub mlx: PathBuf,
}

impl Project {
    /// Finds the workspace that this program was built from.
    pub fn open(system_packages: bool) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask's folder has no parent")?;
        let shell = Shell::new()?;
        shell.change_dir(root);
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => env::current_dir()?.join(folder),
            None => root.join("target"),
        };
        let mlx = target.join("mlx");
        Ok(Self { shell, target, mlx, system_packages })
    }

    /// The Cargo configuration that links MLX; pass it as `cargo build --config <file>`.
    pub fn cargo_config(&self) -> PathBuf {
        self.mlx.join("cargo-config.toml")
    }

    /// The interpreter of the environment that `setup` makes.
    pub fn python(&self) -> PathBuf {
        self.mlx.join("venv/bin/python")
    }
}
