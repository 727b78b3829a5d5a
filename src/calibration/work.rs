//! The operations of a step as kernels of known classes.

use crate::graph::cache::KvQuantization;
use crate::graph::op::{Op, Training};
use crate::graph::shape::Shape;
use crate::graph::tape::{Body, Node, Routing, Trace, TraceError, ValueId};
use crate::graph::{Call, Graph};
use crate::model::{DType, Mode, Packing};
use std::collections::BTreeMap;
use std::fmt;

/// Kernels whose time follows one law.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Reshapes, transposes, slices: calls. They cost no kernel, but they are built and evaluated.
    View,
    /// Element-wise arithmetic: launches, bytes read and written.
    Elementwise,
    /// Copies of arrays that no cache holds: launches, bytes read and written. Tells what memory streams; a step copies
    /// nothing of that size, as caches are written in place.
    Copy,
    /// Element-wise exponentials and their like: launches, bytes read and written.
    Transcendental,
    /// Norms: launches, bytes read and written.
    Norm,
    /// Softmax, sorting: launches, bytes read and written.
    Reduction,
    /// Sums, means, maxima: launches, bytes read and written.
    Sum,
    /// Rotary embedding: launches, bytes read and written.
    Rope,
    /// Vector times dense matrix: launches, bytes of the matrix.
    Dense(DType),
    /// Vector times packed matrix: launches, weights, groups of weights (affine only).
    Packed(PackedClass),
    /// Vector times packed matrices of chosen experts: launches, weights of those, groups (affine only).
    Experts(PackedClass),
    /// Attention of one query: launches, heads, scores, multiplications.
    Attention(DType),
    /// Matrix times dense matrix, of prompts: launches, multiplications.
    DensePrompt(DType),
    /// Matrix times packed matrix, of prompts: launches, multiplications, groups times rows (affine only).
    PackedPrompt(PackedClass),
    /// Rows times packed matrices of their experts, of prompts: as [`Class::PackedPrompt`].
    ExpertsPrompt(PackedClass),
    /// Attention of a prompt: launches, heads, scores, multiplications.
    AttentionPrompt(DType),
}

/// Bits of packed weights and the type of the activations. The group size is none of it: how many groups there are is
/// a count of its own, so that a timing with two group sizes serves all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackedClass {
    /// 0 affine, 1 mxfp4, 2 nvfp4, 3 mxfp8.
    mode: u8,
    bits: u32,
    dtype: DType,
}

impl PackedClass {
    /// The class of a packing.
    #[must_use]
    pub fn of(packing: Packing, dtype: DType) -> Self {
        let mode = match packing.mode {
            Mode::Affine => 0,
            Mode::Mxfp4 => 1,
            Mode::Nvfp4 => 2,
            Mode::Mxfp8 => 3,
        };
        Self { mode, bits: packing.bits, dtype }
    }

    /// The counts of a product with `weights` multiplications.
    #[must_use]
    pub fn counts(packing: Packing, weights: f64) -> Vec<f64> {
        match packing.mode {
            Mode::Affine => vec![1.0, weights, weights / f64::from(packing.group.max(1))],
            // These have one group size each.
            Mode::Mxfp4 | Mode::Nvfp4 | Mode::Mxfp8 => vec![1.0, weights],
        }
    }
}

impl fmt::Display for PackedClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = ["affine", "mxfp4", "nvfp4", "mxfp8"][usize::from(self.mode.min(3))];
        match self.mode {
            0 => write!(f, "{mode}-{}-{}", self.bits, self.dtype),
            _ => write!(f, "{mode}-{}", self.dtype),
        }
    }
}

impl fmt::Display for Class {
    /// The name in profiles.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View => f.write_str("view"),
            Self::Elementwise => f.write_str("elementwise"),
            Self::Copy => f.write_str("copy"),
            Self::Transcendental => f.write_str("transcendental"),
            Self::Norm => f.write_str("norm"),
            Self::Reduction => f.write_str("softmax"),
            Self::Sum => f.write_str("sum"),
            Self::Rope => f.write_str("rope"),
            Self::Dense(dtype) => write!(f, "matvec-{dtype}"),
            Self::Packed(p) => write!(f, "matvec-{p}"),
            Self::Experts(p) => write!(f, "experts-{p}"),
            Self::Attention(dtype) => write!(f, "attention-{dtype}"),
            Self::DensePrompt(dtype) => write!(f, "matmul-{dtype}"),
            Self::PackedPrompt(p) => write!(f, "matmul-{p}"),
            Self::ExpertsPrompt(p) => write!(f, "experts-matmul-{p}"),
            Self::AttentionPrompt(dtype) => write!(f, "attention-prompt-{dtype}"),
        }
    }
}

/// Counts per class, summed over a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelWork(pub BTreeMap<Class, Vec<f64>>);

impl KernelWork {
    fn add(&mut self, class: Class, counts: &[f64]) {
        let sum = self.0.entry(class).or_insert_with(|| vec![0.0; counts.len()]);
        sum.iter_mut().zip(counts).for_each(|(s, c)| *s += c);
    }
}

/// The work of a decode step with `depth` tokens in the cache.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn decode_work(
    graph: &Graph,
    depth: u32,
    kv: Option<KvQuantization>,
) -> Result<KernelWork, TraceError> {
    let trace = crate::ledger::cache::steady_decode(graph, depth, kv)?;
    let mut work = KernelWork::default();
    for node in trace.nodes() {
        count(&trace, node, false, &mut work);
    }
    Ok(work)
}

/// The work of a prompt of `tokens` in chunks of `step`, up to the last token, which a decode step reads.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn prefill_work(
    graph: &Graph,
    tokens: u32,
    step: u32,
    kv: Option<KvQuantization>,
) -> Result<KernelWork, TraceError> {
    let mut caches = graph.make_cache();
    let mut work = KernelWork::default();
    let mut left = tokens.saturating_sub(1);
    while left > 0 {
        let tokens = left.min(step.max(1));
        let call = Call { kv, ..Call::prefill(tokens) };
        let trace = graph.trace(&mut caches, call, Routing::default())?;
        for node in trace.nodes() {
            count(&trace, node, tokens > 1, &mut work);
        }
        left -= tokens;
    }
    Ok(work)
}

/// The work of a recorded training step. Products of adapters are in float32 whatever the model's type, and few: where a
/// profile has no such class (`timed` tells), they count as those of the model's type.
#[must_use]
pub fn training_work(trace: &Trace, model: DType, timed: impl Fn(Class) -> bool) -> KernelWork {
    let mut work = KernelWork::default();
    trace.nodes().iter().for_each(|node| count(trace, node, true, &mut work));
    let pairs = [
        (Class::DensePrompt(DType::F32), Class::DensePrompt(model)),
        (Class::Dense(DType::F32), Class::Dense(model)),
    ];
    for (class, instead) in pairs.into_iter().filter(|(class, _)| !timed(*class)) {
        if let Some(counts) = work.0.remove(&class) {
            work.add(instead, &counts);
        }
    }
    work
}

fn count(trace: &Trace, node: &Node, prompt: bool, work: &mut KernelWork) {
    let inputs = trace.inputs(node);
    let outputs = trace.outputs(node);
    let bytes =
        |vars: &[ValueId]| -> f64 { vars.iter().map(|&v| trace.value(v).bytes() as f64).sum() };
    let touched = bytes(inputs) + bytes(outputs);
    let out = outputs.first().map(|&v| *trace.value(v));
    let Some(out) = out else { return };
    let macs = || products(trace, inputs[0], out.shape);
    match &node.op {
        Op::Reshape
        | Op::Flatten
        | Op::Unflatten
        | Op::Transpose(_)
        | Op::ExpandDims(_)
        | Op::Squeeze(_)
        | Op::Broadcast
        | Op::Slice(_)
        | Op::Split(..)
        | Op::Depends => work.add(Class::View, &[1.0]),
        Op::Compiled(body) => chain(trace.body(*body), work),
        Op::QuantizedMatmul { packing, .. } => {
            let class = PackedClass::of(*packing, out.dtype);
            let class = match rows(trace, inputs[0]) {
                1 => Class::Packed(class),
                _ => Class::PackedPrompt(class),
            };
            work.add(class, &PackedClass::counts(*packing, macs()));
        }
        Op::GatherQmm { packing, .. } => {
            let class = PackedClass::of(*packing, out.dtype);
            let class = if prompt { Class::ExpertsPrompt(class) } else { Class::Experts(class) };
            work.add(class, &PackedClass::counts(*packing, macs()));
        }
        Op::GatherMm { .. } if prompt => work.add(Class::DensePrompt(out.dtype), &[1.0, macs()]),
        Op::GatherMm { .. } => {
            work.add(Class::Dense(out.dtype), &[1.0, macs() * out.dtype.bytes() as f64]);
        }
        Op::Matmul | Op::AddMm if node.scores => attention(trace, node, work),
        Op::Matmul | Op::AddMm if out.shape.dim(-2) <= 1 => {
            work.add(Class::Dense(out.dtype), &[1.0, bytes(&inputs[1..2])]);
        }
        Op::Matmul | Op::AddMm => work.add(Class::DensePrompt(out.dtype), &[1.0, macs()]),
        Op::Attention { .. } => attention(trace, node, work),
        Op::Training(Training::SegmentedMm) => {
            // Every row belongs to one matrix.
            let one = f64::from(out.shape.dim(-1)) * f64::from(out.shape.dim(-2));
            let rows = f64::from(trace.value(inputs[0]).shape.dim(-1));
            work.add(Class::DensePrompt(out.dtype), &[1.0, one * rows]);
        }
        Op::Training(Training::RmsNormGradient { .. } | Training::LayerNormGradient { .. }) => {
            work.add(Class::Norm, &[1.0, touched])
        }
        Op::Training(Training::RopeGradient(_)) => work.add(Class::Rope, &[1.0, touched]),
        Op::Training(Training::Checkpoint | Training::Depends | Training::AsStrided) => {
            work.add(Class::View, &[1.0]);
        }
        Op::Training(Training::CrossEntropy | Training::CrossEntropyGradient) => {
            work.add(Class::Reduction, &[1.0, touched]);
        }
        Op::Rope(_) => work.add(Class::Rope, &[1.0, touched]),
        Op::RmsNorm { .. } | Op::LayerNorm { .. } => work.add(Class::Norm, &[1.0, touched]),
        Op::Softmax { .. }
        | Op::LogSumExp
        | Op::ArgReduce { .. }
        | Op::Scan { .. }
        | Op::Sort { .. }
        | Op::ArgSort { .. }
        | Op::Partition { .. }
        | Op::ArgPartition { .. } => work.add(Class::Reduction, &[1.0, touched]),
        Op::Reduce(..) => work.add(Class::Sum, &[1.0, touched]),
        // A row of a table, or a token of a cache: only that is touched.
        Op::Gather(_) | Op::GatherAxis { .. } => {
            work.add(Class::Elementwise, &[1.0, 2.0 * out.bytes() as f64]);
        }
        Op::SliceUpdate(_) | Op::SliceMultiply(_) => {
            work.add(Class::Elementwise, &[1.0, 2.0 * bytes(&inputs[1..])]);
        }
        op @ (Op::Unary(_)
        | Op::Binary(_)
        | Op::Select
        | Op::AsType
        | Op::ConvertFp8 { .. }
        | Op::Contiguous
        | Op::Concatenate { .. }
        | Op::Pad(_)
        | Op::Scatter(_)
        | Op::ScatterAxis { .. }
        | Op::Full
        | Op::Arange { .. }
        | Op::Hadamard { .. }
        | Op::Quantize(_)
        | Op::Dequantize(_)
        | Op::Convolution { .. }
        | Op::Custom(_)
        | Op::Training(Training::ScatterAdd(_) | Training::AttentionGradient)) => {
            work.add(elementwise(op), &[1.0, touched]);
        }
    }
}

/// The members of a fused chain, each as if it were alone.
fn chain(body: &Body, work: &mut KernelWork) {
    for member in body.nodes.iter().filter(|n| n.op != Op::Broadcast) {
        let arrays = member.inputs.len() as f64 + 1.0;
        let bytes = arrays * (member.shape.elements() * member.dtype.bytes()) as f64;
        work.add(elementwise(&member.op), &[1.0, bytes]);
    }
}

/// The class of an element-wise operation, by what it computes.
fn elementwise(op: &Op) -> Class {
    let slow = matches!(op, Op::Unary(op) if op.is_transcendental())
        || matches!(op, Op::Binary(op) if op.is_transcendental());
    if slow { Class::Transcendental } else { Class::Elementwise }
}

fn attention(trace: &Trace, node: &Node, work: &mut KernelWork) {
    let inputs = trace.inputs(node);
    let out = *trace.value(trace.outputs(node)[0]);
    let (q, k) = (trace.value(inputs[0]).shape, trace.value(inputs[1]).shape);
    let (queries, counts) = if matches!(node.op, Op::Attention { .. }) {
        let heads = q.dim(0) as f64 * q.dim(1) as f64;
        let scores = heads * q.dim(2) as f64 * k.dim(2) as f64;
        let macs = scores * f64::from(q.dim(3) + out.shape.dim(3));
        (q.dim(2), [1.0, heads, scores, macs])
    } else {
        let rows = out.shape.dim(-2).max(1);
        let matrices = (out.shape.elements() / u64::from(rows * out.shape.dim(-1)).max(1)) as f64;
        (rows, [1.0, matrices, 0.0, out.shape.elements() as f64 * f64::from(q.dim(-1))])
    };
    match queries {
        1 => work.add(Class::Attention(out.dtype), &counts),
        _ => work.add(Class::AttentionPrompt(out.dtype), &counts),
    }
}

/// Rows of a matrix that is multiplied.
fn rows(trace: &Trace, x: ValueId) -> u64 {
    let shape = trace.value(x).shape;
    shape.elements() / u64::from(shape.dim(-1)).max(1)
}

/// Multiplications of a product.
fn products(trace: &Trace, x: ValueId, out: Shape) -> f64 {
    out.elements() as f64 * f64::from(trace.value(x).shape.dim(-1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tape::every;

    /// A view is a call; everything else is at least one kernel of a class.
    #[test]
    fn every_operation_is_counted() {
        let trace = every::trace();
        for node in trace.nodes() {
            for prompt in [false, true] {
                let mut work = KernelWork::default();
                count(&trace, node, prompt, &mut work);
                let kernels: f64 = work.0.values().map(|counts| counts[0]).sum();
                assert!(kernels >= 1.0, "{}", trace.name(node));
            }
        }
    }
}
