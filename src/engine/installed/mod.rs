//! The programs that are installed on this machine, found by the names of folders and files alone: nothing is started.

mod apps;
mod python;

use super::programs::{Engines, EnginesError};
use crate::run::{EngineSetup, MatrixUnits, MlxRelease, Program, Version};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Most folders of a kind that are looked into.
const MOST: usize = 200;

/// Where programs are looked for.
#[derive(Clone, Debug)]
pub struct Places {
    /// The user's folder.
    pub home: PathBuf,
    /// The active Python environment.
    pub environment: Option<PathBuf>,
    /// Applications.
    pub applications: PathBuf,
    /// Homebrew.
    pub homebrew: PathBuf,
}

impl Places {
    /// Those of this machine; `None` where there is no user's folder.
    #[must_use]
    pub fn here() -> Option<Self> {
        Some(Self {
            home: std::env::home_dir()?,
            environment: std::env::var_os("VIRTUAL_ENV").map(PathBuf::from),
            applications: PathBuf::from("/Applications"),
            homebrew: PathBuf::from("/opt/homebrew"),
        })
    }
}

/// A program that is installed.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Installed {
    /// The program.
    pub program: Program,
    /// Its version, where the names of files tell it.
    pub version: Option<Version>,
    /// The MLX that it runs on.
    pub mlx: Option<Version>,
    /// Whether that MLX was built with kernels for matrix units.
    pub matrix_unit_kernels: Option<bool>,
    /// The newest version known, where that is a newer one.
    pub newer: Option<Version>,
    /// The newest MLX known, where that is a newer one.
    pub newer_mlx: Option<Version>,
    /// Where it was found.
    pub place: PathBuf,
}

impl Installed {
    /// What is out of date and what an update would change, in words; `None` where nothing is.
    #[must_use]
    pub fn update(&self) -> Option<String> {
        let mut parts = Vec::new();
        if let Some(newer) = self.newer {
            parts.push(format!("{} {newer} is out", self.program));
        }
        if let Some((newer, mlx)) = self.newer_mlx.zip(self.mlx) {
            let gained = super::programs::fused_since(mlx, newer);
            let heads: Vec<String> = gained.iter().map(ToString::to_string).collect();
            let effect = if heads.is_empty() {
                String::new()
            } else {
                format!(
                    ", which fuses attention with heads of {} in more prompts: less memory",
                    heads.join(", ")
                )
            };
            parts.push(format!("MLX {newer} is out{effect}"));
        }
        if self.matrix_unit_kernels == Some(false) {
            parts.push(
                "its MLX has no kernels for matrix units: on an M5, reinstall it under macOS 26"
                    .to_owned(),
            );
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Settings of an engine as they are with what is installed.
    #[must_use]
    pub fn applied(&self, mut setup: EngineSetup) -> EngineSetup {
        if let Some(mlx) = self.mlx {
            setup.mlx = MlxRelease::known(mlx);
        }
        if self.matrix_unit_kernels == Some(false) && setup.matrix_units == MatrixUnits::Auto {
            setup.matrix_units = MatrixUnits::Off;
        }
        setup
    }
}

/// Every program that is found, each place once.
///
/// # Errors
/// Never, as a test of the embedded file shows.
pub fn find(places: &Places) -> Result<Vec<Installed>, EnginesError> {
    let known = Engines::embedded()?;
    let mut all = python::find(places);
    all.extend(apps::find(places));
    for one in &mut all {
        let newest = known.newest(one.program).filter(|v| !v.is_day());
        one.newer = newest.filter(|&n| one.version.is_some_and(|v| v < n && !v.is_day()));
        one.newer_mlx = Some(known.newest_mlx()).filter(|&n| one.mlx.is_some_and(|v| v < n));
    }
    all.sort_by(|a, b| (a.program, b.version, &a.place).cmp(&(b.program, a.version, &b.place)));
    all.dedup();
    Ok(all)
}

/// Names in a folder, in order; none where it cannot be read.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().take(10 * MOST);
    let mut all: Vec<String> =
        entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    all.sort_unstable();
    all
}

fn found(program: Program, version: Option<Version>, place: PathBuf) -> Installed {
    Installed {
        program,
        version,
        mlx: None,
        matrix_unit_kernels: None,
        newer: None,
        newer_mlx: None,
        place,
    }
}

#[cfg(test)]
mod tests;
