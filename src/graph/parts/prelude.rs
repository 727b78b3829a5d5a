//! What families are written with: the shared parts, and what those are written with.

pub use super::attention::{
    Attention, Biases, Heads, NormPlace, OutputGate, Precision, Projections, attend_cached, prepare,
};
pub use super::blocks::{Norms, Parallel, Sandwich};
pub use super::common::{
    GatedMlp, Head, head_dim, kv_heads, layer_count, layer_count_at, layer_count_or,
};
pub use super::frame::{
    Block, Decoder, DividedNorm, FeedForward, MaskRule, Mixer, Norm, Pointwise, PreNorm,
};
pub use super::mamba2_mixer::{GatedNorm, Mamba2, Mamba2Dims, Mamba2Settings};
pub use super::mla::{LatentAttention, LatentSettings, MlaDims, Query, position_scores};
pub use super::mla_expanded::{ExpandedAttention, ExpandedSettings, Spread};
pub use super::mlp::{Activation, FusedMlp, PlainMlp};
pub use super::moe::{GroupMoe, GroupRouting, SoftmaxMoe, combine, experts, top_k, weighted_sum};
pub use super::outline::{Around, NormKind, Outline};
pub use super::routed::{Gate, RoutedMlp, Router, experts_or};
pub use super::scores::{Divisor, Order, ScoreRouter, ScoreRouting, best};
pub use super::shell::{Dims, HeadKind, Names, Shell, layer_type_rules, text_config};
pub use crate::graph::prelude::*;
