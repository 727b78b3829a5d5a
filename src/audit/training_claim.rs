//! What somebody says about a fine-tuning run.
//!
//! ```toml
//! [[claim]]
//! id = "adapters"
//! workload = "training"
//! memory_gb = 2.895
//! training = { rank = 8, num_layers = 16, trainable_m = 0.819, tokens_per_s = 838, iterations_per_s = 11.2, mlx = "0.26.1" }
//! ```

use super::range::Range;
use crate::graph::training::{FineTuneType, Optimizer};
use crate::run::Version;
use serde::{Deserialize, Deserializer};

/// A fine-tuning run with `mlx_lm.lora`. What is not stated is absent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingClaim {
    /// What was trained.
    pub fine_tune_type: FineTuneType,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Rank of the adapters.
    pub rank: Option<u32>,
    /// Blocks that were trained.
    pub num_layers: Option<u32>,
    /// Matrices with adapters, as paths in a block.
    pub keys: Vec<String>,
    /// Samples in a batch.
    pub batch_size: Option<u32>,
    /// Tokens of each sequence in the largest batch.
    pub seq_tokens: Option<u32>,
    /// Whether blocks were run again in the backward pass.
    pub grad_checkpoint: bool,
    /// Millions of trained parameters.
    pub trainable_m: Option<f64>,
    /// Tokens in the loss per second.
    pub tokens_per_s: Option<Range>,
    /// Iterations per second.
    pub iterations_per_s: Option<f64>,
    /// Version of MLX.
    #[serde(deserialize_with = "version")]
    pub mlx: Option<Version>,
}

fn version<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Version>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}
