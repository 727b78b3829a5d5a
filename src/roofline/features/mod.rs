//! What the speed of a model depends on: the quantities of one decode step and of prefill, free of any machine.
//!
//! Features are read off a [`Graph`](crate::graph::Graph) once; evaluating them for a machine and a depth then takes
//! about a microsecond ([`crate::roofline::Coefficients::decode_law`]).

mod extract;
mod gguf;
mod shared;

pub use extract::FeatureError;
pub use shared::Share;

use serde::{Deserialize, Serialize};

/// Which part of the model a matrix belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MatrixRole {
    /// Matrices of the layers that every token uses.
    Layer,
    /// Matrices of routed experts.
    Expert,
    /// The output head.
    Head,
}

/// How the kernel decodes the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// 16- or 32-bit floating point: nothing to decode.
    Plain,
    /// Integers with a scale per group of at most 64 (MLX affine, ggml K-quants).
    Grouped,
    /// Blocks of 32 weights with one scale (Q4_0, Q8_0, IQ4_NL, MXFP4).
    Simple,
}

/// Equal products with matrices in one decode step of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Matrices {
    /// What it is for.
    pub part: MatrixRole,
    /// How the weights are stored.
    pub coding: Coding,
    /// Kernel launches per step.
    pub launches: f64,
    /// Bytes that one launch reads, scales included; for experts those of the chosen ones.
    pub bytes: f64,
    /// Weights that one launch multiplies.
    pub weights: f64,
    /// Columns of the matrix (inner dimension).
    pub inner: u64,
    /// Rows of the matrix (outer dimension).
    pub outer: u64,
    /// Experts of the layer; 1 for other matrices.
    pub experts: u64,
    /// Experts that a token uses; 1 for other matrices.
    pub chosen: u64,
}

impl Matrices {
    /// Expected number of different experts that `batch` tokens use, each `chosen` of `experts`, chosen evenly.
    #[must_use]
    pub fn distinct_experts(&self, batch: f64) -> f64 {
        let (all, chosen) = (self.experts as f64, self.chosen as f64);
        if all <= chosen { all } else { all * (1.0 - (1.0 - chosen / all).powf(batch)) }
    }
}

/// Equal reads of keys and values in one decode step of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttentionReads {
    /// Kernels that read.
    pub launches: f64,
    /// Bytes per token that is attended to, for one launch.
    pub bytes_per_row: f64,
    /// Elements per token that is attended to, for one launch.
    pub elements_per_row: f64,
    /// Rows for every token in the cache: 1 for full attention, 1/ratio where tokens are pooled.
    pub rows_per_token: f64,
    /// Rows that are there at any depth.
    pub rows_fixed: f64,
    /// Most rows that are read: the window, where there is one.
    pub rows_limit: Option<f64>,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Features of a key.
    pub key_dim: u64,
    /// Whether one kernel does scores, softmax and sum.
    pub fused: bool,
}

impl AttentionReads {
    /// Rows that one launch reads with `tokens` in the cache.
    #[must_use]
    pub fn rows(&self, tokens: f64) -> f64 {
        let rows = self.rows_fixed + self.rows_per_token * tokens;
        self.rows_limit.map_or(rows, |limit| rows.min(limit))
    }

    /// Elements of keys and values that all launches read with `tokens` in the cache.
    #[must_use]
    pub fn elements(&self, tokens: f64) -> f64 {
        self.launches * self.elements_per_row * self.rows(tokens)
    }

    /// Bytes that all launches read with `tokens` in the cache.
    #[must_use]
    pub fn bytes(&self, tokens: f64) -> f64 {
        self.launches * self.bytes_per_row * self.rows(tokens)
    }
}

/// What prefill depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PrefillWork {
    /// Weights of matrices that every token is multiplied with, head excluded.
    pub dense_weights: f64,
    /// Weights of experts that a token is multiplied with.
    pub expert_weights: f64,
    /// Bytes of all routed experts.
    pub expert_bytes: f64,
    /// Sum over layers with full attention of query heads times features of keys and values.
    pub full_attention: f64,
    /// The same over layers whose attention is limited, each with its limit in tokens: the sum of products.
    pub window_attention: f64,
    /// Mean limit of those layers, in tokens.
    pub window_tokens: f64,
    /// Kernels launched for a chunk.
    pub dispatches: f64,
}

/// What the speed of a model depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepFeatures {
    /// Kernels launched in a decode step of one sequence, at a short context.
    pub dispatches: f64,
    /// Further kernels at a long context, where attention is split over several.
    pub dispatches_long: f64,
    /// Layers.
    pub layers: u64,
    /// Products with matrices.
    pub matrices: Vec<Matrices>,
    /// Reads of keys and values.
    pub attention: Vec<AttentionReads>,
    /// Bytes of weights read outside matrix products: norms, biases, embedding rows.
    pub other_bytes: f64,
    /// Bytes of recurrent and convolution states read per step; as many are written.
    pub state_bytes: f64,
    /// Layers with a recurrent state.
    pub recurrent_layers: u64,
    /// Whether a recurrent layer follows the gated delta rule.
    pub gated_delta: bool,
    /// Whether activations have 16-bit IEEE floats rather than bfloat16.
    pub fp16: bool,
    /// Bytes of all weights.
    pub weight_bytes: f64,
    /// Parameters of the model.
    pub parameters: f64,
    /// What prefill depends on.
    pub prefill: PrefillWork,
}

impl StepFeatures {
    /// Bytes of weights that a decode step of one sequence reads.
    #[must_use]
    pub fn weight_bytes_per_step(&self) -> f64 {
        self.matrices.iter().map(|m| m.launches * m.bytes).sum::<f64>() + self.other_bytes
    }

    /// Bytes of weights that a decode step of several sequences reads, each expert once.
    #[must_use]
    pub fn weight_bytes_per_step_of(&self, batch: f64) -> f64 {
        let bytes = |m: &Matrices| match m.part {
            MatrixRole::Expert => m.bytes * m.distinct_experts(batch) / m.chosen.max(1) as f64,
            MatrixRole::Layer | MatrixRole::Head => m.bytes,
        };
        self.matrices.iter().map(|m| m.launches * bytes(m)).sum::<f64>() + self.other_bytes
    }

    /// Bytes of keys and values that a decode step reads with `tokens` in the cache.
    #[must_use]
    pub fn kv_bytes(&self, tokens: f64) -> f64 {
        self.attention.iter().map(|a| a.bytes(tokens)).sum()
    }

    /// Kernels that a decode step launches with `tokens` in the cache.
    #[must_use]
    pub fn dispatches_at(&self, tokens: f64) -> f64 {
        if tokens >= extract::SPLIT_FROM {
            self.dispatches + self.dispatches_long
        } else {
            self.dispatches
        }
    }

    /// Whether attention works on a compressed latent: many query heads on one wide row per token, not in one kernel.
    #[must_use]
    pub fn latent(&self) -> bool {
        self.attention
            .iter()
            .any(|a| a.kv_heads == 1 && a.heads >= 8 && a.key_dim >= 256 && !a.fused)
    }

    /// Largest fraction of the experts of a layer that a token chooses; 1 without experts.
    #[must_use]
    pub fn chosen_experts(&self) -> f64 {
        let chosen = |m: &Matrices| m.chosen as f64 / m.experts.max(1) as f64;
        let experts = self.matrices.iter().filter(|m| m.part == MatrixRole::Expert);
        experts.map(chosen).reduce(f64::max).unwrap_or(1.0)
    }

    /// Makes every token use all routed experts, as programs do that have no kernels for chosen ones.
    pub fn choose_all_experts(&mut self) {
        let mut more = 1.0;
        for m in self.matrices.iter_mut().filter(|m| m.part == MatrixRole::Expert) {
            let factor = m.experts as f64 / m.chosen.max(1) as f64;
            m.bytes *= factor;
            m.weights *= factor;
            m.chosen = m.experts;
            more = f64::max(more, factor);
        }
        self.prefill.expert_weights *= more;
    }

    /// Whether most weights have 16 bits or more.
    #[must_use]
    pub fn plain(&self) -> bool {
        let weights = |coding: fn(Coding) -> bool| -> f64 {
            self.matrices.iter().filter(|m| coding(m.coding)).map(|m| m.launches * m.weights).sum()
        };
        weights(|c| c == Coding::Plain) > weights(|c| c != Coding::Plain)
    }

    /// Weights that a token multiplies for its logits and not for the caches: the output head and what of the last layers
    /// no cache needs.
    #[must_use]
    pub fn unneeded_weights(&self) -> f64 {
        let dense = self.matrices.iter().filter(|m| m.part != MatrixRole::Expert);
        let all: f64 = dense.map(|m| m.launches * m.weights).sum();
        (all - self.prefill.dense_weights).max(0.0)
    }

    /// Whether the model has routed experts.
    #[must_use]
    pub fn has_experts(&self) -> bool {
        self.matrices.iter().any(|m| m.part == MatrixRole::Expert)
    }
}
