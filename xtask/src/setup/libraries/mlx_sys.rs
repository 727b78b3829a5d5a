//! The sources of the crate `mlx-sys` in the version that mlxplan depends on.

use crate::project::Project;
use crate::versions::MLX_LINKED;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use xshell::cmd;

/// The unpacked crate.
pub struct Source {
    /// Version of the crate.
    pub version: String,
    /// Root of the C wrapper's sources, which travel inside the crate.
    pub wrapper: PathBuf,
    /// The target triple of this machine.
    pub host: String,
}

impl Source {
    /// Asks Cargo where the crate lies; Cargo fetches it when it is not there.
    pub fn find(project: &Project) -> Result<Self> {
        let sh = &project.shell;
        let host = cmd!(sh, "rustc -vV").quiet().read()?;
        let host = host
            .lines()
            .find_map(|line| line.strip_prefix("host: "))
            .context("rustc -vV names no host")?
            .to_owned();
        let metadata = cmd!(
            sh,
            "cargo metadata --format-version 1 --locked --features mlx --filter-platform {host}"
        )
        .quiet()
        .read()
        .context("cargo metadata failed; set-up needs the crate registry once")?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let package = metadata["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|package| package["name"] == "mlx-sys")
            .context("mlxplan does not depend on mlx-sys with the feature mlx")?;
        let text = |key: &str| {
            package[key].as_str().with_context(|| format!("cargo metadata: no {key} of mlx-sys"))
        };
        let manifest = PathBuf::from(text("manifest_path")?);
        let wrapper = manifest.parent().context("mlx-sys has no folder")?.join("src/mlx-c");
        let cmake = sh.read_file(wrapper.join("CMakeLists.txt"))?;
        let version = text("version")?;
        let pinned = pinned_mlx(&cmake).context("mlx-c's CMakeLists.txt pins no MLX version")?;
        ensure!(
            pinned == MLX_LINKED,
            "mlx-sys {version} wraps MLX {pinned}, but set-up brings {MLX_LINKED}; change src/versions.rs"
        );
        Ok(Self { version: version.to_owned(), wrapper, host })
    }
}

/// The version in `GIT_TAG v0.32.2`, with which the wrapper fetches MLX when it builds it itself.
fn pinned_mlx(cmake: &str) -> Option<&str> {
    let (_, rest) = cmake.split_once("GIT_TAG v")?;
    rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()
}

#[cfg(test)]
mod tests {
    use super::pinned_mlx;

    #[test]
    fn the_pinned_version_is_read() {
        let text = "FetchContent_Declare(\n mlx\n GIT_REPOSITORY \"…\"\n GIT_TAG v0.32.2)\n";
        assert_eq!(pinned_mlx(text), Some("0.32.2"));
        assert_eq!(pinned_mlx("GIT_TAG main"), None);
    }
}
