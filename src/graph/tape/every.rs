//! A trace with every operation, for tests of what reads traces.

use super::{Routing, Source, Tape, Trace, Var, concat};
use crate::graph::SkippedLayers;
use crate::graph::op::{Binary, Kernel, Op, Reduction, Rope, Training, Unary};
use crate::graph::params::Parameters;
use crate::graph::shape::{Axes, Shape};
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
        Op::Training(_) => 50,
    }
}

const OPERATIONS: usize = 51;

/// An array that no operation makes, in a cache slot of its own.
fn given<'t>(t: &'t Tape<'t>, slots: &mut u32, shape: &[u32], dtype: DType) -> Var<'t> {
    *slots += 1;
    t.input(Shape::new(shape), dtype, Source::Cache(*slots - 1))
}

/// A call that records every operation at least once, every element-wise operation and every reduction among them.
/// Its inputs are arrays of the cache, its results the outputs of all operations.
pub fn trace() -> Trace {
    let params = Parameters::default();
    let t = Tape::new(&params, Routing::default(), SkippedLayers::NONE);
    let mut slots = 0;
    let mut array = |shape: &[u32]| given(&t, &mut slots, shape, DType::F32);
    let x = array(&[2, 3, 64]);
    let y = array(&[2, 3, 64]);
    let weight = array(&[64]);
    let square = array(&[64, 64]);
    let images = array(&[2, 4, 8, 64]);
    let experts = array(&[4, 64, 32]);
    let filter = array(&[64, 2, 1]);
    let mut index = |shape: &[u32]| given(&t, &mut slots, shape, DType::U32);
    let indices = index(&[2, 3]);
    let along = index(&[2, 3, 8]);
    let rows = index(&[5]);
    views(x);
    elementwise(x, y);
    by_rows(x, weight, square);
    indexing(x, y, indices, along, rows);
    products(x, square, experts, indices);
    x.conv1d(filter, 64);
    kernels(images, square);
    let mut trace = t.finish().expect("every call is valid");
    trace.results = trace.nodes.iter().flat_map(|n| trace.outputs(n)).copied().collect();
    trace
}

fn views(x: Var<'_>) {
    x.reshape(&[6, 64]);
    x.flatten(0, 1);
    x.unflatten(2, &[8, 8]);
    x.transpose(&[1, 0, 2]);
    let wide = x.expand_dims(&[1]);
    wide.squeeze(&[1]);
    wide.broadcast_to(Shape::new(&[2, 5, 3, 64]));
    x.slice(2, 8, 16);
    x.split::<2>(&[16], 2);
}

fn elementwise(x: Var<'_>, y: Var<'_>) {
    let t = x.tape();
    use {Binary as B, Unary as U};
    let condition = x.less(y);
    for op in [
        U::Abs,
        U::Ceil,
        U::Cos,
        U::Cosh,
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
        x.unary(op);
    }
    condition.logical_not();
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
    let whole = x.astype(DType::I32);
    for op in [B::BitwiseAnd, B::BitwiseOr] {
        t.binary(op, whole, whole);
    }
    condition.select(x, y);
    let bytes = x.to_fp8();
    bytes.from_fp8(DType::F32);
    x.compiled(|x| {
        let sum = x + y;
        [sum.sigmoid()]
    });
}

fn by_rows(x: Var<'_>, weight: Var<'_>, square: Var<'_>) {
    x.rms_norm(Some(weight), 1e-5);
    x.layer_norm(Some(weight), Some(weight), 1e-5);
    x.softmax(true);
    x.logsumexp();
    x.argmax();
    for how in [
        Reduction::Sum,
        Reduction::Max,
        Reduction::Min,
        Reduction::Prod,
        Reduction::And,
        Reduction::Or,
    ] {
        x.reduce(how, 1, true);
    }
    x.cumsum(1);
    x.sort(2);
    x.argsort(2);
    x.topk(4);
    x.argpartition(4, 2);
    square.hadamard(0.125);
}

fn indexing(x: Var<'_>, y: Var<'_>, indices: Var<'_>, along: Var<'_>, rows: Var<'_>) {
    let t = x.tape();
    x.take(indices);
    let some = x.take_along_axis(along, 2);
    let full = x.put_along_axis(along, some, 2, true);
    full.put_last(rows, 0.0);
    concat([x, y], 1);
    let part = y.slice(1, 0, 1);
    x.slice_update(part, 1, 1);
    x.multiply_front(16, 2.0);
    x.pad(1, 1, 0);
    x.contiguous();
    x.depends(&[y]);
    t.full(Shape::new(&[2, 3]), 1.0, DType::F32);
    t.arange(2, 9);
}

fn products(x: Var<'_>, square: Var<'_>, experts: Var<'_>, indices: Var<'_>) {
    x.matmul(square);
    let bias = square.row(0);
    bias.addmm(x, square);
    let packing = Packing::affine(4, 32);
    let matrix = square.quantize(packing);
    x.quantized_matmul(matrix, true);
    x.tape().dequantize(matrix);
    let rows = x.expand_dims(&[-2]);
    rows.gather_mm(experts, indices, false);
    let turned = experts.swapaxes(1, 2);
    let packed = turned.quantize(packing);
    rows.gather_qmm(packed, indices, true);
}

fn kernels(images: Var<'_>, square: Var<'_>) {
    let t = images.tape();
    let rope = Rope { dims: 64, traditional: false, base: Some(1e4), scale: 1.0, offset: 3 };
    images.rope(rope, None, None);
    images.attention(images, images, 0.125, Mask::Causal, None);
    let eps = t.scalar(1e-6, DType::F32);
    let shape = square.shape();
    let axes = Axes::new([0]);
    let rows = t.arange_of(0, 4, DType::U32);
    let added = t.full(Shape::new(&[4, 1, 64]), 1.0, DType::F32);
    let add = Op::Training(Training::ScatterAdd(axes));
    t.push(add, &[square, rows, added], square.shape(), DType::F32);
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
