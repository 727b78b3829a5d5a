//! What commands are given: where answers and talk go, the data, and the rest of the flags that all of them have.

use super::exit::ExitStatus;
use super::global::Global;
use super::output;
use crate::data_dir::DataDirs;
use crate::hardware::Macs;
use crate::model::catalog::Models;
use crate::report::Answer;
use crate::versions::{MLX_LM, MLX_RULES};
use anyhow::Result;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Everything that commands share.
pub(in crate::cli) struct Context {
    /// Where answers and talk go.
    pub printer: Printer,
    /// Chips, Macs and models.
    pub catalogs: Catalogs,
    /// Whether the network must not be used.
    pub offline: bool,
    /// The calibration to use instead of the newest of this machine.
    pub profile: Option<PathBuf>,
}

/// Where answers and talk go.
pub(in crate::cli) struct Printer {
    /// The form of the answer.
    pub style: output::AnswerStyle,
    /// The file for the answer.
    pub output: Option<PathBuf>,
    /// Whether standard error stays silent.
    pub quiet: bool,
    /// Whether it is said where figures come from.
    pub verbose: bool,
}

/// The data: built in, with what the user's folders add or replace.
pub(in crate::cli) struct Catalogs {
    /// Folders with the user's data.
    pub data: DataDirs,
    /// Chips, Macs and limits.
    pub macs: Macs,
    models: OnceLock<Models>,
}

impl Context {
    /// The context that the flags describe.
    ///
    /// # Errors
    /// A data folder that is not there.
    pub fn new(global: Global) -> Result<Self> {
        let catalogs = Catalogs::new(DataDirs::discover(global.data_dir.as_deref())?);
        let style = output::AnswerStyle::of(&global);
        let Global { output, quiet, verbose, offline, profile, .. } = global;
        Ok(Self { printer: Printer { style, output, quiet, verbose }, catalogs, offline, profile })
    }
}

impl Printer {
    /// Writes an answer to where the user wants it.
    pub fn answer(&self, (answer, status): (Answer, ExitStatus)) -> Result<ExitStatus> {
        output::write(self.style, self.output.as_deref(), &answer)?;
        Ok(status)
    }

    /// Says on standard error where a figure comes from, to a user who wants more detail.
    pub fn detail(&self, text: &str) {
        if self.verbose {
            output::say(&format!("detail: {text}"));
        }
    }

    /// Says something on standard error, unless the user wants quiet.
    pub fn hint(&self, text: &str) {
        if !self.quiet {
            output::say(&format!("hint: {text}"));
        }
    }
}

impl Catalogs {
    /// The built-in data with the user's folders laid over it.
    pub fn new(data: DataDirs) -> Self {
        Self { macs: Macs::new(data.clone()), data, models: OnceLock::new() }
    }

    /// What the figures of every answer rest on, in words.
    pub fn provenance(&self) -> Vec<String> {
        let folders: Vec<String> =
            self.data.dirs().iter().map(|d| d.display().to_string()).collect();
        let added = match folders.is_empty() {
            true => String::new(),
            false => format!(", with what {} adds", folders.join(", ")),
        };
        vec![
            format!("chips, Macs, prices and models: built in{added}"),
            format!("memory: the rules of mlx-lm {MLX_LM} and MLX {MLX_RULES}"),
            "speeds: laws fitted on published measurements (data/measurements.csv)".to_owned(),
        ]
    }

    /// The catalog of models, read on first use.
    ///
    /// # Errors
    /// A file of the user's that cannot be read.
    pub fn models(&self) -> Result<&Models> {
        if let Some(known) = self.models.get() {
            return Ok(known);
        }
        let loaded = Models::load(&self.data)?;
        Ok(self.models.get_or_init(|| loaded))
    }
}
