//! Rows of a measurement file (`data/measurements.csv`, whose README documents the columns).

use crate::run::Program;
use std::collections::HashMap;
use thiserror::Error;

/// The program that a measurement file names.
fn program(text: &str) -> Option<Program> {
    Program::ALL.into_iter().find(|p| column_name(*p) == text)
}

/// A program's name in measurement files.
#[must_use]
pub fn column_name(program: Program) -> &'static str {
    match program {
        Program::MlxSwift => "mlx",
        Program::LmStudio => "lmstudio-mlx",
        Program::MlxServer => "other",
        Program::LmStudioGguf => "lmstudio-gguf",
        named => named.listed_name().unwrap_or("other"),
    }
}

/// How far a row is to be trusted as a measurement of what its columns say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Do not fit on it.
    Low,
    /// Second-hand or incomplete.
    Medium,
    /// First-hand.
    High,
}

/// What a published rate is a rate of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RateKind {
    /// Tokens over the time that the program itself took for them, in process: benchmarks of mlx-lm and llama.cpp.
    Kernel,
    /// Tokens over the time that the program states for them to its clients, such as the rate that Ollama reports.
    Client,
    /// Tokens over the time from the first to the last of them, as a client of a server sees it.
    Served,
    /// Tokens over the time of the whole request, prompt included.
    EndToEnd,
    /// The source does not say.
    Unknown,
}

impl RateKind {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Kernel, Self::Client, Self::Served, Self::EndToEnd, Self::Unknown];

    /// Name in measurement files, where an empty cell is unknown too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Client => "client",
            Self::Served => "served",
            Self::EndToEnd => "end_to_end",
            Self::Unknown => "unknown",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let text = if text.is_empty() { Self::Unknown.name() } else { text };
        Self::ALL.into_iter().find(|kind| kind.name() == text)
    }
}

/// One row. Absent figures are `None`.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Key of the row.
    pub id: String,
    /// Bins the machine may have, one entry when it is known.
    pub chips: Vec<String>,
    /// The product, as published.
    pub machine: String,
    /// Memory of the machine in GiB.
    pub memory_gib: Option<u64>,
    /// Program.
    pub engine: Program,
    /// Version of the program, as published.
    pub engine_version: String,
    /// The server around the model as published, `none` in process; empty where the file has no such column.
    pub server: String,
    /// Version of MLX as published, where the file has such a column.
    pub mlx_version: String,
    /// Version of macOS as published.
    pub os_version: String,
    /// Catalog id of the model, or empty.
    pub model_id: String,
    /// The model as published.
    pub model_published: String,
    /// Normalized weight format.
    pub quant: String,
    /// Size of the weight file in 10^9 bytes, where stated.
    pub weights_gb: Option<f64>,
    /// Format of the KV cache; empty when not stated (normally none).
    pub kv_quant: String,
    /// Sequences at once.
    pub batch: u32,
    /// Tokens of the prompt whose prefill was timed.
    pub prompt_tokens: Option<u32>,
    /// Tokens in the cache when decoding starts.
    pub context_tokens: Option<u32>,
    /// Tokens generated.
    pub gen_tokens: Option<u32>,
    /// Prompt tokens per second.
    pub prefill_tok_s: Option<f64>,
    /// Generated tokens per second.
    pub decode_tok_s: Option<f64>,
    /// Time to first token in seconds.
    pub ttft_s: Option<f64>,
    /// Peak memory in 10^9 bytes.
    pub peak_memory_gb: Option<f64>,
    /// `speculative`, `mtp`, `distributed`, `aggregate`, `thermal`, `outlier`, `suspect`.
    pub flags: Vec<String>,
    /// What its rates are rates of.
    pub rate_kind: RateKind,
    /// Whether the harness pauses before each trial, so that the weights have to be made resident again.
    pub paused: bool,
    /// Whether MLX used the matrix units of the GPU, where the source says so or its rates tell.
    pub matrix_units: Option<bool>,
    /// Trust in the row.
    pub confidence: Trust,
    /// Origin.
    pub source: String,
    /// Remarks.
    pub notes: String,
}

impl Measurement {
    /// Whoever published the row: the owner of a repository, the site or the title. Rows of one owner share method and
    /// bias.
    #[must_use]
    pub fn owner(&self) -> &str {
        let text = self.source.split(" via ").next().unwrap_or_default();
        let text = text.strip_prefix("https://").unwrap_or(text);
        let mut parts = text.split(['/', ' ']);
        match parts.next() {
            Some("github.com") => parts.next().unwrap_or("github.com"),
            Some(first) => first,
            None => "",
        }
    }

    /// Whether the machine is known to have no fan: a MacBook Air, a MacBook Neo or an iPad.
    #[must_use]
    pub fn is_fanless(&self) -> bool {
        ["Air", "Neo", "iPad", "fanless"].iter().any(|word| self.machine.contains(word))
    }

    /// Whether the peak is that of the process (RSS, `phys_footprint`, the `peak_ram_mb` of Rapid-MLX) rather than MLX's own
    /// count.
    #[must_use]
    pub fn counts_process_memory(&self) -> bool {
        ["RSS", "footprint", "peak_ram"].iter().any(|word| self.notes.contains(word))
    }

    /// Whether the program is a llama.cpp of 2023 or 2024.
    #[must_use]
    pub fn is_old_build(&self) -> bool {
        ["2023", "2024"].iter().any(|year| self.engine_version.contains(year))
    }

    /// Why the row does not measure plain generation, if it does not.
    #[must_use]
    pub fn not_plain(&self) -> Option<String> {
        if !self.flags.is_empty() {
            return Some(format!("flagged {}", self.flags.join(", ")));
        }
        if self.batch != 1 {
            return Some(format!("batch {}", self.batch));
        }
        if self.confidence == Trust::Low {
            return Some("low confidence".to_owned());
        }
        match self.kv_quant.as_str() {
            "" | "none" => None,
            other => Some(format!("quantized cache {other}")),
        }
    }

    /// Tokens of a prefill chunk, where the remarks state it (`prefill_step_size 4096`).
    #[must_use]
    pub fn prefill_step(&self) -> Option<u32> {
        let (_, rest) = self.notes.split_once("prefill_step_size ")?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok().filter(|&n| n > 0)
    }

    /// Whether the row measures plain generation: one sequence, nothing speculative, distributed, throttled or doubtful.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.not_plain().is_none()
    }
}

/// A measurement file that cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The CSV itself is broken.
    #[error("{file}: {source}")]
    Csv {
        /// The file.
        file: String,
        /// What is wrong.
        source: csv::Error,
    },
    /// A needed column is absent.
    #[error(
        "{file}: the column '{column}' is missing; the file needs the columns of data/measurements.csv"
    )]
    Column {
        /// The file.
        file: String,
        /// The column.
        column: &'static str,
    },
    /// A cell is wrong.
    #[error("{file}, line {line}: column '{column}': {problem}")]
    Cell {
        /// The file.
        file: String,
        /// Line, counted from 1.
        line: u64,
        /// The column.
        column: String,
        /// What is wrong.
        problem: String,
    },
}

/// Columns without which a row means nothing.
const NEEDED: [&str; 4] = ["id", "engine", "quant", "model_id"];

/// Reads a measurement file. `file` names it in errors.
///
/// # Errors
/// When the file is no CSV, lacks a needed column or has a cell of the wrong kind.
pub fn read(file: &str, text: &str) -> Result<Vec<Measurement>, ReadError> {
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let csv = |source| ReadError::Csv { file: file.to_owned(), source };
    let headers = reader.headers().map_err(csv)?.clone();
    let columns: HashMap<&str, usize> = headers
        .iter()
        .enumerate()
        .map(|(i, name)| (name.trim_start_matches('\u{feff}'), i))
        .collect();
    for column in NEEDED {
        if !columns.contains_key(column) {
            return Err(ReadError::Column { file: file.to_owned(), column });
        }
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(csv)?;
        let line = record.position().map_or(0, csv::Position::line);
        let row = Row { file, line, columns: &columns, record: &record };
        rows.push(row.parse()?);
    }
    Ok(rows)
}

struct Row<'r> {
    file: &'r str,
    line: u64,
    columns: &'r HashMap<&'r str, usize>,
    record: &'r csv::StringRecord,
}

impl Row<'_> {
    fn text(&self, column: &str) -> &str {
        self.columns.get(column).and_then(|&i| self.record.get(i)).unwrap_or("").trim()
    }

    fn error(&self, column: &str, problem: String) -> ReadError {
        ReadError::Cell {
            file: self.file.to_owned(),
            line: self.line,
            column: column.to_owned(),
            problem,
        }
    }

    fn number(&self, column: &str) -> Result<Option<f64>, ReadError> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        match text.parse::<f64>() {
            Ok(x) if x.is_finite() && x >= 0.0 => Ok(Some(x)),
            _ => {
                Err(self.error(column, format!("expected a number of at least 0, found '{text}'")))
            }
        }
    }

    fn count(&self, column: &str) -> Result<Option<u32>, ReadError> {
        match self.number(column)? {
            None => Ok(None),
            Some(x) if x.fract() == 0.0 && x <= f64::from(u32::MAX) => Ok(Some(x as u32)),
            Some(x) => Err(self.error(column, format!("expected a whole number, found {x}"))),
        }
    }

    fn list(&self, column: &str) -> Vec<String> {
        self.text(column).split('|').filter(|s| !s.is_empty()).map(str::to_owned).collect()
    }

    fn parse(&self) -> Result<Measurement, ReadError> {
        let engine = self.text("engine");
        let chip = self.text("chip_id");
        let chips =
            if chip.is_empty() { self.list("chip_candidates") } else { vec![chip.to_owned()] };
        Ok(Measurement {
            id: self.text("id").to_owned(),
            chips,
            machine: self.text("machine").to_owned(),
            memory_gib: self.number("memory_gib")?.map(|x| x as u64),
            engine: program(engine)
                .ok_or_else(|| self.error("engine", format!("unknown engine '{engine}'")))?,
            engine_version: self.text("engine_version").to_owned(),
            server: self.text("server").to_owned(),
            mlx_version: self.text("mlx_version").to_owned(),
            os_version: self.text("os_version").to_owned(),
            model_id: self.text("model_id").to_owned(),
            model_published: self.text("model_published").to_owned(),
            quant: self.text("quant").to_owned(),
            weights_gb: self.number("weights_gb")?,
            kv_quant: self.text("kv_quant").to_owned(),
            batch: self.count("batch")?.or(self.count("concurrency")?).unwrap_or(1).max(1),
            prompt_tokens: self.count("prompt_tokens")?,
            context_tokens: self.count("context_tokens")?,
            gen_tokens: self.count("gen_tokens")?,
            prefill_tok_s: self.number("prefill_tok_s")?,
            decode_tok_s: self.number("decode_tok_s")?,
            ttft_s: self.number("ttft_s")?,
            peak_memory_gb: self.number("peak_memory_gb")?,
            flags: self.list("flags"),
            rate_kind: RateKind::parse(self.text("rate_kind")).ok_or_else(|| {
                let kinds = RateKind::ALL.map(RateKind::name).join(", ");
                let found = self.text("rate_kind");
                self.error("rate_kind", format!("expected one of {kinds}, found '{found}'"))
            })?,
            paused: match self.text("paused") {
                "yes" => true,
                "" => false,
                other => {
                    return Err(
                        self.error("paused", format!("expected yes or nothing, found '{other}'"))
                    );
                }
            },
            matrix_units: match self.text("matrix_units") {
                "on" => Some(true),
                "off" => Some(false),
                "" => None,
                other => {
                    let problem = format!("expected on, off or nothing, found '{other}'");
                    return Err(self.error("matrix_units", problem));
                }
            },
            confidence: match self.text("confidence") {
                "high" => Trust::High,
                "low" => Trust::Low,
                _ => Trust::Medium,
            },
            source: self.text("source_url_hint").to_owned(),
            notes: self.text("notes").to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_reads() {
        let rows = read("measurements.csv", include_str!("../../data/measurements.csv")).unwrap();
        assert_eq!(rows.len(), 2218);
        let owners: std::collections::BTreeSet<&str> =
            rows.iter().map(Measurement::owner).collect();
        assert!(owners.contains("ekryski") && owners.contains("ml-explore"), "{owners:?}");
    }

    #[test]
    fn errors_name_line_and_column() {
        let head = "id,engine,quant,model_id,decode_tok_s\n";
        let e = read("x.csv", &format!("{head}a,mlx-lm,bf16,,fast\n")).unwrap_err();
        assert_eq!(
            e.to_string(),
            "x.csv, line 2: column 'decode_tok_s': expected a number of at least 0, found 'fast'"
        );
        let e = read("x.csv", "id,engine,quant,model_id,rate_kind\na,mlx-lm,bf16,,fast\n");
        assert_eq!(
            e.unwrap_err().to_string(),
            "x.csv, line 2: column 'rate_kind': expected one of kernel, client, served, end_to_end, unknown, found \
             'fast'"
        );
        let e = read("x.csv", "id,engine\n").unwrap_err();
        assert!(e.to_string().contains("the column 'quant' is missing"));
    }
}
