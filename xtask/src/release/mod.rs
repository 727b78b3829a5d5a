//! `cargo xtask release`: the files of a release that this machine can make, each tried in a clean folder.
//!
//! Every machine of the release workflow runs it for its own system; `--assemble` then makes from all their archives what
//! names them: checksums, the formula and the installer. docs/releasing.md says what is in which file.

mod archive;
mod assemble;
mod crate_file;
mod place;
mod wheel;

use crate::project::Project;
use crate::setup;
use crate::tiers::steps::Steps;
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use xshell::cmd;

/// What is to be made.
#[derive(Args)]
pub struct Request {
    /// Rehearse: the sources may have changes, and no tag
    #[arg(long)]
    dry_run: bool,
    /// Cargo's profile; `dev` for a quick rehearsal
    #[arg(long, default_value = "dist")]
    profile: String,
    /// What the wheel says it runs on: linux for this machine, manylinux_2_35 for the Python package index
    #[arg(long, default_value = "linux")]
    compatibility: String,
    /// Folder for the files
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Make checksums, the formula and the installer from the archives that are in the folder, and nothing else
    #[arg(long)]
    assemble: bool,
}

/// What a release is made of.
struct Release<'a> {
    project: &'a Project,
    version: String,
    /// The target triple of this machine.
    host: String,
    profile: String,
    out: PathBuf,
}

/// Makes and tries the files.
///
/// # Errors
/// What could not be made, or does not work where it is installed.
pub fn run(project: &Project, request: &Request) -> Result<()> {
    let out = request.out.clone().unwrap_or_else(|| project.target.join("release-files"));
    std::fs::create_dir_all(&out)?;
    let out = out.canonicalize()?;
    let release = Release {
        project,
        version: version(project)?,
        host: host(project)?,
        profile: request.profile.clone(),
        out,
    };
    if request.assemble {
        return assemble::run(&release);
    }
    let mut steps = Steps::default();
    if !request.dry_run {
        steps.run("tag", || tagged(project, &release.version).map(|()| 1))?;
    }
    steps.run("crate", || crate_file::run(&release))?;
    steps.run("archive", || archive::run(&release))?;
    steps.run("checksums, formula, installer", || {
        assemble::run(&release)?;
        assemble::try_out(&release)
    })?;
    steps.run_if_there("wheel", || wheel::run(&release, &request.compatibility))?;
    steps.finish(false)?;
    for file in project.shell.read_dir(&release.out)? {
        println!("{}", file.display());
    }
    Ok(())
}

impl Release<'_> {
    /// Builds mlxplan with more `arguments` into `target`; returns the program.
    fn build(&self, target: &Path, arguments: &[OsString]) -> Result<PathBuf> {
        let (sh, profile) = (&self.project.shell, &self.profile);
        cmd!(sh, "cargo build --locked --bin mlxplan --profile {profile} --target-dir {target} {arguments...}")
            .run()?;
        Ok(self.built(target))
    }

    /// The program in a folder that Cargo built into.
    fn built(&self, target: &Path) -> PathBuf {
        let folder = if self.profile == "dev" { "debug" } else { &self.profile };
        target.join(folder).join("mlxplan")
    }

    /// The program with MLX, which looks for libmlx beside the folder of its package.
    fn with_mlx(&self) -> Result<PathBuf> {
        setup::mlx(self.project)?;
        let mut arguments = setup::cargo_arguments(self.project);
        arguments.extend(["--no-default-features", "--features", "mlx,png"].map(OsString::from));
        let origin = if cfg!(target_os = "macos") { "@loader_path" } else { "$ORIGIN" };
        let _beside = self.project.shell.push_env("MLXPLAN_LIBMLX", format!("{origin}/../mlx/lib"));
        self.build(&self.project.target.join("with-mlx"), &arguments)
    }
}

fn version(project: &Project) -> Result<String> {
    let manifest = project.shell.read_file("Cargo.toml")?;
    let line = manifest.lines().find_map(|l| l.strip_prefix("version = \""));
    Ok(line.and_then(|l| l.strip_suffix('"')).context("Cargo.toml has no version")?.to_owned())
}

fn host(project: &Project) -> Result<String> {
    let about = cmd!(project.shell, "rustc -vV").quiet().read()?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// A release is made from what its tag names, and the changes of its version are written down.
fn tagged(project: &Project, version: &str) -> Result<()> {
    let sh = &project.shell;
    let changed = cmd!(sh, "git status --porcelain").quiet().read()?;
    ensure!(
        changed.is_empty(),
        "the sources have changes; commit them, or rehearse with --dry-run:\n{changed}"
    );
    let tags = cmd!(sh, "git tag --points-at HEAD").quiet().read()?;
    ensure!(
        tags.lines().any(|tag| tag == format!("v{version}")),
        "this commit has no tag v{version}; set it, or rehearse with --dry-run"
    );
    let changes = sh.read_file("CHANGELOG.md")?;
    ensure!(
        changes.lines().any(|line| line.starts_with(&format!("## {version}"))),
        "CHANGELOG.md has no heading for {version}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::versions::MLX_LINKED;

    /// What a wheel asks pip for is what its program is linked against.
    #[test]
    fn the_wheel_asks_for_the_libmlx_that_is_linked() {
        let project = include_str!("../../../pyproject.toml");
        for package in ["mlx-metal", "mlx-cpu"] {
            assert!(project.contains(&format!("\"{package}=={MLX_LINKED};")), "{package}");
        }
    }
}
