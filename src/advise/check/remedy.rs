//! A change that makes a plan hold.

use crate::model::quality::{PublishedLoss, is_below_four_bits};
use schemars::JsonSchema;
use serde::Serialize;

/// A change with which a requirement holds that did not hold before.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Remedy {
    /// Smaller prefill chunks.
    PrefillStep {
        /// Tokens of a chunk.
        tokens: u32,
    },
    /// A raised GPU memory limit.
    WiredLimit {
        /// The command.
        command: String,
        /// The command that undoes it.
        undo: String,
    },
    /// A quantized cache, in smaller chunks because its attention is not fused.
    KvBits {
        /// Bits per element.
        bits: u32,
        /// Tokens of a chunk, where that must be smaller too.
        prefill_step: Option<u32>,
        /// The workload, where several are meant to fit together.
        workload: Option<String>,
        /// What is lost, as published.
        loss: PublishedLoss,
    },
    /// A smaller format of the weights.
    Quantization {
        /// The scheme.
        quant: String,
        /// The workload, where several are meant to fit together.
        workload: Option<String>,
        /// What is lost, as published.
        loss: PublishedLoss,
    },
    /// Fewer users at once.
    Users {
        /// So many.
        users: u32,
    },
    /// A shorter prompt.
    Context {
        /// Tokens.
        tokens: u32,
    },
    /// Other options of a fine-tuning run.
    FineTuning {
        /// The keys of the plan.
        keys: String,
        /// What it costs, in words.
        costs: String,
    },
    /// One workload less.
    LeaveOut {
        /// Its name.
        workload: String,
    },
}

impl Remedy {
    /// The change in words.
    #[must_use]
    pub fn text(&self) -> String {
        let of = |w: &Option<String>| w.as_ref().map_or(String::new(), |w| format!(" for {w}"));
        match self {
            Self::PrefillStep { tokens } => format!("prefill_step = {tokens}"),
            Self::WiredLimit { command, undo } => format!("{command} (undo: {undo})"),
            Self::KvBits { bits, prefill_step, workload, loss } => {
                let chunk = prefill_step
                    .map_or_else(String::new, |step| format!(" with prefill_step = {step}"));
                format!("kv_bits = {bits}{chunk}{}, which loses {}", of(workload), loss.text())
            }
            Self::Quantization { quant, workload, loss } => {
                let below = if is_below_four_bits(quant) {
                    "; below four bits quality falls fast"
                } else {
                    ""
                };
                format!("quant = \"{quant}\"{}, which loses {}{below}", of(workload), loss.text())
            }
            Self::Users { users } => format!("users = {users}"),
            Self::Context { tokens } => format!("context = {tokens}"),
            Self::FineTuning { keys, costs } => format!("{keys} (costs: {costs})"),
            Self::LeaveOut { workload } => format!("without {workload}"),
        }
    }
}

impl Remedy {
    /// What is lost of quality at worst, in percent; 0 where all bits are kept.
    fn worst(&self) -> f64 {
        match self {
            Self::KvBits { loss, .. } | Self::Quantization { loss, .. } => loss.worst().max(0.0),
            _ => 0.0,
        }
    }
}

/// Those that lose least first; among equals the order in which they were looked for: the smallest change first.
pub(super) fn by_loss(mut all: Vec<Remedy>) -> Vec<Remedy> {
    all.sort_by(|a, b| a.worst().total_cmp(&b.worst()));
    all
}
