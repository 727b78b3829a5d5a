//! The wheel: the planner as a script, and the program with MLX inside the package.

use super::Release;
use super::place::Place;
use crate::setup::LIBMLX;
use crate::setup::python;
use crate::setup::step::once;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use xshell::cmd;

const MATURIN: &str = "maturin==1.16.0";
/// The model that the wheel is tried with, which set-up brings.
const MODEL: &str = "SmolLM2-135M-Instruct-4bit";

/// Makes the wheel and tries it in a new environment; returns how much was tried.
pub fn run(release: &Release<'_>, compatibility: &str) -> Result<u64> {
    let wheel = make(release, compatibility)?;
    let place = Place::new("wheel")?;
    let python = environment(&place, &wheel)?;
    let bin = python.parent().context("the environment has no folder of programs")?;
    let mlxplan = bin.join("mlxplan");
    copy_folder(&release.project.mlx.join("models").join(MODEL), &place.folder().join(MODEL))?;
    place.expect(&mlxplan, &["--version"], (0, &release.version))?;
    place.expect(&python, &["-m", "mlxplan", "--version"], (0, &release.version))?;
    let recommend = ["recommend", "--model", "qwen3-8b-4bit", "--mac", "m4max-40/64"];
    place.expect(&mlxplan, &recommend, (0, "tok/s"))?;
    place.expect(&mlxplan, &["calibrate", "--quick", "--json"], (0, "mlxplan.profile/1"))?;
    let validate = ["validate", "--model", MODEL, "--json"];
    place.expect(&mlxplan, &validate, (0, "mlxplan.live_validation/1"))?;
    refusals(&place, &python, &mlxplan)?;
    place.expect(&mlxplan, &recommend, (0, "tok/s"))?;
    Ok(8)
}

/// With another libmlx, and then with none, what needs it says so.
fn refusals(place: &Place, python: &Path, mlxplan: &Path) -> Result<()> {
    let code = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let packages = place.run(python, &["-c", code])?;
    let packages = PathBuf::from(String::from_utf8(packages.stdout)?.trim());
    let header = packages.join("mlx/include/mlx/version.h");
    let text = fs::read_to_string(&header).with_context(|| header.display().to_string())?;
    fs::write(&header, text.replace("MLX_VERSION_MINOR 32", "MLX_VERSION_MINOR 99"))?;
    place.expect(mlxplan, &["calibrate", "--quick"], (2, "has MLX 0.99."))?;
    place.expect(python, &["-m", "pip", "uninstall", "-y", LIBMLX], (0, "uninstalled"))?;
    place.expect(mlxplan, &["calibrate", "--quick"], (2, LIBMLX))
}

fn make(release: &Release<'_>, compatibility: &str) -> Result<PathBuf> {
    let (sh, project) = (&release.project.shell, release.project);
    let built = release.with_mlx()?;
    let carried = sh.current_dir().join("python/mlxplan/mlxplan-mlx");
    fs::copy(&built, &carried)?;
    cmd!(sh, "strip -S {carried}").run()?;
    let python = maturin(release)?;
    let (out, profile) = (project.target.join("wheels"), &release.profile);
    sh.remove_path(&out)?;
    let mut words = vec!["--locked", "--profile", profile];
    if cfg!(target_os = "linux") {
        words.extend(["--compatibility", compatibility]);
    }
    let made = cmd!(sh, "{python} -m maturin build {words...} --out {out}").run();
    // It belongs to the wheel, not to the sources.
    sh.remove_path(&carried)?;
    made?;
    let wheel = sh.read_dir(&out)?.into_iter().next().context("maturin made no wheel")?;
    let name = wheel.file_name().context("the wheel has no name")?;
    let kept = release.out.join(name);
    fs::copy(&wheel, &kept)?;
    Ok(kept)
}

/// The interpreter of an environment with maturin.
fn maturin(release: &Release<'_>) -> Result<PathBuf> {
    let project = release.project;
    let folder = project.mlx.join("maturin");
    let environment = python::environment(project, "maturin's Python", &folder)?;
    let python = folder.join("bin/python");
    once(project, "maturin", &format!("{MATURIN}\n{environment}"), &python, || {
        python::install(project, &python, &[MATURIN.to_owned()])
    })?;
    Ok(python)
}

/// A new environment with the wheel; returns its interpreter.
fn environment(place: &Place, wheel: &Path) -> Result<PathBuf> {
    let base = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    place.expect(&base, &["-m", "venv", "venv"], (0, ""))?;
    let python = place.folder().join("venv/bin/python");
    let wheel = wheel.display().to_string();
    let words = ["-m", "pip", "install", "--no-input", "--disable-pip-version-check", &wheel];
    place.expect(&python, &words, (0, "Successfully installed"))?;
    Ok(python)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut files = 0;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
        files += 1;
    }
    ensure!(files > 0, "{} is empty", from.display());
    Ok(())
}
