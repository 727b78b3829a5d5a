//! What families are written with: the shared parts, and what those are written with.

pub use super::attention::{
    Attention, Biases, Heads, NormPlace, OutputGate, Precision, Projections, attend_cached,
    prepare, tie,
};
pub use super::block::{
    DividedNorm, FeedForward, Half, Mixer, Norms, Parallel, Pointwise, Residual, Sandwich,
};
pub use super::dense::Dense;
pub use super::dims::Dims;
pub use super::keys::{
    experts, experts_or, head_dim, kv_heads, layer_count, layer_count_at, layer_count_or,
    layer_type_rules, text_config, window_rules,
};
pub use super::mamba2_mixer::{GatedNorm, Mamba2, Mamba2Dims, Mamba2Settings};
pub use super::mla::{LatentAttention, LatentSettings, Latents, MlaDims};
pub use super::mla_expanded::{ExpandedAttention, ExpandedSettings, RotaryCopies};
pub use super::mlp::{Activation, FusedMlp, GatedMlp, PlainMlp};
pub use super::outline::{HeadKind, Names, NormKind, Outline};
pub use super::routed::{Combine, Gate, Latent, RoutedMlp, Router, weighted_sum};
pub use super::routers::{
    GroupRouting, LogitRouter, SoftmaxRouter, grouped_experts, softmax_experts, with_gated_shared,
};
pub use super::scores::{Divisor, Order, Score, ScoreRouter, ScoreRouting, best, top_k};
pub use crate::graph::prelude::*;
