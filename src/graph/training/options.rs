//! What `mlx_lm.lora` is told: the options that decide memory and time, with its defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is trained (`--fine-tune-type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FineTuneType {
    /// Low-rank adapters; QLoRA where the base is quantized.
    #[default]
    Lora,
    /// Low-rank adapters and learned magnitudes.
    Dora,
    /// The tensors of the last blocks themselves.
    Full,
}

impl FineTuneType {
    /// All types.
    pub const ALL: [Self; 3] = [Self::Lora, Self::Dora, Self::Full];

    /// The word of `mlx_lm.lora`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lora => "lora",
            Self::Dora => "dora",
            Self::Full => "full",
        }
    }
}

/// What turns gradients into updates (`--optimizer`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Two averages for each parameter.
    #[default]
    Adam,
    /// The same with weight decay.
    AdamW,
    /// One average that is made orthogonal.
    Muon,
    /// Plain steps; mlx-lm allocates the momentum that it does not use.
    Sgd,
    /// Averages for rows and columns.
    Adafactor,
}

impl Optimizer {
    /// All optimizers.
    pub const ALL: [Self; 5] = [Self::Adam, Self::AdamW, Self::Muon, Self::Sgd, Self::Adafactor];

    /// The word of `mlx_lm.lora`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adam => "adam",
            Self::AdamW => "adamw",
            Self::Muon => "muon",
            Self::Sgd => "sgd",
            Self::Adafactor => "adafactor",
        }
    }
}

/// How the loss is computed, which depends on the versions of MLX and mlx-lm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Loss {
    /// One kernel, whose gradient overwrites the logits (MLX 0.32.4).
    #[default]
    Fused,
    /// Plain operations on the logits.
    Plain,
    /// Plain operations on a float32 copy of the logits (mlx-lm of early 2025).
    Float32,
}

/// How attention runs while gradients are recorded, which depends on the version of MLX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TrainedAttention {
    /// Plain operations in both passes (MLX 0.25.0 to before 0.32.4).
    #[default]
    Unfused,
    /// One kernel in the forward pass; the backward pass computes the scores again (before MLX 0.25.0).
    FusedForward,
    /// One kernel in each pass, where there is one and the mask is no array (from MLX 0.32.4). Its backward kernel is
    /// taken to keep no scores: the least memory that it can take.
    Fused,
}

/// A fine-tuning run as `mlx_lm.lora` is told about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FineTuning {
    /// What is trained.
    pub kind: FineTuneType,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Blocks that are trained, counted from the last; `None` for all.
    pub layers: Option<u32>,
    /// Rank of the adapters.
    pub rank: u32,
    /// Paths of the modules that get adapters, relative to a block; `None` for every matrix.
    pub keys: Option<Vec<String>>,
    /// Whether blocks are run again instead of being remembered.
    pub checkpoint: bool,
    /// Batches whose gradients are added up for one update.
    pub accumulation: u32,
    /// Samples in a batch.
    pub batch: u32,
    /// Tokens of each sample that the model sees, padding included.
    pub tokens: u32,
    /// How the loss is computed.
    pub loss: Loss,
    /// How attention runs.
    pub attention: TrainedAttention,
}

impl Default for FineTuning {
    fn default() -> Self {
        Self {
            kind: FineTuneType::Lora,
            optimizer: Optimizer::Adam,
            layers: Some(16),
            rank: 8,
            keys: None,
            checkpoint: false,
            accumulation: 1,
            batch: 4,
            tokens: 2047,
            loss: Loss::Fused,
            attention: TrainedAttention::Unfused,
        }
    }
}

/// Samples are padded to a multiple of this many tokens (`mlx_lm/tuner/trainer.py`).
const PADDING: u32 = 32;

/// Tokens that the model sees of a batch whose longest sample has `longest`, cut at `max_seq_length`.
#[must_use]
pub fn padded_tokens(longest: u32, max_seq_length: u32) -> u32 {
    let padded = longest.div_ceil(PADDING).saturating_mul(PADDING).saturating_add(1);
    padded.min(max_seq_length).saturating_sub(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::padded_tokens;

    #[test]
    fn samples_are_padded_to_32_and_cut() {
        assert_eq!(padded_tokens(300, 2048), 320);
        assert_eq!(padded_tokens(320, 2048), 320);
        assert_eq!(padded_tokens(2040, 2048), 2047);
        assert_eq!(padded_tokens(9000, 2048), 2047);
        assert_eq!(padded_tokens(u32::MAX, 2048), 2047);
    }
}
