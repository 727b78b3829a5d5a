//! The operations of a traced step: MLX's primitives, with what is needed to size, time, replay and execute them.
//!
//! Every reading of an operation (its [name](Op::name), its [kind](Op::kind), the rules of the replay, its call of MLX)
//! is a match that lists all of them, so that a new operation does not compile before each reading knows it.

mod elementwise;
mod kernel;
mod kind;
mod training;

pub use elementwise::{Binary, Reduction, Unary};
pub use kernel::{Kernel, Rope};
pub use kind::OpKind;
pub use training::Training;

use super::shape::{Axes, Shape};
use crate::model::Packing;

/// One primitive operation. Shapes and types of inputs and outputs stand in the trace; the documentation names the
/// inputs in their order. There is one output where nothing else is said.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    // Views: no kernel unless the layout forces a copy.
    /// Input `x`; output the same elements, in their order, in another shape.
    Reshape,
    /// Input `x`; output with several adjacent axes made one.
    Flatten,
    /// Input `x`; output with one axis cut into several.
    Unflatten,
    /// Input `x`; output with the axes in the given order.
    Transpose(Axes),
    /// Input `x`; output with axes of size 1 at the given places, counted in the output.
    ExpandDims(Axes),
    /// Input `x`; output without the given axes, which have size 1.
    Squeeze(Axes),
    /// Input `x` [, arrays whose shapes count]; output with axes of size 1 repeated and axes added in front.
    Broadcast,
    /// Input `x`; output the elements from the first index per axis on, with the step per axis.
    Slice(Box<(Shape, Shape)>),
    /// Input `x`; outputs its parts along an axis, cut at the given indices.
    Split(u8, Box<[u32]>),

    // Element-wise.
    /// Input `x`; output of the same shape. See [`Unary`].
    Unary(Unary),
    /// Inputs `a`, `b`; output of their common shape. See [`Binary`].
    Binary(Binary),
    /// Inputs condition, `a`, `b`; output the elements of `a` where the condition holds, else those of `b`.
    Select,
    /// Input `x`; output its elements in another type.
    AsType,
    /// An element-wise chain fused by `mx.compile`; index into the trace's bodies. Inputs and outputs are those of the
    /// body.
    Compiled(u32),

    // Normalization, reductions, sorting.
    /// Inputs `x` [, weight]; output `x` divided by the root mean square of its last axis, times the weight.
    RmsNorm {
        /// Added to the mean square.
        eps: f32,
    },
    /// Inputs `x` [, weight [, bias]]; output `x` less its mean over the last axis, divided by its standard deviation,
    /// times the weight, plus the bias.
    LayerNorm {
        /// Added to the variance.
        eps: f32,
    },
    /// Input `x`; output of the same shape whose elements along the last axis sum to one.
    Softmax {
        /// Whether sums are in float32, whatever the type.
        precise: bool,
    },
    /// Input `x`; output the logarithm of the sum of exponentials over the last axis, which stays with size 1.
    LogSumExp,
    /// Input `x`; output the position of the largest or smallest element along an axis, which stays with size 1.
    ArgReduce {
        /// The axis.
        axis: u8,
        /// Whether the largest is looked for.
        max: bool,
    },
    /// Input `x`; output with the given axes of size 1. See [`Reduction`].
    Reduce(Reduction, Axes),
    /// Input `x`; output of the same shape: sums of all elements up to each one along an axis.
    Scan {
        /// The axis.
        axis: u8,
    },
    /// Input `x`; output its elements in rising order along an axis.
    Sort {
        /// The axis.
        axis: u8,
    },
    /// Input `x`; output the positions of its elements in rising order along an axis.
    ArgSort {
        /// The axis.
        axis: u8,
    },
    /// Input `x`; output its elements along an axis with those before and behind place `kth` on their side of it.
    Partition {
        /// The axis.
        axis: u8,
        /// The place.
        kth: u32,
    },
    /// Input `x`; output the positions of the elements that [`Op::Partition`] would give.
    ArgPartition {
        /// The axis.
        axis: u8,
        /// The place.
        kth: u32,
    },

    // Indexing and copying.
    /// Inputs `x`, one index array per axis in the list; output the slices of `x` at those indices, with the given size
    /// per axis of `x`.
    Gather(Box<(Axes, Shape)>),
    /// Inputs `x`, indices; output the elements of `x` at those indices along an axis.
    GatherAxis {
        /// The axis.
        axis: u8,
    },
    /// Inputs `x`, indices, new elements; output `x` with those put in, or added, along an axis.
    ScatterAxis {
        /// The axis.
        axis: u8,
        /// Whether they are added to those of `x`.
        add: bool,
    },
    /// Inputs `x`, one index array per axis in the list, new elements; output `x` with the elements replaced there.
    Scatter(Axes),
    /// Inputs parts, at least two; output them one after the other along an axis.
    Concatenate {
        /// The axis.
        axis: u8,
    },
    /// Inputs `x`, new elements; output `x` with those in place from the given index per axis on.
    SliceUpdate(Box<Shape>),
    /// Inputs `x`, factors; output `x` with its elements multiplied by those from the given index per axis on.
    SliceMultiply(Box<Shape>),
    /// Inputs `x`, a scalar; output `x` with as many such elements in front per axis, and as many behind as the shape
    /// asks for.
    Pad(Box<Shape>),
    /// Input `x`; output the same elements, dense in memory.
    Contiguous,
    /// Inputs `x`, others; output `x` itself, evaluated together with the others.
    Depends,
    /// Input a constant scalar or its broadcast view; output an array filled with it.
    Full,
    /// No input; output a vector of rising numbers.
    Arange {
        /// The first number.
        start: f64,
        /// How much each is larger than the one before.
        step: f64,
    },

    /// Input `x`; output the Walsh-Hadamard transform of its last axis, times a factor.
    Hadamard {
        /// The factor.
        scale: f32,
    },
    /// Input `x`; output its elements as 8-bit floats (e4m3), in bytes, or those back as numbers.
    ConvertFp8 {
        /// Whether the output is 8-bit.
        to: bool,
    },

    // Matrix products.
    /// Inputs `a [.., m, k]`, `b [.., k, n]`; output `a @ b [.., m, n]`.
    Matmul,
    /// Inputs `a [m, k]`, `b [k, n]`, `c [m, n]`; output `a @ b + c`.
    AddMm,
    /// Inputs `x`, packed words, scales [, biases]; output the product of `x` with the matrix.
    QuantizedMatmul {
        /// How the matrix is packed.
        packing: Packing,
        /// Whether its rows are the features of the output.
        transpose: bool,
    },
    /// Inputs `x`, matrices `[experts, k, n]`, indices of rows of `x`, indices of matrices; output one product per pair
    /// of indices.
    GatherMm {
        /// Whether the indices of matrices rise.
        sorted: bool,
    },
    /// Inputs `x`, packed words, scales [, biases] of matrices, indices of rows of `x`, indices of matrices; output one
    /// product per pair of indices.
    GatherQmm {
        /// How the matrices are packed.
        packing: Packing,
        /// Whether their rows are the features of the output.
        transpose: bool,
        /// Whether the indices of matrices rise.
        sorted: bool,
    },
    /// Input `x`; outputs packed words, scales [, biases] of its last axis.
    Quantize(Packing),
    /// Inputs packed words, scales [, biases]; output the numbers.
    Dequantize(Packing),
    /// Inputs `x [batch, length, channels]`, weight `[out, kernel, channels / groups]`; output their convolution
    /// without padding `[batch, length - kernel + 1, out]`.
    Convolution {
        /// Groups of channels that do not mix; as many as channels for a depth-wise one.
        groups: u32,
    },

    // Kernels of `mx.fast` and custom kernels.
    /// Inputs `x` [, position of the first token as an array] [, frequencies]; there are frequencies if `base` is
    /// `None`. Output `x` rotated.
    Rope(Box<Rope>),
    /// Fused attention: inputs `q`, `k`, `v` `[batch, heads, tokens, width]` [, mask] [, sinks]; output
    /// `[batch, query heads, queries, width of v]`.
    Attention {
        /// Factor on the scores.
        scale: f32,
        /// Whether a query sees only the keys up to its own position.
        causal: bool,
        /// Whether a mask is among the inputs.
        mask: bool,
        /// Whether sinks are among the inputs.
        sinks: bool,
    },
    /// A custom Metal kernel; see [`Kernel`] for inputs and outputs.
    Custom(Kernel),
    /// A primitive of training steps; see [`Training`] for inputs and outputs.
    Training(Training),
}

impl Op {
    /// MLX's name of the primitive (without the body of a compiled chain).
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reshape => "Reshape",
            Self::Flatten => "Flatten",
            Self::Unflatten => "Unflatten",
            Self::Transpose(_) => "Transpose",
            Self::ExpandDims(_) => "ExpandDims",
            Self::Squeeze(_) => "Squeeze",
            Self::Broadcast => "Broadcast",
            Self::Slice(_) => "Slice",
            Self::Split(..) => "Split",
            Self::Unary(u) => u.name(),
            Self::Binary(b) => b.name(),
            Self::Select => "Select",
            Self::AsType => "AsType",
            Self::Compiled(_) => "Compiled",
            Self::RmsNorm { .. } => "RMSNorm",
            Self::LayerNorm { .. } => "LayerNorm",
            Self::Softmax { .. } => "Softmax",
            Self::LogSumExp => "LogSumExp",
            Self::ArgReduce { .. } => "ArgReduce",
            Self::Reduce(..) => "Reduce",
            Self::Scan { .. } => "Scan",
            Self::Sort { .. } => "Sort",
            Self::ArgSort { .. } => "ArgSort",
            Self::Partition { .. } => "Partition",
            Self::ArgPartition { .. } => "ArgPartition",
            Self::Gather(_) => "Gather",
            Self::GatherAxis { .. } => "GatherAxis",
            Self::ScatterAxis { .. } => "ScatterAxis",
            Self::Scatter(_) => "Scatter",
            Self::Concatenate { .. } => "Concatenate",
            Self::SliceUpdate(_) | Self::SliceMultiply(_) => "SliceUpdate",
            Self::Pad(_) => "Pad",
            Self::Contiguous => "Contiguous",
            Self::Depends => "Depends",
            Self::Hadamard { .. } => "Hadamard",
            Self::ConvertFp8 { to: true } => "ToFP8",
            Self::ConvertFp8 { to: false } => "FromFP8",
            Self::Full => "Full",
            Self::Arange { .. } => "Arange",
            Self::Matmul => "Matmul",
            Self::AddMm => "AddMM",
            Self::QuantizedMatmul { .. } => "QuantizedMatmul",
            Self::GatherMm { .. } => "GatherMM",
            Self::GatherQmm { .. } => "GatherQMM",
            Self::Quantize(_) => "Quantize",
            Self::Dequantize(_) => "Dequantize",
            Self::Convolution { .. } => "Convolution",
            Self::Rope(_) => "RoPE",
            Self::Attention { .. } => "Attention",
            Self::Custom(_) => "CustomKernel",
            Self::Training(op) => op.name(),
        }
    }
}
