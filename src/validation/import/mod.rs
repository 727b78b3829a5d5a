//! Results of other programs as rows of measurements: llama-bench, llmfit, mlx-chronos, `mlx_lm.benchmark` and oMLX.
//!
//! What a file does not say stays unknown: a chip without its GPU cores stands for all its bins, and a text that names no
//! Mac or no model has rows without one. Nothing is judged here; the auditor does that where rows are used.

mod chronos;
mod llama_bench;
mod llmfit;
mod mlx_lm;
mod omlx;

use super::measurement::{Measurement, RateKind, Trust};
use crate::hardware::{Macs, MacsError};
use crate::model::Scheme;
use crate::model::catalog::Models;
use crate::model::names::{NameSpec, Resolution, Stated, resolve};
use crate::run::Program;
use std::fmt;
use thiserror::Error;

/// Most rows that are taken from a file.
const MOST_ROWS: usize = 100_000;

/// What a file of results is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultFormat {
    /// `llama-bench -o jsonl`, or `-o json`.
    LlamaBench,
    /// What `llmfit bench --share` writes (`llmfit-core/data/community`).
    Llmfit,
    /// A result of mlx-chronos.
    Chronos,
    /// The output of `mlx_lm.benchmark`.
    MlxLm,
    /// The text of oMLX's benchmark.
    Omlx,
}

impl ResultFormat {
    /// What a text is, by its contents; `None` where it is none of these.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        // Rows of measurements may quote what other programs print.
        let header = text.lines().next().unwrap_or_default();
        if header.split(',').any(|column| column.trim() == "model_published") {
            return None;
        }
        if llama_bench::is(text) {
            Some(Self::LlamaBench)
        } else if llmfit::is(text) {
            Some(Self::Llmfit)
        } else if chronos::is(text) {
            Some(Self::Chronos)
        } else if omlx::is(text) {
            Some(Self::Omlx)
        } else {
            mlx_lm::is(text).then_some(Self::MlxLm)
        }
    }
}

impl fmt::Display for ResultFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LlamaBench => "llama-bench",
            Self::Llmfit => "llmfit",
            Self::Chronos => "mlx-chronos",
            Self::MlxLm => "mlx_lm.benchmark",
            Self::Omlx => "oMLX's benchmark",
        })
    }
}

/// Results that cannot be read.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The text is not what it looks like.
    #[error("{file}: a result of {format} that cannot be read: {problem}")]
    Content {
        /// The file.
        file: String,
        /// What it looks like.
        format: ResultFormat,
        /// What is wrong.
        problem: String,
    },
    /// More runs than are read.
    #[error(
        "{file}: a result of {format} with {runs} runs; give it in parts of {MOST_ROWS} at most"
    )]
    TooMany {
        /// The file.
        file: String,
        /// What it is.
        format: ResultFormat,
        /// How many it has.
        runs: usize,
    },
    /// Nothing in it can be used.
    #[error("{file}: a result of {format} without a usable run: {reasons}")]
    Nothing {
        /// The file.
        file: String,
        /// What it is.
        format: ResultFormat,
        /// Why its runs are not used.
        reasons: String,
    },
    /// The chip catalog has problems.
    #[error(transparent)]
    Catalog(#[from] MacsError),
}

/// The rows of a file of results.
#[derive(Clone, Debug)]
pub struct ImportedRows {
    /// What the file is.
    pub format: ResultFormat,
    /// Its rows.
    pub rows: Vec<Measurement>,
    /// Runs that are no rows, with the reason.
    pub left_out: Vec<(String, String)>,
}

/// Reads results of other programs; `None` where the text is none.
///
/// # Errors
/// When the text is damaged, or nothing in it is a run that can be used.
pub fn import(
    file: &str,
    text: &str,
    models: &Models,
    macs: &Macs,
) -> Result<Option<ImportedRows>, ImportError> {
    let Some(format) = ResultFormat::of(text) else { return Ok(None) };
    let runs = match format {
        ResultFormat::LlamaBench => llama_bench::runs(text),
        ResultFormat::Llmfit => llmfit::runs(text),
        ResultFormat::Chronos => chronos::runs(text),
        ResultFormat::MlxLm => Ok(mlx_lm::runs(text)),
        ResultFormat::Omlx => Ok(omlx::runs(text)),
    };
    let runs = runs.map_err(|problem| ImportError::Content {
        file: file.to_owned(),
        format,
        problem: problem.to_string(),
    })?;
    let (mut rows, mut left_out) = (Vec::new(), Vec::new());
    if runs.len() > MOST_ROWS {
        return Err(ImportError::TooMany { file: file.to_owned(), format, runs: runs.len() });
    }
    for run in runs {
        match run.why_not.clone() {
            Some(reason) => left_out.push((run.id, reason)),
            None => rows.push(run.row(file, models, macs)?),
        }
    }
    if rows.is_empty() {
        let reason = |(id, why): &(String, String)| format!("{id}: {why}");
        let mut reasons: Vec<String> = left_out.iter().take(5).map(reason).collect();
        if reasons.is_empty() {
            reasons.push("it has none".to_owned());
        }
        let reasons = reasons.join("; ");
        return Err(ImportError::Nothing { file: file.to_owned(), format, reasons });
    }
    Ok(Some(ImportedRows { format, rows, left_out }))
}

/// A run as a file tells it; what it does not say is `None` or empty.
#[derive(Clone, Debug)]
struct FoundRun {
    id: String,
    /// Why it is no row.
    why_not: Option<String>,
    /// The chip as the system names it: `Apple M4 Max`.
    brand: Option<String>,
    memory_gib: Option<u64>,
    /// The product or its identifier.
    machine: String,
    macos: String,
    engine: Program,
    /// Program and version in words.
    engine_version: String,
    model: String,
    /// The format, where the name of the model does not state it.
    format: Option<String>,
    prompt_tokens: Option<u32>,
    context_tokens: Option<u32>,
    gen_tokens: Option<u32>,
    prefill: Option<f64>,
    decode: Option<f64>,
    ttft_s: Option<f64>,
    peak_memory_gb: Option<f64>,
    weights_gb: Option<f64>,
    kv_quant: String,
    batch: u32,
    flags: Vec<String>,
    kind: RateKind,
    paused: bool,
    notes: String,
}

impl FoundRun {
    fn new(id: String, engine: Program) -> Self {
        Self {
            id,
            why_not: None,
            brand: None,
            memory_gib: None,
            machine: String::new(),
            macos: String::new(),
            engine,
            engine_version: String::new(),
            model: String::new(),
            format: None,
            prompt_tokens: None,
            context_tokens: None,
            gen_tokens: None,
            prefill: None,
            decode: None,
            ttft_s: None,
            peak_memory_gb: None,
            weights_gb: None,
            kv_quant: String::new(),
            batch: 1,
            flags: Vec::new(),
            kind: RateKind::Unknown,
            paused: false,
            notes: String::new(),
        }
    }

    /// The run as a row.
    fn row(self, file: &str, models: &Models, macs: &Macs) -> Result<Measurement, MacsError> {
        let (model_id, quant) = self.named(models);
        let engine = match self.engine {
            Program::LmStudio if quant.starts_with("gguf-") => Program::LmStudioGguf,
            other => other,
        };
        Ok(Measurement {
            chips: self.chips(macs)?,
            id: self.id,
            machine: self.machine,
            memory_gib: self.memory_gib,
            engine,
            engine_version: self.engine_version,
            server: String::new(),
            mlx_version: String::new(),
            os_version: self.macos,
            model_id,
            model_published: self.model,
            quant,
            weights_gb: self.weights_gb,
            kv_quant: self.kv_quant,
            batch: self.batch,
            prompt_tokens: self.prompt_tokens,
            context_tokens: self.context_tokens,
            gen_tokens: self.gen_tokens,
            prefill_tok_s: self.prefill,
            decode_tok_s: self.decode,
            ttft_s: self.ttft_s,
            peak_memory_gb: self.peak_memory_gb,
            flags: self.flags,
            rate_kind: self.kind,
            paused: self.paused,
            matrix_units: None,
            confidence: Trust::Medium,
            source: file.to_owned(),
            notes: self.notes,
        })
    }

    /// The bins that the chip may be: those with its memory, where any has it.
    fn chips(&self, macs: &Macs) -> Result<Vec<String>, MacsError> {
        let Some(brand) = self.brand.as_deref() else { return Ok(Vec::new()) };
        let alike = |b: &str| b.eq_ignore_ascii_case(brand.trim());
        let all: Vec<_> = macs.chips()?.iter().filter(|c| alike(&c.brand_string)).collect();
        let has = |gib: u64| all.iter().filter(move |c| c.memory_gib.contains(&gib));
        let fitting: Vec<String> =
            self.memory_gib.into_iter().flat_map(has).map(|c| c.id.clone()).collect();
        Ok(if fitting.is_empty() { all.iter().map(|c| c.id.clone()).collect() } else { fitting })
    }

    /// The id of the model in the catalog, or nothing, and its format in the words of measurement files.
    fn named(&self, models: &Models) -> (String, String) {
        let own = self.format.as_deref();
        let format = |stated: &Stated| match stated {
            Stated::Scheme(scheme) => Some(scheme.to_string()),
            Stated::Gguf(Some(kind)) => Some(format!("gguf-{}", kind.to_lowercase())),
            Stated::Mixed(mixed) => Some(format!("mixed-{}", mixed.nominal)),
            Stated::Nothing | Stated::Gguf(None) | Stated::Foreign(_) | Stated::Mlx => None,
        };
        let (id, stated) = match resolve(models, &NameSpec::parse(&self.model), None) {
            Ok(Resolution::One(found)) => (found.model.id.clone(), format(&found.stated)),
            _ => (String::new(), None),
        };
        let quant = stated.or_else(|| own.and_then(format_of)).unwrap_or_default();
        (id, if quant.is_empty() { "unknown".to_owned() } else { quant })
    }
}

/// A format that is stated beside the name: `4bit`, `nvfp4`, `Q4_K - Medium`.
fn format_of(text: &str) -> Option<String> {
    if let Ok(scheme) = text.parse::<Scheme>() {
        return Some(scheme.to_string());
    }
    // llama-bench: `Q4_K - Medium`, `IQ4_XS - 4.25 bpw`, `MXFP4 MoE`.
    let (name, size) = text.split_once(" - ").unwrap_or((text, ""));
    let size = match size.to_lowercase().as_str() {
        "small" => "_s",
        "medium" => "_m",
        "large" => "_l",
        _ => "",
    };
    let kind = format!("{}{size}", name.split_whitespace().next()?.to_lowercase());
    let gguf =
        ["q", "iq", "f16", "bf16", "mxfp4", "tq"].iter().any(|start| kind.starts_with(start));
    gguf.then(|| format!("gguf-{kind}"))
}

/// A positive, finite figure.
fn positive(x: f64) -> Option<f64> {
    (x.is_finite() && x > 0.0).then_some(x)
}

#[cfg(test)]
mod tests;
