//! A whole run as it is printed and stored (`mlxplan.bench/1`).

use super::http::ServerInfo;
use super::predicted::PredictedFigure;
use super::run::Protocol;
use super::scenario::{Cold, Load, Resume, Scenario, Soak};
use super::summary::{CaseSummary, EngineComparison};
use super::trial::Trial;
use crate::clean::{clean, no_formula};
use crate::files;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use thiserror::Error;

/// Name and version of the object that a [`Record`] is written as.
pub const SCHEMA: &str = "mlxplan.bench/1";
/// Longest result file that is read, bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// An engine of a run.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct EngineRecord {
    /// Label in the trials.
    pub label: String,
    /// `http`, `mlx` (in process) or `mlx-lm`.
    pub via: String,
    /// Address of the server, or the command that was run.
    pub at: String,
    /// What the server says about itself.
    pub server: Option<ServerInfo>,
    /// The model, where there is no server to name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Folder of the tokenizer that counted tokens, because the engine gave no counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
}

impl EngineRecord {
    /// Program of the engine, for people.
    #[must_use]
    pub fn program(&self) -> &str {
        match &self.server {
            Some(server) => server.kind.name(),
            None if self.via == "mlx" => "MLX in process",
            None => &self.via,
        }
    }
}

/// A run with its full context and every raw trial.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Record {
    /// Version of mlxplan.
    pub mlxplan: String,
    /// What was measured.
    pub scenario: Scenario,
    /// Begin of the run, UTC.
    pub started: String,
    /// Length of the run, seconds.
    pub duration_s: f64,
    /// The machine that mlxplan ran on (`mlxplan.probe/1`), power state included. A remote server's machine is not
    /// known.
    pub machine: serde_json::Value,
    /// The engines.
    pub engines: Vec<EngineRecord>,
    /// How it was measured.
    pub protocol: Protocol,
    /// Every trial, warm-ups and failures included, in the order of execution.
    pub trials: Vec<Trial>,
    /// Figures for each engine and case.
    pub summary: Vec<CaseSummary>,
    /// Ratios between the first engine and the second, if there are two.
    pub comparison: Vec<EngineComparison>,
    /// Predictions next to measured figures, where model and machine are known.
    #[serde(default)]
    pub predicted: Vec<PredictedFigure>,
    /// Scenario `concurrency`: each engine under each number of users.
    #[serde(default)]
    pub load: Vec<Load>,
    /// Scenario `soak`: each engine over all turns.
    #[serde(default)]
    pub soak: Vec<Soak>,
    /// Scenario `resume`: each engine at each length.
    #[serde(default)]
    pub resume: Vec<Resume>,
    /// Scenario `cold`.
    #[serde(default)]
    pub cold: Vec<Cold>,
    /// Whether the run was ended before it had measured everything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// What a reader must know.
    pub notes: Vec<String>,
}

impl Record {
    /// The beginning of the names of its files: when it began and what it measured.
    #[must_use]
    pub fn stem(&self) -> String {
        format!("{}-{}", self.started.replace(':', ""), self.scenario.name())
    }
}

/// A result file that cannot be read or written.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The file system.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The file is not a result of `mlxplan bench`.
    #[error("{}: no result of mlxplan bench ({problem})", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// A moment in UTC: `2026-11-21T07:30:00Z`.
#[must_use]
pub fn utc(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Reads a result file.
///
/// # Errors
/// When it cannot be read, is too long or has another schema.
pub fn read(path: &Path) -> Result<Record, RecordError> {
    let io = |source| RecordError::Io { path: path.to_owned(), source };
    let content = |problem: String| RecordError::Content { path: path.to_owned(), problem };
    let text = files::text(path, MAX_FILE_BYTES).map_err(io)?;
    parse(&text).map_err(content)
}

/// Reads the text of a result file.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse(text: &str) -> Result<Record, String> {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    let head: Head = serde_json::from_str(text).map_err(|e| e.to_string())?;
    if head.schema != SCHEMA {
        return Err(format!("its schema is '{}', not '{SCHEMA}'", head.schema));
    }
    serde_json::from_str(text).map_err(|e| e.to_string())
}

/// A record as files hold it: with its schema.
#[derive(Serialize)]
pub(super) struct StoredRecord<'r> {
    pub schema: &'static str,
    #[serde(flatten)]
    pub record: &'r Record,
}

/// Adds a run to a folder of results: the record as a JSON file of its own, and a line for each trial in `trials.csv`.
/// Nothing that is there is changed; a file is complete or absent. Returns the path of the JSON file.
///
/// # Errors
/// When the folder cannot be written.
pub fn store(folder: &Path, record: &Record) -> Result<PathBuf, RecordError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| RecordError::Io { path: path.clone(), source }
    };
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let stem = record.stem();
    let text = serde_json::to_string(&StoredRecord { schema: SCHEMA, record })
        .map_err(|e| RecordError::Content { path: folder.to_owned(), problem: e.to_string() })?;
    let path = files::write_new(folder, &stem, "json", text.as_bytes()).map_err(io(folder))?;
    append(&folder.join("trials.csv"), record)?;
    Ok(path)
}

/// Columns of `trials.csv`.
const COLUMNS: [&str; 19] = [
    "started",
    "scenario",
    "engine",
    "server",
    "version",
    "model",
    "quant",
    "case",
    "round",
    "warm_up",
    "failure",
    "flags",
    "prompt_tokens",
    "cached_tokens",
    "generated_tokens",
    "ttft_s",
    "decode_tokens_per_s",
    "prefill_tokens_per_s",
    "end_to_end_tokens_per_s",
];

/// Appends the trials in one write, which the system does not mix with that of another process.
fn append(path: &Path, record: &Record) -> Result<(), RecordError> {
    let io = |source| RecordError::Io { path: path.to_owned(), source };
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).map_err(io)?;
    let empty = file.metadata().map_err(io)?.len() == 0;
    file.write_all(&lines(record, empty)).map_err(io)
}

fn lines(record: &Record, header: bool) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory cannot fail.
    if header {
        let _ = writer.write_record(COLUMNS);
    }
    let number = |v: Option<f64>| v.map(|v| format!("{v:.6}")).unwrap_or_default();
    let count = |v: Option<u32>| v.map(|v| v.to_string()).unwrap_or_default();
    for t in &record.trials {
        let engine = record.engines.iter().find(|e| e.label == t.engine);
        let server = engine.and_then(|e| e.server.as_ref());
        let flags: Vec<String> = t.flags.iter().filter_map(name).collect();
        let cells: [String; 19] = [
            record.started.clone(),
            record.scenario.name().to_owned(),
            t.engine.clone(),
            server.map(|s| s.kind.name().to_owned()).unwrap_or_default(),
            server.and_then(|s| s.version.clone()).unwrap_or_default(),
            server.map(|s| s.model.id.clone()).unwrap_or_default(),
            server.and_then(|s| s.model.quant.clone()).unwrap_or_default(),
            t.case.clone(),
            t.round.to_string(),
            t.warm_up.to_string(),
            t.failure.as_ref().and_then(|f| name(&f.kind)).unwrap_or_default(),
            flags.join("|"),
            count(t.prompt_tokens),
            count(t.cached_tokens),
            count(t.generated_tokens),
            number(t.ttft_s),
            number(t.decode_tokens_per_s),
            number(t.prefill_tokens_per_s),
            number(t.end_to_end_tokens_per_s),
        ];
        let _ = writer.write_record(cells.map(|c| no_formula(&clean(&c)).into_owned()));
    }
    writer.into_inner().unwrap_or_default()
}

/// A variant's name as in JSON.
fn name(value: &impl Serialize) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::{FailureKind, TrialFlag};

    pub fn record() -> Record {
        let failed = Trial::failed(FailureKind::CutOff, "after 3 pieces".to_owned());
        let good = Trial {
            engine: "A".to_owned(),
            decode_tokens_per_s: Some(12.5),
            flags: vec![TrialFlag::Stall, TrialFlag::EndedEarly],
            ..Trial::default()
        };
        Record {
            mlxplan: "0".to_owned(),
            scenario: Scenario::Decode,
            started: "2026-11-21T07:30:00Z".to_owned(),
            duration_s: 1.0,
            machine: serde_json::Value::Null,
            engines: Vec::new(),
            protocol: Protocol::default(),
            trials: vec![failed, good],
            summary: Vec::new(),
            comparison: Vec::new(),
            predicted: Vec::new(),
            load: Vec::new(),
            soak: Vec::new(),
            resume: Vec::new(),
            cold: Vec::new(),
            incomplete: false,
            notes: Vec::new(),
        }
    }

    #[test]
    fn runs_are_added_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let first = store(folder.path(), &record()).unwrap();
        let second = store(folder.path(), &record()).unwrap();
        assert_ne!(first, second);
        assert_eq!(read(&first).unwrap(), record());
        assert_eq!(read(&second).unwrap(), record());
        let csv = std::fs::read_to_string(folder.path().join("trials.csv")).unwrap();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 5, "{csv}");
        assert!(lines[0].starts_with("started,scenario") && lines[1].contains("cut_off"));
        assert!(lines[2].contains("stall|ended_early") && lines[2].contains("12.500000"), "{csv}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn other_files_are_refused() {
        assert!(parse("{\"schema\":\"mlxplan.prediction/1\"}").unwrap_err().contains("prediction"));
        assert!(parse("[]").is_err());
        assert!(matches!(read(Path::new("/nowhere.json")), Err(RecordError::Io { .. })));
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(utc(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00Z");
    }
}
