//! Speculative decoding as programs read it: `mlxplan.speculation/1`.

use super::refusal::DraftDoubt;
use crate::estimate::memory::Fit;
use crate::model::drafts::SharedTokenizer;
use crate::run::Program;
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;

/// What drafts would do to a run. Never a speed-up without the acceptance that it is for.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Speculation {
    /// The model.
    pub model: String,
    /// The format of its weights.
    pub quant: String,
    /// Its tokenizer, where it is known.
    pub tokenizer: Option<&'static str>,
    /// The machine.
    pub machine: String,
    /// The program.
    pub engine: Program,
    /// Tokens of the prompt.
    pub context_tokens: u32,
    /// Tokens generated.
    pub generate_tokens: u32,
    /// Tokens per second without drafts.
    pub plain_tokens_per_s: f64,
    /// How many of the drafts are right.
    pub acceptance: AcceptanceAnswer,
    /// What could draft.
    pub drafts: Vec<DraftAnswer>,
    /// What else to know.
    pub notes: Vec<String>,
}

/// Probability that a draft is right, given that those before it in its round were.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct AcceptanceAnswer {
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
    /// Whether it is an assumption rather than what the user said.
    pub assumed: bool,
}

/// What is to be expected of drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DraftVerdict {
    /// Faster over the whole interval.
    Faster,
    /// Slower over the whole interval.
    Slower,
    /// The interval holds both, or the tokenizers are not known to be the same.
    Uncertain,
    /// There can be none.
    Impossible,
}

impl fmt::Display for DraftVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Uncertain => "uncertain",
            Self::Impossible => "no",
        })
    }
}

/// One draft model, or the model's own heads.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DraftAnswer {
    /// The model that drafts; `mtp` for prediction heads.
    pub model: String,
    /// The format of its weights; `null` for prediction heads.
    pub quant: Option<String>,
    /// Whether it is faster.
    pub verdict: DraftVerdict,
    /// Why, in words.
    pub reason: String,
    /// Whether it counts tokens as the model does; `null` for prediction heads.
    pub tokenizer: Option<SharedTokenizer>,
    /// Times as fast as without drafts at `acceptance`.
    pub speedup: Option<f64>,
    /// The acceptance that `speedup` is for.
    pub acceptance: Option<f64>,
    /// Interval that holds 90 % of measurements, over all acceptances.
    pub interval_90: Option<[f64; 2]>,
    /// The acceptance at which it is neither faster nor slower; `null` where it never pays.
    pub break_even_acceptance: Option<f64>,
    /// Drafts a round.
    pub draft_tokens: Option<u32>,
    /// The fastest number of drafts at `acceptance`.
    pub best_draft_tokens: Option<u32>,
    /// Times as fast with that number at `acceptance`.
    pub best_speedup: Option<f64>,
    /// The same at each acceptance.
    pub at: Vec<AtAcceptance>,
    /// Seconds of a draft.
    pub draft_s: Option<f64>,
    /// Seconds of a verification of `draft_tokens` and one token more.
    pub verify_s: Option<f64>,
    /// Seconds until the first token: both models read the prompt.
    pub ttft_s: Option<f64>,
    /// What drafts take beside the run: weights of the draft and its cache.
    pub draft_bytes: Option<u64>,
    /// The peak with them.
    pub peak_bytes: Option<u64>,
    /// Whether that fits.
    pub fits: Option<Fit>,
    /// Doubts.
    pub doubts: Vec<DraftDoubt>,
    /// The command that starts it.
    pub command: Option<String>,
}

/// Speed at one acceptance.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct AtAcceptance {
    /// Probability that a draft is right.
    pub acceptance: f64,
    /// The kind of text that it is assumed for.
    pub task: Option<&'static str>,
    /// Share of the drafts that are used, which is what programs report as acceptance.
    pub accepted_share: f64,
    /// Tokens a round.
    pub tokens_per_round: f64,
    /// Times as fast as without drafts.
    pub speedup: f64,
    /// Interval that holds 90 % of measurements at this acceptance.
    pub interval_90: [f64; 2],
    /// Tokens per second.
    pub tokens_per_s: f64,
    /// The fastest number of drafts.
    pub best_draft_tokens: u32,
    /// Times as fast with that.
    pub best_speedup: f64,
}

impl DraftAnswer {
    /// A draft that there cannot be.
    pub(super) fn impossible(model: String, quant: Option<String>, reason: String) -> Self {
        Self {
            model,
            quant,
            verdict: DraftVerdict::Impossible,
            reason,
            tokenizer: None,
            speedup: None,
            acceptance: None,
            interval_90: None,
            break_even_acceptance: None,
            draft_tokens: None,
            best_draft_tokens: None,
            best_speedup: None,
            at: Vec::new(),
            draft_s: None,
            verify_s: None,
            ttft_s: None,
            draft_bytes: None,
            peak_bytes: None,
            fits: None,
            doubts: Vec::new(),
            command: None,
        }
    }
}

impl Speculation {
    /// Whether there can be drafts.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.drafts.iter().any(|d| d.verdict != DraftVerdict::Impossible)
    }
}
