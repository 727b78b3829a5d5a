//! The gradient of every operation: what `vjp` of its primitive records (`mlx/primitives.cpp`, `mlx/fast.cpp`).
//!
//! One match lists all operations, so that a new one does not compile before its gradient is known. The calls are those
//! of MLX in their order: which operations are equal, and so merged with those of the forward pass, depends on it.

use super::recorded::Recorded;
use super::{elementwise, kernels, products, views};
use crate::graph::op::{Kernel, Op, Reduction, Training};
use crate::graph::tape::Var;

/// The gradients of the inputs `wanted`, in their order.
pub(super) fn gradients<'t>(r: &Recorded<'t>, wanted: &[usize]) -> Vec<Var<'t>> {
    let g = r.g();
    let each = |f: &dyn Fn(usize) -> Var<'t>| wanted.iter().map(|&i| f(i)).collect::<Vec<_>>();
    match &r.op {
        Op::Reshape => vec![views::reshaped_to(g, r.x().shape())],
        Op::Flatten => vec![views::unflattened(g, r.x().shape())],
        Op::Unflatten => vec![views::flattened(g, r.x().shape())],
        Op::Transpose(axes) => vec![views::transposed_back(g, axes)],
        Op::ExpandDims(axes) => vec![views::squeezed(g, axes)],
        Op::Squeeze(axes) => vec![views::expanded(g, axes)],
        Op::Broadcast => vec![views::summed_to(g, r.x().shape())],
        Op::Slice(spec) => vec![views::put_back(r.x(), g, spec.0)],
        Op::Split(axis, _) => vec![g.tape().concat(&r.cotangents, i32::from(*axis))],
        Op::Unary(op) => vec![elementwise::unary(*op, r)],
        Op::Binary(op) => each(&|i| elementwise::binary(*op, r, i)),
        Op::Select => each(&|i| elementwise::select(r, i)),
        Op::AsType => vec![g.astype(r.x().dtype())],
        Op::Contiguous => vec![g],
        Op::RmsNorm { eps } => kernels::rms_norm(r, *eps, wanted),
        Op::LayerNorm { eps } => kernels::layer_norm(r, *eps, wanted),
        Op::Softmax { .. } => vec![kernels::softmax(r)],
        Op::LogSumExp => vec![g * r.x().softmax(true)],
        Op::Rope(rope) => vec![kernels::rope(r, rope)],
        Op::Reduce(how, axes) => vec![match how {
            Reduction::Sum => g.broadcast_to(r.x().shape()),
            Reduction::Max | Reduction::Min => views::to_extremes(r, axes),
            Reduction::Prod => views::of_product(r, axes),
            Reduction::And | Reduction::Or => r.x().zeros_like(),
        }],
        Op::Scan { axis } => vec![g.cumsum(i32::from(*axis))],
        Op::Sort { axis } => vec![views::unsorted(r, r.x().argsort(i32::from(*axis)), *axis)],
        Op::Partition { axis, kth } => {
            let order = r.x().argpartition(i64::from(*kth), i32::from(*axis));
            vec![views::unsorted(r, order, *axis)]
        }
        Op::ArgReduce { .. } | Op::ArgSort { .. } | Op::ArgPartition { .. } => {
            vec![r.x().zeros_like()]
        }
        Op::Gather(spec) => vec![views::scattered(r, &spec.0)],
        Op::GatherAxis { axis } => {
            let add = Op::ScatterAxis { axis: *axis, add: true };
            let (x, t) = (r.x(), g.tape());
            vec![t.push(add, &[x.zeros_like(), r.inputs[1], g], x.shape(), x.dtype())]
        }
        Op::ScatterAxis { axis, add } => each(&|i| views::of_scatter_axis(r, i, *axis, *add)),
        Op::Scatter(axes) => each(&|i| views::of_scatter(r, i, axes, false)),
        Op::Concatenate { axis } => each(&|i| views::part(r, i, i32::from(*axis))),
        Op::SliceUpdate(starts) => each(&|i| views::of_update(r, i, starts, false)),
        Op::SliceMultiply(starts) => each(&|i| views::of_update(r, i, starts, true)),
        Op::Pad(low) => vec![views::unpadded(r, low)],
        Op::Depends => each(&|i| if i == 0 { g } else { r.inputs[i].zeros_like() }),
        Op::Hadamard { scale } => vec![g.hadamard(f64::from(*scale))],
        Op::Full => vec![views::summed_to(g * r.x(), r.x().shape())],
        Op::Matmul | Op::AddMm => each(&|i| products::matmul(r, i)),
        Op::QuantizedMatmul { packing, transpose } => {
            vec![products::quantized(r, *packing, *transpose)]
        }
        Op::GatherMm { sorted } => each(&|i| products::gathered(r, i, *sorted)),
        Op::GatherQmm { packing, transpose, sorted } => {
            vec![products::gathered_quantized(r, *packing, *transpose, *sorted)]
        }
        Op::Convolution { groups } => each(&|i| products::convolution(r, i, *groups)),
        Op::Attention { scale, causal, mask, sinks } => {
            kernels::attention(r, f64::from(*scale), (*causal, *mask, *sinks), wanted)
        }
        Op::Custom(kernel) => r.refuse(reason(*kernel)),
        Op::Quantize(_) | Op::Dequantize(_) => r.refuse("packed weights cannot be trained"),
        Op::ConvertFp8 { .. } => r.refuse("8-bit floats cannot be trained"),
        Op::Arange { .. } => r.refuse("it has no inputs"),
        Op::Compiled(_) => r.refuse("it is fused already"),
        Op::Training(op) => training(*op, r, wanted),
    }
}

/// Primitives that only training records are differentiated where a checkpoint holds them.
fn training<'t>(op: Training, r: &Recorded<'t>, wanted: &[usize]) -> Vec<Var<'t>> {
    match op {
        Training::CrossEntropy => vec![kernels::cross_entropy(r)],
        Training::Depends => wanted.iter().map(|&i| r.cotangents[i]).collect(),
        Training::ScatterAdd(axes) => {
            wanted.iter().map(|&i| views::of_scatter(r, i, &axes, true)).collect()
        }
        Training::Checkpoint
        | Training::RmsNormGradient { .. }
        | Training::LayerNormGradient { .. }
        | Training::RopeGradient(_)
        | Training::AttentionGradient
        | Training::CrossEntropyGradient
        | Training::SegmentedMm
        | Training::AsStrided => r.refuse("it is part of a backward pass"),
    }
}

/// Why a custom kernel cannot be differentiated.
const fn reason(_: Kernel) -> &'static str {
    "a custom Metal kernel has none, and mlx-lm has no other way for this layer in training"
}
