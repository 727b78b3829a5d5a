//! A clean folder to install into: nothing of the sources is in sight, and the home folder is empty.

use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder that is removed in the end.
pub struct Place {
    folder: PathBuf,
}

impl Place {
    /// A new folder outside the sources.
    pub fn new(name: &str) -> Result<Self> {
        let name = format!("mlxplan-release-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(folder.join("home"))?;
        Ok(Self { folder: folder.canonicalize()? })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a program there.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: &[S],
    ) -> Result<Output> {
        let program = program.as_ref();
        let home = self.folder.join("home");
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.folder).env_clear();
        // What pip needs to reach its index stays.
        for name in [
            "LANG",
            "PIP_INDEX_URL",
            "PIP_CERT",
            "SSL_CERT_FILE",
            "HTTPS_PROXY",
            "https_proxy",
            "NO_PROXY",
            "no_proxy",
        ] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", &home);
        command.output().with_context(|| format!("cannot run {}", program.display()))
    }

    /// Runs a program there that has to succeed and to say `part`.
    pub fn expect<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: &[S],
        (code, part): (i32, &str),
    ) -> Result<()> {
        let program = program.as_ref();
        let output = self.run(program, arguments)?;
        let text = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
        let words: Vec<_> = arguments.iter().map(|a| a.as_ref().to_string_lossy()).collect();
        let command = format!("{} {}", program.display(), words.join(" "));
        ensure!(
            output.status.code() == Some(code) && text.contains(part),
            "{command}: {} instead of {code}, or no '{part}' in:\n{text}",
            output.status
        );
        eprintln!(
            "{command}: {}",
            text.lines().find(|l| l.contains(part)).unwrap_or_default().trim()
        );
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What stays behind is in the system's temporary folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
