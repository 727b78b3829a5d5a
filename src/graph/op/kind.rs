//! What several readings of an operation ask about it, answered once.

use super::{Binary, Op};

/// How an operation gets its output from its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// The output is an input in another shape or a part of it: no kernel unless the layout forces a copy.
    View,
    /// Each element from those at the same place.
    Elementwise,
    /// Each element from a whole row, or a row from a row: norms, sums, sorting, rotations, convolutions.
    RowWise,
    /// The elements of the first input that the others point at; nothing else of it is read.
    Lookup,
    /// The first input with a part replaced: in place, unless something else holds it.
    Write,
    /// All inputs, one after the other.
    Join,
    /// An array made from nothing or from a scalar, around an input if there is one.
    Fill,
    /// Rows times one matrix, which is read whole.
    Product,
    /// Rows times the matrices that they choose.
    ExpertProduct,
    /// Queries over keys and values in one kernel.
    Attention,
    /// A custom kernel.
    Custom,
}

impl Op {
    /// How the operation gets its output from its inputs.
    #[must_use]
    pub const fn kind(&self) -> OpKind {
        match self {
            Self::Reshape
            | Self::Flatten
            | Self::Unflatten
            | Self::Transpose(_)
            | Self::ExpandDims(_)
            | Self::Squeeze(_)
            | Self::Broadcast
            | Self::Slice(_)
            | Self::Split(..)
            | Self::Depends => OpKind::View,
            Self::Unary(_)
            | Self::Binary(_)
            | Self::Select
            | Self::AsType
            | Self::Compiled(_)
            | Self::ConvertFp8 { .. }
            | Self::Contiguous
            | Self::Quantize(_)
            | Self::Dequantize(_) => OpKind::Elementwise,
            Self::RmsNorm { .. }
            | Self::LayerNorm { .. }
            | Self::Softmax { .. }
            | Self::LogSumExp
            | Self::ArgReduce { .. }
            | Self::Reduce(..)
            | Self::Scan { .. }
            | Self::Sort { .. }
            | Self::ArgSort { .. }
            | Self::Partition { .. }
            | Self::ArgPartition { .. }
            | Self::Hadamard { .. }
            | Self::Convolution { .. }
            | Self::Rope(_) => OpKind::RowWise,
            Self::Gather(_) | Self::GatherAxis { .. } => OpKind::Lookup,
            Self::Scatter(_)
            | Self::ScatterAxis { .. }
            | Self::SliceUpdate(_)
            | Self::SliceMultiply(_) => OpKind::Write,
            Self::Concatenate { .. } => OpKind::Join,
            Self::Full | Self::Arange { .. } | Self::Pad(_) => OpKind::Fill,
            Self::Matmul | Self::AddMm | Self::QuantizedMatmul { .. } => OpKind::Product,
            Self::GatherMm { .. } | Self::GatherQmm { .. } => OpKind::ExpertProduct,
            Self::Attention { .. } => OpKind::Attention,
            Self::Custom(_) => OpKind::Custom,
            Self::Training(op) => op.kind(),
        }
    }

    /// Whether `mx.compile` may fuse this operation into a chain (`is_fusable` in `mlx/compile.cpp`).
    #[must_use]
    pub(crate) const fn fusable(&self) -> bool {
        match self {
            Self::Binary(op) => !matches!(op, Binary::FloorDivide),
            Self::Unary(_) | Self::Select | Self::AsType | Self::Broadcast => true,
            Self::Reshape
            | Self::Flatten
            | Self::Unflatten
            | Self::Transpose(_)
            | Self::ExpandDims(_)
            | Self::Squeeze(_)
            | Self::Slice(_)
            | Self::Split(..)
            | Self::Compiled(_)
            | Self::RmsNorm { .. }
            | Self::LayerNorm { .. }
            | Self::Softmax { .. }
            | Self::LogSumExp
            | Self::ArgReduce { .. }
            | Self::Reduce(..)
            | Self::Scan { .. }
            | Self::Sort { .. }
            | Self::ArgSort { .. }
            | Self::Partition { .. }
            | Self::ArgPartition { .. }
            | Self::Gather(_)
            | Self::GatherAxis { .. }
            | Self::ScatterAxis { .. }
            | Self::Scatter(_)
            | Self::Concatenate { .. }
            | Self::SliceUpdate(_)
            | Self::SliceMultiply(_)
            | Self::Pad(_)
            | Self::Contiguous
            | Self::Depends
            | Self::Full
            | Self::Arange { .. }
            | Self::Hadamard { .. }
            | Self::ConvertFp8 { .. }
            | Self::Matmul
            | Self::AddMm
            | Self::QuantizedMatmul { .. }
            | Self::GatherMm { .. }
            | Self::GatherQmm { .. }
            | Self::Quantize(_)
            | Self::Dequantize(_)
            | Self::Convolution { .. }
            | Self::Rope(_)
            | Self::Attention { .. }
            | Self::Custom(_)
            | Self::Training(_) => false,
        }
    }
}
