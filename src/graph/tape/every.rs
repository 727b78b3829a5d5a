//! A trace with every operation, for tests of what reads traces.

use super::{Routing, Source, Tape, Trace, Var};
use crate::graph::SkippedLayers;
use crate::graph::op::{Binary, Kernel, Op, Reduction, Rope, Unary};
use crate::graph::params::Parameters;
use crate::graph::shape::Shape;
use crate::graph::tape::Mask;
use crate::model::{DType, Packing};

/// The place of an operation among all. A new one does not compile before it stands here, and [`trace`] does not run
/// before it records one.
fn place(op: &Op) -> usize {
    match op {
        Op::Reshape => 0,
        Op::Flatten => 1,
        Op::Unflatten => 2,
        Op::Transpose(_) => 3,
        Op::ExpandDims(_) => 4,
        Op::Squeeze(_) => 5,
        Op::Broadcast => 6,
        Op::Slice(_) => 7,
        Op::Split(..) => 8,
        Op::Unary(_) => 9,
        Op::Binary(_) => 10,
        Op::Select => 11,
        Op::AsType => 12,
        Op::Compiled(_) => 13,
        Op::RmsNorm { .. } => 14,
        Op::LayerNorm { .. } => 15,
        Op::Softmax { .. } => 16,
        Op::LogSumExp => 17,
        Op::ArgReduce { .. } => 18,
        Op::Reduce(..) => 19,
        Op::Scan { .. } => 20,
        Op::Sort { .. } => 21,
        Op::ArgSort { .. } => 22,
        Op::Partition { .. } => 23,
        Op::ArgPartition { .. } => 24,
        Op::Gather(_) => 25,
        Op::GatherAxis { .. } => 26,
        Op::ScatterAxis { .. } => 27,
        Op::Scatter(_) => 28,
        Op::Concatenate { .. } => 29,
        Op::SliceUpdate(_) => 30,
        Op::SliceMultiply(_) => 31,
        Op::Pad(_) => 32,
        Op::Contiguous => 33,
        Op::Depends => 34,
        Op::Full => 35,
        Op::Arange { .. } => 36,
        Op::Hadamard { .. } => 37,
        Op::ConvertFp8 { .. } => 38,
        Op::Matmul => 39,
        Op::AddMm => 40,
        Op::QuantizedMatmul { .. } => 41,
        Op::GatherMm { .. } => 42,
        Op::GatherQmm { .. } => 43,
        Op::Quantize(_) => 44,
        Op::Dequantize(_) => 45,
        Op::Convolution { .. } => 46,
        Op::Rope(_) => 47,
        Op::Attention { .. } => 48,
        Op::Custom(_) => 49,
    }
}

const OPERATIONS: usize = 50;

/// An array that no operation makes, in a cache slot of its own.
fn given(t: &Tape<'_>, slots: &mut u32, shape: &[u32], dtype: DType) -> Var {
    *slots += 1;
    t.input(Shape::new(shape), dtype, Source::Cache(*slots - 1))
}

/// A call that records every operation at least once, every element-wise operation and every reduction among them.
/// Its inputs are arrays of the cache, its results the outputs of all operations.
pub fn trace() -> Trace {
    let params = Parameters::default();
    let t = Tape::new(&params, Routing::default(), SkippedLayers::NONE);
    let mut slots = 0;
    let mut array = |t: &Tape<'_>, shape: &[u32]| given(t, &mut slots, shape, DType::F32);
    let x = array(&t, &[2, 3, 64]);
    let y = array(&t, &[2, 3, 64]);
    let weight = array(&t, &[64]);
    let square = array(&t, &[64, 64]);
    let images = array(&t, &[2, 4, 8, 64]);
    let experts = array(&t, &[4, 64, 32]);
    let filter = array(&t, &[64, 2, 1]);
    let mut index = |t: &Tape<'_>, shape: &[u32]| given(t, &mut slots, shape, DType::U32);
    let indices = index(&t, &[2, 3]);
    let along = index(&t, &[2, 3, 8]);
    let rows = index(&t, &[5]);
    views(&t, x);
    elementwise(&t, x, y);
    by_rows(&t, x, weight, square);
    indexing(&t, x, y, indices, along, rows);
    products(&t, x, square, experts, indices);
    t.conv1d(x, filter, 64);
    kernels(&t, images, square);
    let nodes = t.trace.borrow().nodes.clone();
    let all: Vec<Var> = nodes.iter().flat_map(|n| t.trace.borrow().outputs(n).to_vec()).collect();
    t.set_outputs(&all, Vec::new());
    t.finish().expect("every call is valid")
}

fn views(t: &Tape<'_>, x: Var) {
    t.reshape(x, &[6, 64]);
    t.flatten(x, 0, 1);
    t.unflatten(x, 2, &[8, 8]);
    t.transpose(x, &[1, 0, 2]);
    let wide = t.expand_dims(x, &[1]);
    t.squeeze(wide, &[1]);
    t.broadcast_to(wide, Shape::new(&[2, 5, 3, 64]));
    t.slice(x, 2, 8, 16);
    t.split::<2>(x, &[16], 2);
}

fn elementwise(t: &Tape<'_>, x: Var, y: Var) {
    use {Binary as B, Unary as U};
    let condition = t.binary(B::Less, x, y);
    for op in [
        U::Abs,
        U::Ceil,
        U::Cos,
        U::Erf,
        U::Exp,
        U::Expm1,
        U::Floor,
        U::Log,
        U::Log1p,
        U::Log2,
        U::Negative,
        U::Round,
        U::Rsqrt,
        U::Sigmoid,
        U::Sign,
        U::Sin,
        U::Sqrt,
        U::Square,
        U::Tanh,
    ] {
        t.unary(op, x);
    }
    t.unary(U::LogicalNot, condition);
    for op in [
        B::Add,
        B::Divide,
        B::Equal,
        B::FloorDivide,
        B::Greater,
        B::GreaterEqual,
        B::LessEqual,
        B::LogAddExp,
        B::Maximum,
        B::Minimum,
        B::Multiply,
        B::NotEqual,
        B::Power,
        B::Remainder,
        B::Subtract,
    ] {
        t.binary(op, x, y);
    }
    for op in [B::LogicalAnd, B::LogicalOr] {
        t.binary(op, condition, condition);
    }
    let whole = t.astype(x, DType::I32);
    for op in [B::BitwiseAnd, B::BitwiseOr] {
        t.binary(op, whole, whole);
    }
    t.select(condition, x, y);
    let bytes = t.to_fp8(x);
    t.from_fp8(bytes, DType::F32);
    t.compiled(|t| {
        let sum = t.add(x, y);
        [t.sigmoid(sum)]
    });
}

fn by_rows(t: &Tape<'_>, x: Var, weight: Var, square: Var) {
    t.rms_norm(x, Some(weight), 1e-5);
    t.layer_norm(x, Some(weight), Some(weight), 1e-5);
    t.softmax(x, true);
    t.logsumexp(x);
    t.argmax(x);
    for how in [
        Reduction::Sum,
        Reduction::Max,
        Reduction::Min,
        Reduction::Prod,
        Reduction::And,
        Reduction::Or,
    ] {
        t.reduce(how, x, 1, true);
    }
    t.cumsum(x, 1);
    t.sort(x, 2);
    t.argsort(x, 2);
    t.topk(x, 4);
    t.argpartition(x, 4, 2);
    t.hadamard(square, 0.125);
}

fn indexing(t: &Tape<'_>, x: Var, y: Var, indices: Var, along: Var, rows: Var) {
    t.take(x, indices);
    let some = t.take_along_axis(x, along, 2);
    let full = t.put_along_axis(x, along, some, 2, true);
    t.put_last(full, rows, 0.0);
    t.concat(&[x, y], 1);
    let part = t.slice(y, 1, 0, 1);
    t.slice_update(x, part, 1, 1);
    t.multiply_front(x, 16, 2.0);
    t.pad(x, 1, 1, 0);
    t.contiguous(x);
    t.depends(x, &[y]);
    t.full(Shape::new(&[2, 3]), 1.0, DType::F32);
    t.arange(2, 9);
}

fn products(t: &Tape<'_>, x: Var, square: Var, experts: Var, indices: Var) {
    t.matmul(x, square);
    let bias = t.row(square, 0);
    t.addmm(bias, x, square);
    let packing = Packing::affine(4, 32);
    let matrix = t.quantize(square, packing);
    t.quantized_matmul(x, matrix, true);
    t.dequantize(matrix);
    let rows = t.expand_dims(x, &[-2]);
    t.gather_mm(rows, experts, indices, false);
    let turned = t.swapaxes(experts, 1, 2);
    let packed = t.quantize(turned, packing);
    t.gather_qmm(rows, packed, indices, true);
}

fn kernels(t: &Tape<'_>, images: Var, square: Var) {
    let rope = Rope { dims: 64, traditional: false, base: Some(1e4), scale: 1.0, offset: 3 };
    t.rope(images, rope, None, None);
    t.attention(images, images, images, 0.125, Mask::Causal, None);
    let eps = t.scalar(1e-6, DType::F32);
    let shape = t.shape(square);
    t.kernel_one(Kernel::Sinkhorn { rounds: 2 }, &[square, eps], shape, DType::F32);
}

#[test]
fn every_operation_is_recorded() {
    let trace = trace();
    let mut seen = [false; OPERATIONS];
    trace.nodes().iter().for_each(|n| seen[place(&n.op)] = true);
    let missing: Vec<usize> = (0..OPERATIONS).filter(|&i| !seen[i]).collect();
    assert!(missing.is_empty(), "no operation at the places {missing:?}");
}
