//! Trials on disk while the run goes on, so that a run that is killed loses the trial it was at and nothing else.
//!
//! One JSON object a line: first what the run is, then every trial as it stands in the record. A line is written in one
//! call and is on the disk before the next trial begins.

use super::record::Record;
use super::trial::Trial;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Schema of the first line.
pub const SCHEMA: &str = "mlxplan.bench_trials/1";
/// Names that are tried.
const NAMES: usize = 1000;

/// The trials of a run that has not ended.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
    trials: AtomicUsize,
}

#[derive(Serialize)]
struct Head<'r> {
    schema: &'static str,
    mlxplan: &'r str,
    scenario: &'static str,
    started: &'r str,
    protocol: &'r super::run::Protocol,
}

impl Journal {
    /// Begins a journal in a folder, under a name that nothing has yet.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn begin(folder: &Path, record: &Record) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (path, file) = create(folder, &record.stem())?;
        let journal = Self { path, file: Mutex::new(file), trials: AtomicUsize::new(0) };
        journal.line(&Head {
            schema: SCHEMA,
            mlxplan: &record.mlxplan,
            scenario: record.scenario.name(),
            started: &record.started,
            protocol: &record.protocol,
        })?;
        Ok(journal)
    }

    /// Where the trials are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a trial down.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn trial(&self, trial: &Trial) -> io::Result<()> {
        self.line(trial)?;
        self.trials.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// How many trials it holds.
    #[must_use]
    pub fn trials(&self) -> usize {
        self.trials.load(Ordering::Relaxed)
    }

    /// Removes the journal, once what it holds stands elsewhere.
    pub fn remove(self) {
        // A journal that stays is only superfluous.
        let _ = std::fs::remove_file(&self.path);
    }

    fn line(&self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(&line)?;
        file.sync_data()
    }
}

fn create(folder: &Path, stem: &str) -> io::Result<(PathBuf, File)> {
    for n in 1..=NAMES {
        let suffix = if n == 1 { String::new() } else { format!("-{n}") };
        let path = folder.join(format!("{stem}{suffix}.trials.jsonl"));
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, format!("{NAMES} journals are named {stem}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::tests::record;

    #[test]
    fn every_trial_is_a_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let record = record();
        let journal = Journal::begin(folder.path(), &record).unwrap();
        let other = Journal::begin(folder.path(), &record).unwrap();
        assert_ne!(journal.path(), other.path());
        for trial in &record.trials {
            journal.trial(trial).unwrap();
        }
        let text = std::fs::read_to_string(journal.path()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + record.trials.len());
        assert!(lines[0].contains(SCHEMA) && text.ends_with('\n'), "{text}");
        let back: Trial = serde_json::from_str(lines[2]).unwrap();
        assert_eq!(back, record.trials[1]);
        journal.remove();
        other.remove();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
