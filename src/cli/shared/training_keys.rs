//! A fine-tuning run as answers have it.

use crate::graph::training::{FineTuneType, FineTuning, Optimizer};
use schemars::JsonSchema;
use serde::Serialize;

/// A fine-tuning run, in the words of `mlx_lm.lora`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct TrainingRequest {
    fine_tune_type: FineTuneType,
    optimizer: Optimizer,
    rank: u32,
    /// Paths of the matrices that get adapters; `null` for all.
    keys: Option<Vec<String>>,
    /// Blocks that are trained; `null` for all.
    num_layers: Option<u32>,
    pub batch_size: u32,
    max_seq_length: u32,
    /// Tokens of a sequence that the model sees in the largest batch.
    pub seq_tokens: u32,
    grad_checkpoint: bool,
    grad_accumulation_steps: u32,
    pub iters: u32,
}

impl TrainingRequest {
    /// A run of so many iterations, with samples cut at a length.
    pub fn of(run: &FineTuning, max_seq_length: u32, iters: u32) -> Self {
        Self {
            fine_tune_type: run.kind,
            optimizer: run.optimizer,
            rank: run.rank,
            keys: run.keys.clone(),
            num_layers: run.layers,
            batch_size: run.batch,
            max_seq_length,
            seq_tokens: run.tokens,
            grad_checkpoint: run.checkpoint,
            grad_accumulation_steps: run.accumulation,
            iters,
        }
    }
}

impl TrainingRequest {
    /// The run in words.
    pub fn text(&self) -> String {
        let kind = match self.fine_tune_type {
            FineTuneType::Lora => "LoRA",
            FineTuneType::Dora => "DoRA",
            FineTuneType::Full => "full",
        };
        let rank = if self.fine_tune_type == FineTuneType::Full {
            String::new()
        } else {
            format!(" of rank {}", self.rank)
        };
        let layers = self
            .num_layers
            .map_or_else(|| "all layers".to_owned(), |n| format!("the last {n} layers"));
        let keys = self.keys.as_ref().map_or(String::new(), |k| format!(" ({})", k.join(", ")));
        let checkpoint = if self.grad_checkpoint { ", checkpointing" } else { "" };
        let steps = self.grad_accumulation_steps;
        let accumulated =
            if steps > 1 { format!(", {steps} batches an update") } else { String::new() };
        format!(
            "{kind}{rank} of {layers}{keys}, batches of {} x {} tokens, {}{checkpoint}{accumulated}",
            self.batch_size,
            self.seq_tokens,
            self.optimizer.name()
        )
    }
}
