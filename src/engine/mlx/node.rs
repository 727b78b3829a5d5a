//! One operation of a trace as a call of MLX.

use super::backward;
use super::error::EngineError;
use super::kernels;
use super::ops::{Array, AttentionMask, BinaryFn, Ops, PackedRef, UnaryFn};
use crate::graph::op::{Binary, Op, Unary};
use crate::graph::shape::Shape;
use crate::model::{DType, Packing};

type Result<T> = std::result::Result<T, EngineError>;

/// The C function of an element-wise operation.
pub(super) fn unary_fn(op: Unary) -> UnaryFn {
    match op {
        Unary::Abs => mlx_sys::mlx_abs,
        Unary::Ceil => mlx_sys::mlx_ceil,
        Unary::Cos => mlx_sys::mlx_cos,
        Unary::Cosh => mlx_sys::mlx_cosh,
        Unary::Erf => mlx_sys::mlx_erf,
        Unary::Exp => mlx_sys::mlx_exp,
        Unary::Expm1 => mlx_sys::mlx_expm1,
        Unary::Floor => mlx_sys::mlx_floor,
        Unary::Log => mlx_sys::mlx_log,
        Unary::Log1p => mlx_sys::mlx_log1p,
        Unary::Log2 => mlx_sys::mlx_log2,
        Unary::LogicalNot => mlx_sys::mlx_logical_not,
        Unary::Negative => mlx_sys::mlx_negative,
        Unary::Round => round,
        Unary::Rsqrt => mlx_sys::mlx_rsqrt,
        Unary::Sigmoid => mlx_sys::mlx_sigmoid,
        Unary::Sign => mlx_sys::mlx_sign,
        Unary::Sin => mlx_sys::mlx_sin,
        Unary::Sqrt => mlx_sys::mlx_sqrt,
        Unary::Square => mlx_sys::mlx_square,
        Unary::Tanh => mlx_sys::mlx_tanh,
    }
}

/// `mx.round` to whole numbers.
unsafe extern "C" fn round(
    res: *mut mlx_sys::mlx_array,
    x: mlx_sys::mlx_array,
    s: mlx_sys::mlx_stream,
) -> std::ffi::c_int {
    // SAFETY: the caller's handles, with the number of decimals added.
    unsafe { mlx_sys::mlx_round(res, x, 0, s) }
}

/// The C function of an element-wise operation of two inputs.
pub(super) fn binary_fn(op: Binary) -> BinaryFn {
    match op {
        Binary::Add => mlx_sys::mlx_add,
        Binary::BitwiseAnd => mlx_sys::mlx_bitwise_and,
        Binary::BitwiseOr => mlx_sys::mlx_bitwise_or,
        Binary::Divide => mlx_sys::mlx_divide,
        Binary::Equal => mlx_sys::mlx_equal,
        Binary::FloorDivide => mlx_sys::mlx_floor_divide,
        Binary::Greater => mlx_sys::mlx_greater,
        Binary::GreaterEqual => mlx_sys::mlx_greater_equal,
        Binary::Less => mlx_sys::mlx_less,
        Binary::LessEqual => mlx_sys::mlx_less_equal,
        Binary::LogAddExp => mlx_sys::mlx_logaddexp,
        Binary::LogicalAnd => mlx_sys::mlx_logical_and,
        Binary::LogicalOr => mlx_sys::mlx_logical_or,
        Binary::Maximum => mlx_sys::mlx_maximum,
        Binary::Minimum => mlx_sys::mlx_minimum,
        Binary::Multiply => mlx_sys::mlx_multiply,
        Binary::NotEqual => mlx_sys::mlx_not_equal,
        Binary::Power => mlx_sys::mlx_power,
        Binary::Remainder => mlx_sys::mlx_remainder,
        Binary::Subtract => mlx_sys::mlx_subtract,
    }
}

/// The arrays that an operation reads.
struct Inputs<'a> {
    op: &'a Op,
    arrays: &'a [&'a Array],
}

impl<'a> Inputs<'a> {
    fn wrong(&self) -> EngineError {
        EngineError::Unsupported(format!("{} of {} inputs", self.op.name(), self.arrays.len()))
    }

    /// Exactly `N` arrays.
    fn all<const N: usize>(&self) -> Result<[&'a Array; N]> {
        self.arrays.try_into().map_err(|_| self.wrong())
    }

    /// The only array.
    fn only(&self) -> Result<&'a Array> {
        self.all().map(|[x]| x)
    }

    /// The first array and those after it.
    fn first(&self) -> Result<(&'a Array, &'a [&'a Array])> {
        match self.arrays {
            [x, rest @ ..] => Ok((x, rest)),
            [] => Err(self.wrong()),
        }
    }

    /// A packed matrix among the arrays from `skip` on, and what comes after it.
    fn packed(&self, skip: usize, packing: Packing) -> Result<(PackedRef<'a>, &'a [&'a Array])> {
        let parts = self.arrays.get(skip..).unwrap_or_default();
        let (weight, scales, biases, rest) = match parts {
            [weight, scales, biases, rest @ ..] if packing.has_biases() => {
                (*weight, *scales, Some(*biases), rest)
            }
            [weight, scales, rest @ ..] if !packing.has_biases() => (*weight, *scales, None, rest),
            _ => return Err(self.wrong()),
        };
        Ok((PackedRef { weight, scales, biases, packing }, rest))
    }
}

/// Executes an operation whose outputs have the given shapes and types.
pub(super) fn run(
    ops: &Ops,
    op: &Op,
    inputs: &[&Array],
    out: &[(Shape, DType)],
) -> Result<Vec<Array>> {
    let read = Inputs { op, arrays: inputs };
    let &[(shape, dtype), ..] = out else { return Err(read.wrong()) };
    let made = match op {
        Op::Split(axis, at) => return ops.split(read.only()?, at, *axis),
        Op::Quantize(packing) => return ops.quantize(read.only()?, *packing),
        Op::Custom(kernel) => return kernels::run(ops, *kernel, inputs, out),
        // Its members stand in the trace, so the trace's walker runs it.
        Op::Compiled(_) => Err(read.wrong()),
        Op::Training(op) => return backward::run(ops, *op, inputs, out),
        Op::Reshape | Op::Flatten | Op::Unflatten | Op::ExpandDims(_) | Op::Squeeze(_) => {
            ops.reshape(read.only()?, &shape)
        }
        Op::Transpose(order) => ops.transpose(read.only()?, order),
        Op::Broadcast => ops.broadcast(read.first()?.0, &shape),
        Op::Slice(spec) => ops.slice(read.only()?, &spec.0, &spec.1, &shape),
        Op::Unary(u) => ops.unary(op.name(), unary_fn(*u), read.only()?),
        Op::Binary(b) => {
            let [x, y] = read.all()?;
            ops.binary(op.name(), binary_fn(*b), x, y)
        }
        Op::Select => {
            let [condition, a, b] = read.all()?;
            ops.select(condition, a, b)
        }
        Op::AsType => ops.as_type(read.only()?, dtype),
        Op::RmsNorm { eps } => {
            let (x, rest) = read.first()?;
            ops.rms_norm(x, rest.first().copied(), *eps)
        }
        Op::LayerNorm { eps } => {
            let (x, rest) = read.first()?;
            ops.layer_norm(x, rest.first().copied(), rest.get(1).copied(), *eps)
        }
        Op::Softmax { precise } => ops.softmax(read.only()?, *precise),
        Op::LogSumExp => ops.logsumexp(read.only()?),
        Op::ArgReduce { axis, max } => ops.arg_reduce(read.only()?, *axis, *max),
        Op::Reduce(how, axes) => ops.reduce(*how, read.only()?, axes),
        Op::Scan { axis } => ops.cumsum(read.only()?, *axis),
        Op::Sort { axis } => ops.sort(read.only()?, *axis, false),
        Op::ArgSort { axis } => ops.sort(read.only()?, *axis, true),
        Op::Partition { axis, kth } => ops.partition(read.only()?, *axis, *kth, false),
        Op::ArgPartition { axis, kth } => ops.partition(read.only()?, *axis, *kth, true),
        Op::Gather(spec) => {
            let (x, indices) = read.first()?;
            ops.gather(x, indices, &spec.0, &spec.1)
        }
        Op::GatherAxis { axis } => {
            let [x, indices] = read.all()?;
            ops.gather_axis(x, indices, *axis)
        }
        Op::ScatterAxis { axis, add } => {
            let [x, indices, new] = read.all()?;
            ops.scatter_axis(x, indices, new, *axis, *add)
        }
        Op::Scatter(axes) => match inputs {
            [x, indices @ .., new] => ops.scatter(x, indices, new, axes, false),
            _ => Err(read.wrong()),
        },
        Op::Concatenate { axis } => ops.concatenate(inputs, *axis),
        Op::SliceUpdate(start) => slice_update(ops, &read, start, false),
        Op::SliceMultiply(start) => slice_update(ops, &read, start, true),
        Op::Pad(low) => {
            let [x, filling] = read.all()?;
            ops.pad(x, filling, low, &shape)
        }
        Op::Contiguous => ops.contiguous(read.only()?),
        Op::Depends => {
            let (x, others) = read.first()?;
            ops.depends(x, others)
        }
        Op::Full => ops.full(&shape, read.only()?, dtype),
        Op::Arange { start, step } => {
            let [] = read.all()?;
            ops.arange(*start, *step, shape.dim(0), dtype)
        }
        Op::Hadamard { scale } => ops.hadamard(read.only()?, *scale),
        Op::ConvertFp8 { to: true } => ops.to_fp8(read.only()?),
        Op::ConvertFp8 { to: false } => ops.fp8_to(read.only()?, dtype),
        Op::Matmul => {
            let [a, b] = read.all()?;
            ops.matmul(a, b)
        }
        Op::AddMm => {
            let [a, b, c] = read.all()?;
            ops.addmm(c, a, b)
        }
        Op::QuantizedMatmul { packing, transpose } => {
            let (w, _) = read.packed(1, *packing)?;
            ops.quantized_matmul(read.first()?.0, w, *transpose)
        }
        Op::GatherMm { sorted } => {
            let [x, w, left, right] = read.all()?;
            ops.gather_mm(x, w, left, right, *sorted)
        }
        Op::GatherQmm { packing, transpose, sorted } => {
            let (w, rest) = read.packed(1, *packing)?;
            let &[left, right] = rest else { return Err(read.wrong()) };
            ops.gather_qmm(read.first()?.0, w, (left, right), *transpose, *sorted)
        }
        Op::Dequantize(packing) => ops.dequantize(read.packed(0, *packing)?.0, dtype),
        Op::Convolution { groups } => {
            let [x, w] = read.all()?;
            ops.conv1d(x, w, *groups)
        }
        Op::Rope(spec) => {
            let (x, rest) = read.first()?;
            backward::rotated(ops, x, spec, rest)
        }
        Op::Attention { .. } => attention(ops, &read),
    };
    Ok(vec![made?])
}

fn slice_update(ops: &Ops, read: &Inputs<'_>, start: &Shape, multiply: bool) -> Result<Array> {
    let [x, new] = read.all()?;
    ops.slice_update(x, new, start, &kernels::shape_of(new), multiply)
}

fn attention(ops: &Ops, read: &Inputs<'_>) -> Result<Array> {
    let (&Op::Attention { scale, causal, mask, sinks }, [q, k, v, rest @ ..]) =
        (read.op, read.arrays)
    else {
        return Err(read.wrong());
    };
    let m = match (mask, causal, rest.first()) {
        (true, _, Some(m)) => AttentionMask::Array(m),
        (_, true, _) => AttentionMask::Causal,
        _ => AttentionMask::None,
    };
    let s = if sinks { rest.last().copied() } else { None };
    ops.attention([q, k, v], scale, &m, s)
}
