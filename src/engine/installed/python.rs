//! Programs in Python environments, by their `dist-info` folders.

use super::{Installed, MOST, Places, found, names};
use crate::run::{Program, Version};
use std::path::{Path, PathBuf};

/// Packages and the programs that they are.
const PACKAGES: [(&str, Program); 7] = [
    ("mlx_lm", Program::MlxLm),
    ("mlx_lm", Program::MlxServer),
    ("mlx_vlm", Program::MlxVlm),
    ("vllm_mlx", Program::VllmMlx),
    ("vllm_metal", Program::VllmMetal),
    ("rapid_mlx", Program::RapidMlx),
    ("omlx", Program::Omlx),
];
/// The tag of wheels with kernels for matrix units.
const WITH_MATRIX_UNITS: &str = "macosx_26_0";
/// Longest description of a wheel that is read, bytes.
const LONGEST: u64 = 1 << 16;

pub(super) fn find(places: &Places) -> Vec<Installed> {
    let mut roots: Vec<PathBuf> = places.environment.iter().cloned().collect();
    for tools in [".local/pipx/venvs", ".local/share/uv/tools"] {
        let folder = places.home.join(tools);
        roots.extend(names(&folder).into_iter().take(MOST).map(|name| folder.join(name)));
    }
    roots.push(places.homebrew.clone());
    let cellar = places.homebrew.join("Cellar");
    for formula in ["mlx-lm", "omlx", "mlx"] {
        let folder = cellar.join(formula);
        roots.extend(names(&folder).into_iter().map(|v| folder.join(v).join("libexec")));
    }
    roots.iter().flat_map(|root| site_packages(root)).flat_map(|site| of_site(&site)).collect()
}

/// The `site-packages` of an environment, one for every version of Python.
fn site_packages(root: &Path) -> Vec<PathBuf> {
    let lib = root.join("lib");
    let pythons = names(&lib).into_iter().filter(|name| name.starts_with("python3"));
    pythons.map(|python| lib.join(python).join("site-packages")).collect()
}

/// The programs of a `site-packages` folder.
pub(super) fn of_site(site: &Path) -> Vec<Installed> {
    let packages: Vec<(String, Version, String)> = names(site)
        .into_iter()
        .filter_map(|name| {
            let (package, version) = name.strip_suffix(".dist-info")?.split_once('-')?;
            Some((package.to_lowercase(), version.parse().ok()?, name.clone()))
        })
        .collect();
    let of = |wanted: &str| packages.iter().find(|(package, ..)| package == wanted);
    let mlx = of("mlx").map(|(_, version, _)| *version);
    let kernels = of("mlx_metal").and_then(|(.., name)| with_matrix_units(&site.join(name)));
    let program = |&(package, program): &(&str, Program)| {
        let (_, version, _) = of(package)?;
        let found = found(program, Some(*version), site.to_owned());
        Some(Installed { mlx, matrix_unit_kernels: kernels, ..found })
    };
    PACKAGES.iter().filter_map(program).collect()
}

/// The version of MLX in a `site-packages` folder, and whether it has kernels for matrix units.
pub(super) fn mlx(site: &Path) -> Option<(Version, Option<bool>)> {
    let all = names(site);
    let version =
        |name: &String| name.strip_prefix("mlx-")?.strip_suffix(".dist-info")?.parse().ok();
    let metal = all.iter().find(|n| n.starts_with("mlx_metal-") && n.ends_with(".dist-info"));
    Some((all.iter().find_map(version)?, metal.and_then(|n| with_matrix_units(&site.join(n)))))
}

/// What the tag of a wheel says.
fn with_matrix_units(dist_info: &Path) -> Option<bool> {
    let bytes = crate::files::bytes(&dist_info.join("WHEEL"), LONGEST).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let tag = text.lines().find_map(|line| line.strip_prefix("Tag:"))?;
    tag.contains("macosx").then(|| tag.contains(WITH_MATRIX_UNITS))
}
