//! The archive of one system: the planner, completions, man pages.

use super::Release;
use super::place::Place;
use crate::docs;
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use xshell::cmd;

/// Shells with completions, and how their file is named.
const SHELLS: [(&str, &str); 3] =
    [("bash", "mlxplan.bash"), ("zsh", "_mlxplan"), ("fish", "mlxplan.fish")];
/// What stands beside the program.
const TEXTS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// Makes the archive and tries it in a clean folder; returns how much was tried.
pub fn run(release: &Release<'_>) -> Result<u64> {
    let (sh, project) = (&release.project.shell, release.project);
    let program = release.build(&project.target, &[])?;
    docs::run(project)?;
    let name = release.archive(&release.host);
    let folder = project.target.join("archive").join(&name);
    sh.remove_path(&folder)?;
    fs::create_dir_all(folder.join("completions"))?;
    let mlxplan = folder.join("mlxplan");
    fs::copy(&program, &mlxplan)?;
    cmd!(sh, "strip -S {mlxplan}").run()?;
    for text in TEXTS {
        fs::copy(sh.current_dir().join(text), folder.join(text))?;
    }
    for (shell, file) in SHELLS {
        let script = Command::new(&mlxplan).args(["completions", shell]).output()?;
        ensure!(script.status.success() && !script.stdout.is_empty(), "no completions for {shell}");
        fs::write(folder.join("completions").join(file), script.stdout)?;
    }
    let man = folder.join("man");
    fs::create_dir_all(&man)?;
    for page in sh.read_dir(project.target.join("man"))? {
        if let Some(file) = page.file_name() {
            fs::copy(&page, man.join(file))?;
        }
    }
    let archive = release.out.join(format!("{name}.tar.gz"));
    let beside = project.target.join("archive");
    cmd!(sh, "tar -czf {archive} -C {beside} {name}").run()?;
    try_out(release, &archive, &name)
}

fn try_out(release: &Release<'_>, archive: &Path, name: &str) -> Result<u64> {
    let place = Place::new("archive")?;
    let folder = place.folder();
    cmd!(release.project.shell, "tar -xzf {archive} -C {folder}").run()?;
    let program = folder.join(name).join("mlxplan");
    for part in ["completions/_mlxplan", "man/mlxplan.1", "man/mlxplan-predict.1", "LICENSE-MIT"] {
        ensure!(folder.join(name).join(part).is_file(), "{part} is not in {}", archive.display());
    }
    place.expect(&program, &["--version"], (0, &release.version))?;
    place.expect(
        &program,
        &["predict", "--model", "qwen3-8b-4bit", "--mac", "m4pro-20/48"],
        (0, "decode"),
    )?;
    place.expect(&program, &["calibrate", "--quick"], (2, "pip install mlxplan"))?;
    Ok(7)
}

impl Release<'_> {
    /// The name of a target's archive, and of the folder in it.
    pub fn archive(&self, target: &str) -> String {
        format!("mlxplan-{}-{target}", self.version)
    }
}
