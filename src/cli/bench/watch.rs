//! What goes on while a run measures: every trial is told, written down, and may be the last.

use super::args::BenchArgs;
use super::document;
use crate::bench::journal::Journal;
use crate::bench::record::Record;
use crate::bench::{Stop, Trial};
use crate::cli::shared::context::Context;
use crate::cli::shared::progress::Progress;
use crate::cli::shared::signals;
use crate::data_dir::config_dir;
use anyhow::Result;
use std::cell::Cell;
use std::path::{Path, PathBuf};

/// A run under way.
pub(super) struct Watch {
    /// Whether it is to end.
    pub stop: Stop,
    journal: Option<Journal>,
    quiet: bool,
}

impl Watch {
    /// Listens for signals and begins to write trials down, where there is a place for them.
    pub fn begin(context: &Context, args: &BenchArgs, record: &Record) -> Result<Self> {
        let quiet = context.printer.quiet;
        let journal = match journal_folder(context, args).map(|f| Journal::begin(&f, record)) {
            Some(Ok(journal)) => Some(journal),
            Some(Err(e)) => {
                context.printer.hint(&format!("trials are not written down as they happen: {e}"));
                None
            }
            None => None,
        };
        Ok(Self { stop: signals::stop(quiet)?, journal, quiet })
    }

    /// Tells about every trial on standard error, and writes it down; on a terminal with a bar towards `total` trials,
    /// where that is known.
    pub fn observer(&self, total: Option<usize>) -> impl Fn(&Trial) + use<'_> {
        let progress = match total {
            Some(n) => Progress::steps(self.quiet, "trials", n as u64),
            None => Progress::unknown(self.quiet, "trials"),
        };
        let lost = Cell::new(false);
        move |t: &Trial| {
            if let Some(Err(e)) = self.journal.as_ref().map(|j| j.trial(t))
                && !lost.replace(true)
            {
                progress.line(&format!("hint: a trial could not be written down: {e}"));
            }
            if !self.quiet {
                progress.line(&document::progress(t));
            }
            progress.step();
        }
    }

    /// The result stands somewhere: the trials need not be kept twice.
    pub fn done(self) {
        if let Some(journal) = self.journal {
            journal.remove();
        }
    }

    /// The run failed: says where its trials are.
    pub fn failed(self, context: &Context) {
        let Some(journal) = self.journal else { return };
        match journal.trials() {
            0 => journal.remove(),
            n => context
                .printer
                .hint(&format!("the {n} trials until then are in {}", journal.path().display())),
        }
    }
}

/// The folder of the results, else that of the answer, else mlxplan's own, where there is a home for one.
fn journal_folder(context: &Context, args: &BenchArgs) -> Option<PathBuf> {
    if let Some(folder) = &args.results {
        return Some(folder.clone());
    }
    let beside = |path: &PathBuf| {
        let special = std::fs::metadata(path).is_ok_and(|m| !m.is_file());
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        (!special).then(|| folder.unwrap_or(Path::new(".")).to_owned())
    };
    context.printer.output.as_ref().and_then(beside).or_else(|| {
        let own = config_dir()?;
        own.parent().is_some_and(Path::is_dir).then(|| own.join("runs"))
    })
}
