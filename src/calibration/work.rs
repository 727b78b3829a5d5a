//! The operations of a step as kernels of known classes.

use crate::graph::cache::{Cache, KvQuantisation};
use crate::graph::op::{Binary, Op, Unary};
use crate::graph::tape::{Node, Routing, Trace, TraceError};
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
    /// Copies of arrays that no cache holds: launches, bytes read and written.
    Copy,
    /// Element-wise exponentials and their like: launches, bytes read and written.
    Transcendental,
    /// Norms: launches, bytes read and written.
    Norm,
    /// Softmax, reductions, sorting: launches, bytes read and written.
    Reduction,
    /// Rotary embedding: launches, bytes read and written.
    Rope,
    /// Vector times dense matrix: launches, bytes of the matrix.
    Dense(DType),
    /// Vector times packed matrix: launches, weights.
    Packed(PackedClass),
    /// Vector times packed matrices of chosen experts: launches, weights of those.
    Experts(PackedClass),
    /// Attention of one query: launches, bytes of keys and values, multiplications.
    Attention(DType),
}

/// A packing and the type of the activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackedClass {
    /// 0 affine, 1 mxfp4, 2 nvfp4, 3 mxfp8.
    mode: u8,
    bits: u32,
    group: u32,
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
        Self { mode, bits: packing.bits, group: packing.group, dtype }
    }
}

impl fmt::Display for PackedClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = ["affine", "mxfp4", "nvfp4", "mxfp8"][usize::from(self.mode.min(3))];
        write!(f, "{mode}-{}-g{}-{}", self.bits, self.group, self.dtype)
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
            Self::Reduction => f.write_str("reduction"),
            Self::Rope => f.write_str("rope"),
            Self::Dense(dtype) => write!(f, "matvec-{dtype}"),
            Self::Packed(p) => write!(f, "matvec-{p}"),
            Self::Experts(p) => write!(f, "experts-{p}"),
            Self::Attention(dtype) => write!(f, "attention-{dtype}"),
        }
    }
}

/// Counts per class, summed over a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Work(pub BTreeMap<Class, Vec<f64>>);

impl Work {
    fn add(&mut self, class: Class, counts: &[f64]) {
        let sum = self.0.entry(class).or_insert_with(|| vec![0.0; counts.len()]);
        sum.iter_mut().zip(counts).for_each(|(s, c)| *s += c);
    }
}

/// The work of a decode step with `depth` tokens in the cache. On the CPU backend the last step still holds the
/// caches when the next one is encoded, so that writing a token copies the whole cache (`copies`).
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn decode_work(
    graph: &Graph,
    depth: u32,
    kv: Option<KvQuantisation>,
    copies: bool,
) -> Result<Work, TraceError> {
    let mut caches = crate::ledger::cache::after_prompt(graph, depth.max(1), 2048, 1, kv)?;
    let call = Call { kv, ..Call::decode() };
    let slots = |caches: &[Cache]| caches.iter().flat_map(Cache::slots).collect::<Vec<_>>();
    let before = slots(&caches);
    let mut trace = graph.trace(&mut caches, call, Routing::default())?;
    if slots(&caches) != before {
        // A step in which caches grow is rare.
        trace = graph.trace(&mut caches, call, Routing::default())?;
    }
    let mut work = Work::default();
    for node in trace.nodes() {
        count(&trace, node, copies, &mut work);
    }
    Ok(work)
}

fn count(trace: &Trace, node: &Node, copies: bool, work: &mut Work) {
    let inputs = trace.inputs(node);
    let outputs = trace.outputs(node);
    let bytes = |vars: &[crate::graph::tape::Var]| -> f64 {
        vars.iter().map(|&v| trace.value(v).bytes() as f64).sum()
    };
    let touched = bytes(inputs) + bytes(outputs);
    let out = outputs.first().map(|&v| *trace.value(v));
    let Some(out) = out else { return };
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
        Op::Compiled(body) => {
            let body = trace.body(*body);
            let members = body.nodes.iter().filter(|n| n.op != Op::Broadcast);
            for member in members {
                let arrays = member.inputs.len() as f64 + 1.0;
                let bytes = arrays * (member.shape.elements() * member.dtype.bytes()) as f64;
                work.add(elementwise(&member.op), &[1.0, bytes]);
            }
        }
        Op::QuantizedMatmul { packing, .. } => {
            let inner = trace.value(inputs[0]).shape.dim(-1);
            let weights = out.shape.elements() as f64 * f64::from(inner);
            work.add(Class::Packed(PackedClass::of(*packing, out.dtype)), &[1.0, weights]);
        }
        Op::GatherQmm { packing, .. } => {
            let inner = trace.value(inputs[0]).shape.dim(-1);
            let weights = out.shape.elements() as f64 * f64::from(inner);
            work.add(Class::Experts(PackedClass::of(*packing, out.dtype)), &[1.0, weights]);
        }
        Op::GatherMm { .. } => {
            let inner = trace.value(inputs[0]).shape.dim(-1);
            let weights = out.shape.elements() as f64 * f64::from(inner);
            let bytes = weights * out.dtype.bytes() as f64;
            work.add(Class::Dense(out.dtype), &[1.0, bytes]);
        }
        Op::Matmul | Op::AddMm if node.scores => attention(trace, node, work),
        Op::Matmul | Op::AddMm => {
            work.add(Class::Dense(out.dtype), &[1.0, bytes(&inputs[1..2])]);
        }
        Op::Attention { .. } => attention(trace, node, work),
        Op::Rope(_) => work.add(Class::Rope, &[1.0, touched]),
        Op::RmsNorm { .. } | Op::LayerNorm { .. } => work.add(Class::Norm, &[1.0, touched]),
        Op::Softmax { .. }
        | Op::LogSumExp
        | Op::ArgReduce { .. }
        | Op::Reduce(..)
        | Op::Scan { .. }
        | Op::Sort { .. }
        | Op::ArgSort { .. }
        | Op::Partition { .. }
        | Op::ArgPartition { .. } => work.add(Class::Reduction, &[1.0, touched]),
        // A row of a table, or a token of a cache: only that is touched.
        Op::Gather(_) | Op::GatherAxis { .. } => {
            work.add(Class::Elementwise, &[1.0, 2.0 * out.bytes() as f64]);
        }
        Op::SliceUpdate(_) if copies => work.add(Class::Copy, &[1.0, 2.0 * out.bytes() as f64]),
        Op::SliceUpdate(_) | Op::SliceMultiply(_) => {
            work.add(Class::Elementwise, &[1.0, 2.0 * bytes(&inputs[1..])]);
        }
        op => work.add(elementwise(op), &[1.0, touched]),
    }
}

/// The class of an element-wise operation, by what it computes.
fn elementwise(op: &Op) -> Class {
    match op {
        Op::Unary(
            Unary::Cos
            | Unary::Erf
            | Unary::Exp
            | Unary::Expm1
            | Unary::Log
            | Unary::Log1p
            | Unary::Log2
            | Unary::Sigmoid
            | Unary::Sin
            | Unary::Tanh,
        )
        | Op::Binary(Binary::LogAddExp | Binary::Power) => Class::Transcendental,
        _ => Class::Elementwise,
    }
}

fn attention(trace: &Trace, node: &Node, work: &mut Work) {
    let inputs = trace.inputs(node);
    let out = *trace.value(trace.outputs(node)[0]);
    let (q, k) = (trace.value(inputs[0]).shape, trace.value(inputs[1]));
    let (kv, macs) = if matches!(node.op, Op::Attention { .. }) {
        let v = trace.value(inputs[2]);
        let pairs = q.dim(0) as f64 * q.dim(1) as f64 * q.dim(2) as f64 * k.shape.dim(2) as f64;
        ((k.bytes() + v.bytes()) as f64, pairs * f64::from(q.dim(3) + out.shape.dim(3)))
    } else {
        (k.bytes() as f64, out.shape.elements() as f64 * f64::from(q.dim(-1)))
    };
    work.add(Class::Attention(out.dtype), &[1.0, kv, macs]);
}
