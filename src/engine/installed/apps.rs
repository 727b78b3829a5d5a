//! Applications, LM Studio's back ends and Homebrew's formulas.

use super::{Installed, MOST, Places, found, names, python};
use crate::run::{Program, Version};
use std::path::Path;

/// Longest description of an application that is read, bytes.
const LONGEST: u64 = 1 << 20;

pub(super) fn find(places: &Places) -> Vec<Installed> {
    let mut all = lm_studio(places);
    let app = places.applications.join("Ollama.app");
    if app.is_dir() {
        all.push(found(Program::Ollama, app_version(&app), app));
    }
    for (formula, program) in [("llama.cpp", Program::LlamaCpp), ("ollama", Program::Ollama)] {
        let folder = places.homebrew.join("Cellar").join(formula);
        let versions = names(&folder).into_iter().take(MOST);
        all.extend(versions.map(|v| found(program, formula_version(&v), folder.join(&v))));
    }
    all
}

/// Homebrew counts llama.cpp by builds without a letter.
fn formula_version(text: &str) -> Option<Version> {
    text.parse().ok().or_else(|| format!("b{text}").parse().ok())
}

/// Both runtimes of LM Studio, with the MLX of the newest back end.
fn lm_studio(places: &Places) -> Vec<Installed> {
    let app = places.applications.join("LM Studio.app");
    let backends = places.home.join(".lmstudio/extensions/backends");
    let version = app_version(&app);
    let kinds = names(&backends);
    let mut all = Vec::new();
    let vendor = backends.join("vendor/_amphibian");
    let sites = names(&vendor).into_iter().filter(|n| n.starts_with("app-mlx-generate-"));
    let mlx = sites
        .filter_map(|n| {
            let (mlx, kernels) =
                python::mlx(&vendor.join(&n).join("lib/python3.11/site-packages"))?;
            Some((mlx, kernels.or(Some(n.contains("mac26")))))
        })
        .max();
    if app.is_dir() || mlx.is_some() || kinds.iter().any(|n| n.starts_with("mlx-llm-")) {
        let place = if app.is_dir() { app.clone() } else { backends.clone() };
        let runtime = found(Program::LmStudio, version, place);
        let (release, kernels) = mlx.unzip();
        all.push(Installed { mlx: release, matrix_unit_kernels: kernels.flatten(), ..runtime });
    }
    if kinds.iter().any(|n| n.starts_with("llama.cpp-")) {
        all.push(found(Program::LmStudioGguf, version, backends));
    }
    all
}

/// The version of an application, where its description is text.
fn app_version(app: &Path) -> Option<Version> {
    let bytes = crate::files::bytes(&app.join("Contents/Info.plist"), LONGEST).ok()?;
    let text = std::str::from_utf8(&bytes).ok()?;
    let (_, after) = text.split_once("<key>CFBundleShortVersionString</key>")?;
    let (_, value) = after.split_once("<string>")?;
    value.split_once("</string>")?.0.parse().ok()
}
