//! What one step reads and launches: bytes of weights, cache and states, kernels, arithmetic.

use super::cache::{PREFILL_STEP, after_prompt};
use super::replay::{ArrayOrigin, Encoded, Gpu, Replay};
use crate::graph::cache::KvQuantization;
use crate::graph::cache::held_slots;
use crate::graph::op::{Op, OpKind};
use crate::graph::params::{ModuleId, ModuleKind};
use crate::graph::tape::{Source, Stage, Trace, TraceError, Value};
use crate::graph::{Call, Graph, SkippedLayers};
use crate::model::{DType, Packing};
use schemars::JsonSchema;
use serde::Serialize;

/// A product with a matrix of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    /// Part of the model.
    pub stage: Stage,
    /// What the matrix is.
    pub kind: ModuleKind,
    /// Which matrix of the model.
    pub module: ModuleId,
    /// Bytes of the matrix that are read, scales included; for routed experts those of the chosen ones.
    pub bytes: u64,
    /// Weights that are multiplied, once per row.
    pub weights: u64,
    /// Rows of the activation.
    pub rows: u64,
    /// Columns of the matrix (inner dimension).
    pub inner: u64,
    /// Rows of the matrix (outer dimension).
    pub outer: u64,
    /// How it is packed; `None` for a 16- or 32-bit matrix.
    pub packing: Option<Packing>,
    /// Kernels launched.
    pub launches: u32,
    /// How many such products there are: one, and those of layers left out that are like its layer.
    pub times: u64,
}

/// Attention over one layer's keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionRead {
    /// Part of the model.
    pub stage: Stage,
    /// Bytes of keys and values read, each element once.
    pub bytes: u64,
    /// Elements of keys and values read, each once.
    pub elements: u64,
    /// Tokens that are attended to.
    pub tokens: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Features of a key, or of a value where only values are read.
    pub key_dim: u64,
    /// Multiplications and additions.
    pub flops: f64,
    /// Whether one fused kernel does it.
    pub fused: bool,
    /// How many such reads there are: one, and those of layers left out that are like its layer.
    pub times: u64,
}

/// Traffic of one step.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Kernels launched.
    pub dispatches: u64,
    /// Kernels launched within layers.
    pub dispatches_in_layers: u64,
    /// Bytes of weights that kernels read.
    pub weight_bytes: u64,
    /// Bytes of keys and values read by attention.
    pub kv_bytes: u64,
    /// Bytes of recurrent and convolution states read.
    pub state_bytes: u64,
    /// Bytes of cache that are copied because a cache grows or rotates.
    pub copied_bytes: u64,
    /// Command buffers committed.
    pub command_buffers: u32,
    /// Multiplications and additions of matrix products and attention.
    pub flops: f64,
    /// Products with matrices of the model.
    pub products: Vec<Product>,
    /// Attention of the layers.
    pub attention: Vec<AttentionRead>,
}

/// The totals as the conformance vectors name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Totals {
    /// Kernels launched.
    pub dispatches_per_step: u64,
    /// Kernels launched within layers.
    pub dispatches_in_layers: u64,
    /// Bytes of weights that kernels read.
    pub weight_bytes_streamed: u64,
    /// Bytes of keys and values read by attention.
    pub kv_bytes_read: u64,
    /// Bytes of recurrent and convolution states read.
    pub state_bytes_read: u64,
    /// Bytes of cache that are copied.
    pub cache_bytes_copied: u64,
    /// Command buffers committed.
    pub command_buffers: u32,
}

impl Traffic {
    /// The totals.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            dispatches_per_step: self.dispatches,
            dispatches_in_layers: self.dispatches_in_layers,
            weight_bytes_streamed: self.weight_bytes,
            kv_bytes_read: self.kv_bytes,
            state_bytes_read: self.state_bytes,
            cache_bytes_copied: self.copied_bytes,
            command_buffers: self.command_buffers,
        }
    }

    /// Adds an operation for its layer and for those left out that are like it.
    fn add(&mut self, graph: &Graph, keys: &[bool], skipped: &SkippedLayers, e: &Encoded<'_>) {
        let node = &e.trace.nodes()[e.node];
        let dispatches = u64::from(e.dispatches);
        let times = match node.stage {
            Stage::Layer(layer) => skipped.stands_for(layer),
            Stage::Embed | Stage::Head => 1,
        };
        self.dispatches += times * dispatches;
        if matches!(node.stage, Stage::Layer(_)) {
            self.dispatches_in_layers += times * dispatches;
        }
        if e.dispatches == 0 {
            return;
        }
        let mut kv = 0;
        let mut weights = 0;
        let mut matrix = None;
        for (position, read) in e.reads.iter().enumerate() {
            match read.origin {
                ArrayOrigin::Param(module, _) => {
                    weights += weight_bytes(e, position, read.bytes);
                    matrix = matrix.or(Some(module));
                }
                ArrayOrigin::Cache(slot) if keys.get(slot as usize) == Some(&true) => {
                    if !stores(&node.op) {
                        kv += read.bytes;
                    }
                }
                ArrayOrigin::Cache(_) => self.state_bytes += times * read.bytes,
                ArrayOrigin::None => {}
            }
        }
        self.weight_bytes += times * weights;
        self.kv_bytes += times * kv;
        self.copied_bytes += times * copied(node_op(e), e);
        self.note_product(graph, e, matrix, weights, times);
        self.note_attention(e, kv, times);
    }

    fn note_product(
        &mut self,
        graph: &Graph,
        e: &Encoded<'_>,
        matrix: Option<ModuleId>,
        bytes: u64,
        times: u64,
    ) {
        let node = &e.trace.nodes()[e.node];
        let inputs = e.trace.inputs(node);
        let Some((rows, inner, outer)) = product_shape(e.trace, e.node) else { return };
        self.flops += times as f64 * 2.0 * rows as f64 * inner as f64 * outer as f64;
        let Some(module) = matrix else { return };
        let m = graph.params().module(module);
        let weights = match m.packing {
            Some(p) => packed_weights(e, p),
            None => e.trace.value(inputs[1]).shape.elements(),
        };
        self.products.push(Product {
            stage: node.stage,
            kind: m.kind,
            module,
            bytes,
            weights: if m.kind == ModuleKind::SwitchLinear {
                inner * outer * rows
            } else {
                weights
            },
            rows,
            inner,
            outer,
            packing: m.packing,
            launches: e.dispatches,
            times,
        });
    }

    fn note_attention(&mut self, e: &Encoded<'_>, kv: u64, times: u64) {
        let node = &e.trace.nodes()[e.node];
        let inputs = e.trace.inputs(node);
        let kind = node.op.kind();
        let fused = kind == OpKind::Attention;
        if fused {
            let [q, k] = [e.trace.value(inputs[0]).shape, e.trace.value(inputs[1]).shape];
            let out = e.trace.value(e.trace.outputs(node)[0]).shape;
            let pairs = q.dim(0) as f64 * q.dim(1) as f64 * q.dim(2) as f64 * k.dim(2) as f64;
            let flops = 2.0 * pairs * (q.dim(3) as f64 + out.dim(3) as f64);
            self.flops += times as f64 * flops;
            self.attention.push(AttentionRead {
                stage: node.stage,
                bytes: kv,
                elements: u64::from(k.dim(0))
                    * u64::from(k.dim(1))
                    * u64::from(k.dim(2))
                    * (u64::from(k.dim(3)) + u64::from(out.dim(3))),
                tokens: k.dim(2).into(),
                heads: q.dim(1).into(),
                kv_heads: k.dim(1).into(),
                key_dim: q.dim(3).into(),
                flops,
                fused,
                times,
            });
        } else if kv > 0 && kind == OpKind::Product {
            let out = e.trace.value(e.trace.outputs(node)[0]).shape;
            let k = e.trace.value(inputs[1]).shape;
            let kv_heads = if k.rank() >= 4 { k.dim(1) } else { 1 };
            let heads = if out.rank() == 5 { out.dim(1) * out.dim(2) } else { out.dim(1) };
            let inner = e.trace.value(inputs[0]).shape.dim(-1);
            let tokens = k.dim(-1).max(k.dim(-2));
            self.attention.push(AttentionRead {
                stage: node.stage,
                bytes: kv,
                elements: cached_elements(e),
                tokens: tokens.into(),
                heads: heads.into(),
                kv_heads: kv_heads.into(),
                key_dim: if inner == tokens { out.dim(-1).into() } else { inner.into() },
                flops: 2.0 * out.elements() as f64 * f64::from(inner),
                fused,
                times,
            });
        }
    }
}

/// Logical elements of the cache that an operation reads.
fn cached_elements(e: &Encoded<'_>) -> u64 {
    let node = &e.trace.nodes()[e.node];
    let inputs = e.trace.inputs(node);
    let cached = e.reads.iter().position(|r| matches!(r.origin, ArrayOrigin::Cache(_)));
    let Some((position, read)) = cached.map(|i| (i, e.reads[i])) else { return 0 };
    match (&node.op, inputs.get(position)) {
        (Op::QuantizedMatmul { packing, .. }, _) => read.bytes * 8 / u64::from(packing.bits.max(1)),
        (_, Some(&v)) => read.bytes / e.trace.value(v).dtype.bytes().max(1),
        _ => 0,
    }
}

fn node_op<'a>(e: &Encoded<'a>) -> &'a Op {
    &e.trace.nodes()[e.node].op
}

/// Whether an operation reads a cache only to store into it.
const fn stores(op: &Op) -> bool {
    matches!(op.kind(), OpKind::Write | OpKind::Join)
}

/// Cache bytes copied by an operation: all of a cache that is joined with new rows, and what of one that is written in
/// place must be kept as it was.
fn copied(op: &Op, e: &Encoded<'_>) -> u64 {
    let cached = |r: &&super::replay::Read| matches!(r.origin, ArrayOrigin::Cache(_));
    match op.kind() {
        OpKind::Join => e.reads.iter().filter(cached).map(|r| r.bytes).sum(),
        OpKind::Write if e.reads.iter().any(|r| cached(&r)) => e.copied_bytes,
        OpKind::Write
        | OpKind::View
        | OpKind::Elementwise
        | OpKind::RowWise
        | OpKind::Lookup
        | OpKind::Fill
        | OpKind::Product
        | OpKind::ExpertProduct
        | OpKind::Attention
        | OpKind::Custom => 0,
    }
}

/// Bytes of a tensor that an operation reads: chosen rows of a table, chosen experts, or all of it.
fn weight_bytes(e: &Encoded<'_>, position: usize, bytes: u64) -> u64 {
    let node = &e.trace.nodes()[e.node];
    match node.op.kind() {
        OpKind::Lookup if position == 0 => e.trace.value(e.trace.outputs(node)[0]).bytes(),
        OpKind::ExpertProduct => {
            let inputs = e.trace.inputs(node);
            let shape = e.trace.value(inputs[position]).shape;
            if shape.rank() != 3 {
                return bytes;
            }
            bytes * expert_reads(e, u64::from(shape.dim(0))) / u64::from(shape.dim(0)).max(1)
        }
        OpKind::Lookup
        | OpKind::View
        | OpKind::Elementwise
        | OpKind::RowWise
        | OpKind::Write
        | OpKind::Join
        | OpKind::Fill
        | OpKind::Product
        | OpKind::Attention
        | OpKind::Custom => bytes,
    }
}

/// How many times an expert's matrix is read: once per pair of token and expert, unless the kernel that reuses
/// experts is chosen (`GatherQMM::eval_gpu`, `mlx/backend/metal/quantized.cpp`).
fn expert_reads(e: &Encoded<'_>, experts: u64) -> u64 {
    let node = &e.trace.nodes()[e.node];
    let inputs = e.trace.inputs(node);
    let pairs = pairs(e.trace, inputs);
    let sorted =
        matches!(node.op, Op::GatherQmm { sorted: true, .. } | Op::GatherMm { sorted: true });
    if sorted && pairs >= 16 && pairs / experts.max(1) >= 4 { pairs.min(experts) } else { pairs }
}

fn pairs(trace: &Trace, inputs: &[crate::graph::tape::ValueId]) -> u64 {
    inputs[inputs.len() - 2..].iter().map(|&v| trace.value(v).shape.elements()).max().unwrap_or(0)
}

/// Rows, inner and outer dimension of a product, summed over batches; `None` for other operations.
fn product_shape(trace: &Trace, node: usize) -> Option<(u64, u64, u64)> {
    let node = &trace.nodes()[node];
    let inputs = trace.inputs(node);
    if !matches!(node.op.kind(), OpKind::Product | OpKind::ExpertProduct) {
        return None;
    }
    let out = trace.value(trace.outputs(node)[0]).shape;
    let outer = u64::from(out.dim(-1));
    let inner = u64::from(trace.value(inputs[0]).shape.dim(-1));
    Some((out.elements() / outer.max(1), inner, outer))
}

/// Logical weights of a packed matrix that are read.
fn packed_weights(e: &Encoded<'_>, p: Packing) -> u64 {
    let node = &e.trace.nodes()[e.node];
    let words = e.trace.value(e.trace.inputs(node)[1]).shape.elements();
    words * 32 / u64::from(p.bits.max(1))
}

/// Traffic of one decode step with `context` tokens in the cache, the new one included, for `batch` sequences of
/// equal length. Skipped layers are not run: what they do is counted with the layers like them, all but command
/// buffers, which then are those of the layers that are run.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn decode_step(
    graph: &Graph,
    context: u32,
    batch: u32,
    gpu: Gpu,
    kv: Option<KvQuantization>,
    skipped: SkippedLayers,
) -> Result<Traffic, TraceError> {
    let mut caches = after_prompt(graph, context.saturating_sub(1), PREFILL_STEP, batch, kv)?;
    let call = Call { batch, kv, skipped, ..Call::decode() };
    step(graph, &mut caches, call, gpu)
}

/// Traffic of one call over the given caches; of skipped layers as [`decode_step`] says.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn step(
    graph: &Graph,
    caches: &mut [crate::graph::cache::Cache],
    call: Call,
    gpu: Gpu,
) -> Result<Traffic, TraceError> {
    let keys: Vec<bool> = caches.iter().flat_map(|c| c.holds_keys()).collect();
    let skipped = call.skipped.clone();
    let mut traffic = Traffic::default();
    let mut replay = Replay::new(graph, gpu);
    let mut state = Vec::new();
    for (i, s) in held_slots(caches, &skipped) {
        let value = Value { shape: s.shape, dtype: s.dtype, source: Source::Cache(i) };
        state.push((i, replay.held(value)));
    }
    let shape = [call.batch, call.tokens].into();
    let tokens = replay.held(Value { shape, dtype: DType::I32, source: Source::Tokens });
    let trace = graph.trace(caches, call, gpu.routing())?;
    let (mut wanted, held) = replay.load(trace, tokens, &state);
    state.iter().for_each(|&(_, a)| replay.release(a));
    wanted.extend(held.iter().map(|&(_, a)| a));
    replay.observe(|e| traffic.add(graph, &keys, &skipped, &e));
    replay.evaluate(&wanted, true);
    let buffers = replay.command_buffers();
    drop(replay);
    traffic.command_buffers = buffers;
    Ok(traffic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tape::every;
    use crate::model::{Config, Scheme};

    fn some_graph() -> Graph {
        let config = Config::parse(
            r#"{"model_type":"llama","hidden_size":64,"num_hidden_layers":1,"num_attention_heads":1,
                "intermediate_size":64,"vocab_size":64,"rms_norm_eps":1e-5}"#,
        );
        Graph::quantized(&config.expect("valid JSON"), Scheme::DEFAULT).expect("a known family")
    }

    /// Every operation is replayed once, and its traffic read.
    #[test]
    fn every_operation_is_replayed() {
        let (graph, trace) = (some_graph(), every::trace());
        let gpu = Gpu::REFERENCE;
        let (mut seen, mut traffic) = (0, Traffic::default());
        let keys = vec![true; trace.values().len()];
        let mut replay = Replay::new(&graph, gpu);
        let inputs = trace.values().iter().filter_map(|v| match v.source {
            Source::Cache(slot) => Some((slot, *v)),
            _ => None,
        });
        let state: Vec<_> = inputs.map(|(slot, v)| (slot, replay.held(v))).collect();
        let tokens = state[0].1;
        let expected = trace.nodes().len();
        let (wanted, _) = replay.load(trace, tokens, &state);
        replay.observe(|e| {
            seen += 1;
            traffic.add(&graph, &keys, &SkippedLayers::NONE, &e);
        });
        replay.evaluate(&wanted, true);
        drop(replay);
        assert_eq!(seen, expected);
        assert!(traffic.dispatches > 0 && traffic.kv_bytes > 0 && traffic.flops > 0.0);
    }
}
