//! One operation of a trace as a call of MLX.

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

fn wrong(op: &Op, inputs: usize) -> EngineError {
    EngineError::Unsupported(format!("{} of {inputs} inputs", op.name()))
}

/// Executes an operation that has one output of the given shape and type, or several of the given types.
pub(super) fn run(
    ops: &Ops,
    op: &Op,
    inputs: &[&Array],
    out: &[(Shape, DType)],
) -> Result<Vec<Array>> {
    match op {
        Op::Split(axis, at) => match inputs {
            [x] => ops.split(x, at, *axis),
            _ => Err(wrong(op, inputs.len())),
        },
        Op::Quantize(packing) => match inputs {
            [x] => ops.quantize(x, *packing),
            _ => Err(wrong(op, inputs.len())),
        },
        Op::Custom(kernel) => kernels::run(ops, *kernel, inputs, out),
        _ => match out {
            [(shape, dtype)] => Ok(vec![single(ops, op, inputs, shape, *dtype)?]),
            _ => Err(wrong(op, inputs.len())),
        },
    }
}

/// Executes an operation with one output.
pub(super) fn single(
    ops: &Ops,
    op: &Op,
    inputs: &[&Array],
    shape: &Shape,
    dtype: DType,
) -> Result<Array> {
    match (op, inputs) {
        (Op::Reshape | Op::Flatten | Op::Unflatten | Op::ExpandDims(_) | Op::Squeeze(_), [x]) => {
            ops.reshape(x, shape)
        }
        (Op::Transpose(order), [x]) => ops.transpose(x, order),
        (Op::Broadcast, [x, ..]) => ops.broadcast(x, shape),
        (Op::Slice(spec), [x]) => ops.slice(x, &spec.0, &spec.1, shape),
        (Op::Unary(u), [x]) => ops.unary(op.name(), unary_fn(*u), x),
        (Op::Binary(b), [x, y]) => ops.binary(op.name(), binary_fn(*b), x, y),
        (Op::Select, [c, a, b]) => ops.select(c, a, b),
        (Op::AsType, [x]) => ops.as_type(x, dtype),
        (Op::Softmax { precise }, [x]) => ops.softmax(x, *precise),
        (Op::LogSumExp, [x]) => ops.logsumexp(x),
        (Op::ArgReduce { axis, max }, [x]) => ops.arg_reduce(x, *axis, *max),
        (Op::Reduce(how, axes), [x]) => ops.reduce(*how, x, axes),
        (Op::Scan { axis }, [x]) => ops.cumsum(x, *axis),
        (Op::Sort { axis }, [x]) => ops.sort(x, *axis, false),
        (Op::ArgSort { axis }, [x]) => ops.sort(x, *axis, true),
        (Op::Partition { axis, kth }, [x]) => ops.partition(x, *axis, *kth, false),
        (Op::ArgPartition { axis, kth }, [x]) => ops.partition(x, *axis, *kth, true),
        (Op::Contiguous, [x]) => ops.contiguous(x),
        (Op::Depends, [x, others @ ..]) => ops.depends(x, others),
        (Op::Full, [x]) => ops.full(shape, x, dtype),
        (Op::Arange { start, step }, []) => ops.arange(*start, *step, shape.dim(0), dtype),
        (Op::Hadamard { scale }, [x]) => ops.hadamard(x, *scale),
        (Op::ConvertFp8 { to: true }, [x]) => ops.to_fp8(x),
        (Op::ConvertFp8 { to: false }, [x]) => ops.fp8_to(x, dtype),
        _ => indexed(ops, op, inputs, shape, dtype),
    }
}

fn indexed(ops: &Ops, op: &Op, inputs: &[&Array], shape: &Shape, dtype: DType) -> Result<Array> {
    match (op, inputs) {
        (Op::Gather(spec), [x, indices @ ..]) => ops.gather(x, indices, &spec.0, &spec.1),
        (Op::GatherAxis { axis }, [x, i]) => ops.gather_axis(x, i, *axis),
        (Op::ScatterAxis { axis, add }, [x, i, v]) => ops.scatter_axis(x, i, v, *axis, *add),
        (Op::Scatter(axes), [x, indices @ .., new]) => ops.scatter(x, indices, new, axes),
        (Op::Concatenate { axis }, parts) => ops.concatenate(parts, *axis),
        (Op::SliceUpdate(start), [x, new]) => {
            ops.slice_update(x, new, start, &kernels::shape_of(new), false)
        }
        (Op::SliceMultiply(start), [x, new]) => {
            ops.slice_update(x, new, start, &kernels::shape_of(new), true)
        }
        (Op::Pad(low), [x, filling]) => ops.pad(x, filling, low, shape),
        _ => product(ops, op, inputs, dtype),
    }
}

/// A packed matrix from the inputs that hold it; the rest of the inputs.
fn packed<'a>(
    inputs: &'a [&'a Array],
    packing: Packing,
) -> Option<(PackedRef<'a>, &'a [&'a Array])> {
    let (weight, scales) = (*inputs.first()?, *inputs.get(1)?);
    let biases = if packing.has_biases() { Some(*inputs.get(2)?) } else { None };
    let rest = inputs.get(if biases.is_some() { 3 } else { 2 }..)?;
    Some((PackedRef { weight, scales, biases, packing }, rest))
}

fn product(ops: &Ops, op: &Op, inputs: &[&Array], dtype: DType) -> Result<Array> {
    let fail = || wrong(op, inputs.len());
    match (op, inputs) {
        (Op::RmsNorm { eps }, [x]) => ops.rms_norm(x, None, *eps),
        (Op::RmsNorm { eps }, [x, w]) => ops.rms_norm(x, Some(w), *eps),
        (Op::LayerNorm { eps }, [x, rest @ ..]) => {
            ops.layer_norm(x, rest.first().copied(), rest.get(1).copied(), *eps)
        }
        (Op::Matmul, [a, b]) => ops.matmul(a, b),
        (Op::AddMm, [a, b, c]) => ops.addmm(c, a, b),
        (Op::QuantizedMatmul { packing, transpose }, [x, rest @ ..]) => {
            let (w, _) = packed(rest, *packing).ok_or_else(fail)?;
            ops.quantized_matmul(x, w, *transpose)
        }
        (Op::GatherMm { sorted }, [x, w, left, right]) => ops.gather_mm(x, w, left, right, *sorted),
        (Op::GatherQmm { packing, transpose, sorted }, [x, rest @ ..]) => {
            let (w, rest) = packed(rest, *packing).ok_or_else(fail)?;
            let &[left, right] = rest else { return Err(fail()) };
            ops.gather_qmm(x, w, (left, right), *transpose, *sorted)
        }
        (Op::Dequantize(packing), inputs) => {
            let (w, _) = packed(inputs, *packing).ok_or_else(fail)?;
            ops.dequantize(w, dtype)
        }
        (Op::Convolution { groups }, [x, w]) => ops.conv1d(x, w, *groups),
        (Op::Rope(rope), [x, rest @ ..]) => {
            let table = usize::from(rope.base.is_none());
            let position = if rest.len() > table { rest.first().copied() } else { None };
            let freqs = if table == 1 { rest.last().copied() } else { None };
            ops.rope(x, rope, position, freqs)
        }
        (Op::Attention { scale, causal, mask, sinks }, [q, k, v, rest @ ..]) => {
            let m = match (mask, causal, rest.first()) {
                (true, _, Some(m)) => AttentionMask::Array(m),
                (_, true, _) => AttentionMask::Causal,
                _ => AttentionMask::None,
            };
            let s = if *sinks { rest.last().copied() } else { None };
            ops.attention([q, k, v], *scale, &m, s)
        }
        _ => Err(fail()),
    }
}
