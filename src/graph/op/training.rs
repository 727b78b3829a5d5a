//! Primitives that only a training step has.

use super::{OpKind, Rope};
use crate::graph::shape::Axes;

/// What MLX runs in a training step and in no other call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Training {
    /// Inputs `x`, weight (a scalar where the norm has none), gradient of the output; outputs the gradients of `x` and
    /// of the weight. One kernel for both, and one that adds up the rows of the second.
    RmsNormGradient {
        /// Added to the mean square.
        eps: f32,
    },
    /// Inputs `x`, weight, bias (scalars where the norm has none), gradient of the output; outputs the gradients of the
    /// first three.
    LayerNormGradient {
        /// Added to the variance.
        eps: f32,
    },
    /// Inputs gradient of the output, further inputs of the rotation; output the gradient of `x`: the rotation backwards.
    RopeGradient(Rope),
    /// Inputs `q`, `k`, `v`, the output and its gradient; outputs the gradients of the first three, without scores in
    /// memory.
    AttentionGradient,
    /// Inputs logits, targets; output the loss of every token in float32.
    CrossEntropy,
    /// Inputs logits, targets, loss, gradient of the loss; output the gradient of the logits, in their place if nobody
    /// else holds them.
    CrossEntropyGradient,
    /// Inputs `a [m, rows]`, `b [rows, n]`, first and last row of every segment; output one product per segment.
    SegmentedMm,
    /// Inputs `x`, one index array per axis in the list, new elements; output `x` with the elements added there.
    ScatterAdd(Axes),
    /// Input `x`; output its elements by strides of their own: overlapping pairs of a vector.
    AsStrided,
    /// Inputs what a checkpointed function reads, then its results; outputs the results, whose gradient runs the
    /// function again.
    Checkpoint,
    /// Inputs values, then what they must wait for; outputs the values.
    Depends,
}

impl Training {
    /// MLX's name of the primitive.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RmsNormGradient { .. } => "RMSNormVJP",
            Self::LayerNormGradient { .. } => "LayerNormVJP",
            Self::RopeGradient(_) => "RoPE",
            Self::AttentionGradient => "ScaledDotProductAttentionVJP",
            Self::CrossEntropy => "CrossEntropy",
            Self::CrossEntropyGradient => "CrossEntropyVJP",
            Self::SegmentedMm => "SegmentedMM",
            Self::ScatterAdd(_) => "Scatter",
            Self::AsStrided => "AsStrided",
            Self::Checkpoint => "CustomTransforms",
            Self::Depends => "Depends",
        }
    }

    /// How the output comes from the inputs.
    pub(super) const fn kind(self) -> OpKind {
        match self {
            Self::RmsNormGradient { .. }
            | Self::LayerNormGradient { .. }
            | Self::RopeGradient(_)
            | Self::CrossEntropy
            | Self::CrossEntropyGradient => OpKind::RowWise,
            Self::AttentionGradient => OpKind::Attention,
            Self::SegmentedMm => OpKind::ExpertProduct,
            Self::ScatterAdd(_) => OpKind::Write,
            Self::AsStrided | Self::Checkpoint | Self::Depends => OpKind::View,
        }
    }
}
