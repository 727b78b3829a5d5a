//! The operations of a traced step: MLX's primitives, with what is needed to size, time, replay and execute them.

use super::shape::{Axes, Shape};
use crate::model::Packing;

/// Element-wise operations of one input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Unary {
    Abs,
    Ceil,
    Cos,
    Erf,
    Exp,
    Expm1,
    Floor,
    Log,
    Log1p,
    Log2,
    LogicalNot,
    Negative,
    Round,
    Rsqrt,
    Sigmoid,
    Sign,
    Sin,
    Sqrt,
    Square,
    Tanh,
}

/// Element-wise operations of two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Binary {
    Add,
    BitwiseAnd,
    BitwiseOr,
    Divide,
    Equal,
    FloorDivide,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    LogAddExp,
    LogicalAnd,
    LogicalOr,
    Maximum,
    Minimum,
    Multiply,
    NotEqual,
    Power,
    Remainder,
    Subtract,
}

impl Binary {
    /// Whether the result is a truth value.
    #[must_use]
    pub const fn compares(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Greater
                | Self::GreaterEqual
                | Self::Less
                | Self::LessEqual
                | Self::LogicalAnd
                | Self::LogicalOr
        )
    }
}

/// How a reduction combines elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Reduction {
    Sum,
    Max,
    Min,
    Prod,
    And,
    Or,
}

/// Rotary position embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Features that are rotated.
    pub dims: u32,
    /// Adjacent pairs (true) or halves (false).
    pub traditional: bool,
    /// Base of the frequencies; `None` when a frequency table is an input.
    pub base: Option<f64>,
    /// Scale of the positions.
    pub scale: f64,
    /// Position of the first token.
    pub offset: u32,
}

/// What a custom Metal kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Gated delta rule: inputs q, k, v, g, beta, state; outputs y, state.
    GatedDelta,
    /// Product with a matrix of -1, 0 and 1 packed into bytes: inputs x, packed weight, scale; output y.
    BitLinear,
    /// Mamba-2 state update of one token: inputs x, A_log, B, C, D, dt, state; outputs y, state.
    SsmUpdate,
    /// RWKV-7 recurrence over all tokens: inputs r, w, k, v, a, b, state, tokens; outputs y, state.
    Wkv7,
    /// Mixes of hyper-connections: inputs streams, logits, scale, base; outputs the collapsed streams, the weights of
    /// the output, the mix between the streams.
    HyperCollapse {
        /// Rounds of the Sinkhorn iteration.
        rounds: u32,
        /// Epsilon in billionths.
        eps_nano: u32,
    },
    /// Sinkhorn normalisation of small matrices: inputs matrices, epsilon.
    Sinkhorn {
        /// Rounds of the iteration.
        rounds: u32,
    },
    /// Softmax mix of residual sums: inputs sums, inverse root mean squares, running sum, query, epsilon, rows.
    ResidualMix,
    /// Norms over query and key heads: inputs the joint projection, scale of the queries, epsilon; outputs q, k.
    QkNorm,
    /// The same and a rotation: three more inputs, position of the first token, tokens, binary logarithm of the base.
    QkNormRope,
    /// A norm over each head times the sigmoid of a gate: inputs x, gate, epsilon; output y with the heads joined.
    NormGate,
    /// Choice of experts: inputs logits, correction bias, factor on the logits, epsilon, factor on the scores; outputs
    /// indices, scores.
    ExpertRouting,
    /// A gated residual sum and the norm of it: inputs branch, stream, their weights, scale of the branch, its epsilon,
    /// weight and epsilon of the norm; outputs stream, normed stream.
    NormAddNorm,
    /// A gated residual sum: the first six inputs of the above; output stream.
    NormAdd,
    /// Norms and weighted sum of the outputs of experts: inputs outputs, scores, scale, epsilon; output y.
    ExpertCombine,
}

/// One primitive operation. Shapes of inputs and outputs stand in the trace.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Op {
    // Views: no kernel unless the layout forces a copy.
    Reshape,
    Flatten,
    Unflatten,
    Transpose(Axes),
    ExpandDims(Axes),
    Squeeze(Axes),
    Broadcast,
    /// First index per axis, and step per axis.
    Slice(Box<(Shape, Shape)>),
    /// Axis and the indices it is cut at.
    Split(u8, Box<[u32]>),

    // Element-wise.
    Unary(Unary),
    Binary(Binary),
    Select,
    AsType,
    /// An element-wise chain fused by `mx.compile`; index into the trace's bodies.
    Compiled(u32),

    // Normalisation, reductions, sorting.
    RmsNorm {
        eps: f32,
    },
    LayerNorm {
        eps: f32,
    },
    Softmax {
        precise: bool,
    },
    LogSumExp,
    ArgReduce {
        axis: u8,
        max: bool,
    },
    Reduce(Reduction, Axes),
    /// Cumulative sum along an axis.
    Scan {
        axis: u8,
    },
    Sort {
        axis: u8,
    },
    ArgSort {
        axis: u8,
    },
    Partition {
        axis: u8,
        kth: u32,
    },
    ArgPartition {
        axis: u8,
        kth: u32,
    },

    // Indexing and copying.
    /// Rows of the first input along `axes`, one index array per axis; slice sizes per input axis.
    Gather(Box<(Axes, Shape)>),
    GatherAxis {
        axis: u8,
    },
    ScatterAxis {
        axis: u8,
        add: bool,
    },
    /// Elements replaced at index arrays, one per axis in the list; inputs the array, the indices, the new elements.
    Scatter(Axes),
    Concatenate {
        axis: u8,
    },
    /// First index per axis that is overwritten.
    SliceUpdate(Box<Shape>),
    /// First index per axis from which on the elements are multiplied by those of the second input.
    SliceMultiply(Box<Shape>),
    /// Elements added in front per axis.
    Pad(Box<Shape>),
    Contiguous,
    /// The first input itself, evaluated together with the others.
    Depends,
    /// An array filled with the input, a constant scalar or its broadcast view.
    Full,
    Arange {
        start: f64,
        step: f64,
    },

    /// Walsh-Hadamard transform of the last axis, times a factor.
    Hadamard {
        scale: f32,
    },
    /// To 8-bit floats (e4m3) or back.
    ConvertFp8 {
        to: bool,
    },

    // Matrix products.
    Matmul,
    AddMm,
    QuantizedMatmul {
        packing: Packing,
        transpose: bool,
    },
    GatherMm {
        sorted: bool,
    },
    GatherQmm {
        packing: Packing,
        transpose: bool,
        sorted: bool,
    },
    Quantize(Packing),
    Dequantize(Packing),
    /// Depth-wise or grouped 1-D convolution without padding.
    Convolution {
        groups: u32,
    },

    // Kernels of `mx.fast` and custom kernels.
    /// Inputs x [, position of the first token as an array] [, frequencies]; there are frequencies if `base` is `None`.
    Rope(Box<Rope>),
    /// Fused attention; inputs q, k, v [, mask] [, sinks].
    Attention {
        scale: f32,
        causal: bool,
        mask: bool,
        sinks: bool,
    },
    Custom(Kernel),
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
            Self::Unary(u) => unary_name(*u),
            Self::Binary(b) => binary_name(*b),
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
        }
    }

    /// Whether `mx.compile` may fuse this operation into a chain (`is_fusable` in `mlx/compile.cpp`).
    #[must_use]
    pub(crate) const fn fusable(&self) -> bool {
        match self {
            Self::Binary(op) => !matches!(op, Binary::FloorDivide),
            Self::Unary(_) | Self::Select | Self::AsType | Self::Broadcast => true,
            _ => false,
        }
    }
}

fn unary_name(op: Unary) -> &'static str {
    match op {
        Unary::Abs => "Abs",
        Unary::Ceil => "Ceil",
        Unary::Cos => "Cos",
        Unary::Erf => "Erf",
        Unary::Exp => "Exp",
        Unary::Expm1 => "Expm1",
        Unary::Floor => "Floor",
        // One primitive with a base.
        Unary::Log | Unary::Log2 => "Log",
        Unary::Log1p => "Log1p",
        Unary::LogicalNot => "LogicalNot",
        Unary::Negative => "Negative",
        Unary::Round => "Round",
        // One primitive with a flag.
        Unary::Rsqrt => "Sqrt",
        Unary::Sigmoid => "Sigmoid",
        Unary::Sign => "Sign",
        Unary::Sin => "Sin",
        Unary::Sqrt => "Sqrt",
        Unary::Square => "Square",
        Unary::Tanh => "Tanh",
    }
}

fn binary_name(op: Binary) -> &'static str {
    match op {
        Binary::Add => "Add",
        Binary::BitwiseAnd | Binary::BitwiseOr => "BitwiseBinary",
        Binary::Divide => "Divide",
        Binary::Equal => "Equal",
        Binary::FloorDivide => "FloorDivide",
        Binary::Greater => "Greater",
        Binary::GreaterEqual => "GreaterEqual",
        Binary::Less => "Less",
        Binary::LessEqual => "LessEqual",
        Binary::LogAddExp => "LogAddExp",
        Binary::LogicalAnd => "LogicalAnd",
        Binary::LogicalOr => "LogicalOr",
        Binary::Maximum => "Maximum",
        Binary::Minimum => "Minimum",
        Binary::Multiply => "Multiply",
        Binary::NotEqual => "NotEqual",
        Binary::Power => "Power",
        Binary::Remainder => "Remainder",
        Binary::Subtract => "Subtract",
    }
}
