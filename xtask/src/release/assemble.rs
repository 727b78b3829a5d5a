//! What names the archives of all systems: checksums, the Homebrew formula, the installer.

use super::Release;
use super::place::Place;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use xshell::cmd;

const INSTALLER: &str = include_str!("../../../packaging/install.sh");
const FORMULA: &str = include_str!("../../../packaging/mlxplan.rb");
const CHECKSUMS: &str = "SHA256SUMS";
/// Where releases lie.
const RELEASES: &str = "https://github.com/mlxplan/mlxplan/releases/download";
/// The systems that archives are made for, with their names in the formula.
const SYSTEMS: [(&str, &str); 3] = [
    ("aarch64-apple-darwin", "MACOS_ARM"),
    ("aarch64-unknown-linux-gnu", "LINUX_ARM"),
    ("x86_64-unknown-linux-gnu", "LINUX_INTEL"),
];

/// Writes them into the folder of the archives; what a system without archive would need stays out.
pub fn run(release: &Release<'_>) -> Result<()> {
    let mut sums = String::new();
    for file in release.project.shell.read_dir(&release.out)? {
        let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if [".tar.gz", ".whl", ".crate"].iter().any(|end| name.ends_with(end)) {
            sums.push_str(&format!("{}  {name}\n", sha256(release, &file)?));
        }
    }
    fs::write(release.out.join(CHECKSUMS), &sums)?;
    fs::write(release.out.join("mlxplan.rb"), formula(release, &sums)?)?;
    fs::write(release.out.join("install.sh"), INSTALLER.replace("@VERSION@", &release.version))?;
    Ok(())
}

fn sha256(release: &Release<'_>, file: &Path) -> Result<String> {
    let sh = &release.project.shell;
    let printed = match cfg!(target_os = "macos") {
        true => cmd!(sh, "shasum -a 256 {file}").quiet().read()?,
        false => cmd!(sh, "sha256sum {file}").quiet().read()?,
    };
    Ok(printed.split_whitespace().next().context("no checksum was printed")?.to_owned())
}

/// The formula with the archives whose checksums are known; the lines of others are left out.
fn formula(release: &Release<'_>, sums: &str) -> Result<String> {
    let mut text = FORMULA.replace("@VERSION@", &release.version);
    for (target, mark) in SYSTEMS {
        let file = format!("{}.tar.gz", release.archive(target));
        let sum = sums.lines().find_map(|l| l.strip_suffix(&format!("  {file}")));
        let address = format!("{RELEASES}/v{}/{file}", release.version);
        text = match sum {
            Some(sum) => text
                .replace(&format!("@{mark}_URL@"), &address)
                .replace(&format!("@{mark}_SHA256@"), sum),
            None => text
                .lines()
                .filter(|l| !l.contains(&format!("@{mark}_")))
                .map(|l| format!("{l}\n"))
                .collect(),
        };
    }
    ensure!(!text.contains('@'), "the formula has gaps that nobody fills:\n{text}");
    Ok(text)
}

/// Installs with the installer from this folder into a clean home, and shows that a spoiled archive is refused.
pub fn try_out(release: &Release<'_>) -> Result<u64> {
    let place = Place::new("installer")?;
    let files = place.folder().join("files");
    fs::create_dir_all(&files)?;
    let archive = format!("{}.tar.gz", release.archive(&release.host));
    for file in [&*archive, CHECKSUMS, "install.sh"] {
        fs::copy(release.out.join(file), files.join(file))?;
    }
    let script = files.join("install.sh").display().to_string();
    let from = format!("file://{}", files.display());
    place.expect("sh", &[&*script, "--from", &from], (0, "installed"))?;
    let program = place.folder().join("home/.local/bin/mlxplan");
    place.expect(&program, &["--version"], (0, &release.version))?;
    fs::remove_file(&program)?;
    let spoiled = files.join(&archive);
    let mut bytes = fs::read(&spoiled)?;
    bytes.push(0);
    fs::write(&spoiled, bytes)?;
    place.expect("sh", &[&*script, "--from", &from], (1, "checksum"))?;
    ensure!(!program.exists(), "a spoiled archive was installed");
    Ok(3)
}
