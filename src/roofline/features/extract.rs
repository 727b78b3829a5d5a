//! Reading the features off a graph.

use super::{AttentionReads, Coding, Matrices, MatrixRole, PrefillWork, StepFeatures};
use crate::graph::cache::KvQuantization;
use crate::graph::op::{Kernel, Op};
use crate::graph::params::ModuleKind;
use crate::graph::tape::{Stage, TraceError};
use crate::graph::{Call, Graph, SkippedLayers};
use crate::ledger::replay::Gpu;
use crate::ledger::traffic::{self, AttentionRead, Product, Traffic};
use crate::ledger::weights::Weights;
use crate::model::{DType, Mode};

/// The GPU whose launch rules count kernels. The counts hardly differ between GPUs; the coefficients belong to these.
pub(super) const REFERENCE_GPU: Gpu = Gpu::REFERENCE;
/// Depths of the two decode steps that are read.
const SHORT: u32 = 500;
const LONG: u32 = 40_000;
/// Tokens in the cache from which the counts of the long step hold: MLX splits the keys of a fused attention over
/// several threadgroups from 1024 keys on (`mlx/backend/metal/scaled_dot_product_attention.cpp`).
pub(super) const SPLIT_FROM: f64 = 1024.0;
/// Tokens of the prefill call that is read.
const CHUNK: u32 = 2048;

/// Why a graph has no features.
pub type FeatureError = TraceError;

impl StepFeatures {
    /// Reads the features off a graph. `kv` is the quantization of the cache, if it is quantized.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn of(graph: &Graph, kv: Option<KvQuantization>) -> Result<Self, FeatureError> {
        Self::read(graph, kv, graph.skipped_for_counts()?, &|product| matrices(graph, product))
    }

    /// The same with matrices as `stored` describes them, which for skipped layers must be as in those like them.
    pub(super) fn read(
        graph: &Graph,
        kv: Option<KvQuantization>,
        skipped: SkippedLayers,
        stored: &dyn Fn(&Product) -> Matrices,
    ) -> Result<Self, FeatureError> {
        let short = traffic::decode_step(graph, SHORT, 1, REFERENCE_GPU, kv, skipped.clone())?;
        let long = traffic::decode_step(graph, LONG, 1, REFERENCE_GPU, kv, skipped.clone())?;
        let call = Call { skipped, ..Call::prefill(CHUNK) };
        let prompt = traffic::step(graph, &mut graph.make_cache(), call, REFERENCE_GPU)?;
        let weights = Weights::of(graph);
        let recurrent = RecurrentLayers::of(graph)?;
        let mut features = Self {
            dispatches: short.dispatches as f64,
            dispatches_long: long.dispatches as f64 - short.dispatches as f64,
            layers: graph.layers(),
            matrices: Vec::new(),
            attention: Vec::new(),
            other_bytes: 0.0,
            state_bytes: short.state_bytes as f64,
            recurrent_layers: recurrent.layers,
            gated_delta: recurrent.gated_delta,
            fp16: graph.dtype() == DType::F16,
            weight_bytes: weights.bytes as f64,
            parameters: weights.parameters as f64,
            prefill: PrefillWork { dispatches: prompt.dispatches as f64, ..PrefillWork::default() },
        };
        let mut in_products = 0;
        for p in &short.products {
            in_products += p.times * p.bytes;
            features.add_matrices(stored(p), p.times as f64);
        }
        features.other_bytes = short.weight_bytes.saturating_sub(in_products) as f64;
        features.add_attention(&short, &long);
        features.prefill.expert_bytes = weights.routed_expert_bytes as f64;
        features.add_prompt(&prompt);
        Ok(features)
    }

    fn add_matrices(&mut self, new: Matrices, times: f64) {
        let same = |m: &&mut Matrices| Matrices { launches: new.launches, ..**m } == new;
        match self.matrices.iter_mut().find(same) {
            Some(m) => m.launches += times,
            None => self.matrices.push(Matrices { launches: times, ..new }),
        }
    }

    /// Matches the reads of both steps, which come in the same order, and derives how the rows grow.
    fn add_attention(&mut self, short: &Traffic, long: &Traffic) {
        let matched = short.attention.len() == long.attention.len();
        for (i, read) in long.attention.iter().enumerate() {
            let before = if matched { short.attention.get(i) } else { None };
            let (new, times) = (grown(before, read), read.times as f64);
            let same =
                |a: &&mut AttentionReads| AttentionReads { launches: new.launches, ..**a } == new;
            match self.attention.iter_mut().find(same) {
                Some(a) => a.launches += times,
                None => self.attention.push(AttentionReads { launches: times, ..new }),
            }
        }
    }

    fn add_prompt(&mut self, prompt: &Traffic) {
        let tokens = f64::from(CHUNK);
        let p = &mut self.prefill;
        for product in prompt.products.iter().filter(|p| p.stage != Stage::Head) {
            let work = product.rows as f64 * product.inner as f64 * product.outer as f64;
            let weights = product.times as f64 * work / tokens;
            match product.kind {
                ModuleKind::SwitchLinear => p.expert_weights += weights,
                _ => p.dense_weights += weights,
            }
        }
        for a in &self.attention {
            // A fused read covers keys and values; otherwise each product with the cache is a read of its own.
            let dims = a.elements_per_row / a.kv_heads.max(1) as f64;
            let dims = if a.fused { dims } else { a.key_dim as f64 };
            let work = a.launches * a.heads as f64 * dims;
            match a.rows_limit {
                None => p.full_attention += work * a.rows_per_token,
                Some(limit) => {
                    p.window_attention += work * limit;
                    p.window_tokens += work;
                }
            }
        }
        p.window_tokens =
            if p.window_tokens > 0.0 { p.window_attention / p.window_tokens } else { 0.0 };
    }
}

/// A product with a matrix as MLX stores it.
pub(super) fn matrices(graph: &Graph, p: &Product) -> Matrices {
    let experts = if p.kind == ModuleKind::SwitchLinear { graph.experts() } else { None };
    let part = match (p.kind, p.stage) {
        (ModuleKind::SwitchLinear, _) => MatrixRole::Expert,
        (_, Stage::Head) => MatrixRole::Head,
        _ => MatrixRole::Layer,
    };
    let coding = match p.packing {
        None => Coding::Plain,
        Some(p) if p.mode == Mode::Affine => Coding::Grouped,
        Some(_) => Coding::Simple,
    };
    Matrices {
        part,
        coding,
        launches: 1.0,
        bytes: p.bytes as f64,
        weights: p.weights as f64,
        inner: p.inner,
        outer: p.outer,
        experts: experts.map_or(1, |e| e.total),
        chosen: experts.map_or(1, |e| e.chosen),
    }
}

/// How the rows of an attention read grow, from its size at two depths.
fn grown(before: Option<&AttentionRead>, read: &AttentionRead) -> AttentionReads {
    let (n0, n1) = (f64::from(SHORT), f64::from(LONG));
    let rows = read.tokens as f64;
    let first = before.map_or(rows.min(n0), |b| b.tokens as f64);
    let near = |a: f64, b: f64| (a - b).abs() <= 0.02 * b + 1.0;
    let (rows_per_token, rows_fixed, rows_limit) = if near(rows, n1) {
        (1.0, 0.0, None)
    } else if near(first, n0) || first == rows {
        (1.0, 0.0, Some(rows))
    } else {
        let slope = (rows - first) / (n1 - n0);
        (slope, first - slope * n0, None)
    };
    AttentionReads {
        launches: 1.0,
        bytes_per_row: read.bytes as f64 / rows.max(1.0),
        elements_per_row: read.elements as f64 / rows.max(1.0),
        rows_per_token,
        rows_fixed,
        rows_limit,
        heads: read.heads,
        kv_heads: read.kv_heads,
        key_dim: read.key_dim,
        fused: read.fused,
    }
}

/// RecurrentLayers layers of a graph.
struct RecurrentLayers {
    layers: u64,
    gated_delta: bool,
}

impl RecurrentLayers {
    fn of(graph: &Graph) -> Result<Self, TraceError> {
        use crate::graph::cache::CacheKind;
        fn recurrent(kind: &CacheKind) -> bool {
            match kind {
                CacheKind::Arrays(_) => true,
                CacheKind::List(kinds) => kinds.iter().any(recurrent),
                _ => false,
            }
        }
        let layers = graph.cache_kinds().iter().filter(|k| recurrent(k)).count() as u64;
        if layers == 0 {
            return Ok(Self { layers, gated_delta: false });
        }
        let call = Call { skipped: graph.skipped_for_counts()?, ..Call::decode() };
        let trace = graph.trace(&mut graph.make_cache(), call, REFERENCE_GPU.routing())?;
        let gated_delta = trace.nodes().iter().any(|n| n.op == Op::Custom(Kernel::GatedDelta));
        Ok(Self { layers, gated_delta })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scheme;
    use crate::model::catalog::Models;
    use rayon::prelude::*;
    use std::collections::BTreeMap;

    /// Layers left out change nothing that is counted, in a model of every type.
    #[test]
    fn skipped_layers_change_no_count() {
        let catalog = Models::built_in().expect("built in");
        let mut types = BTreeMap::new();
        for model in catalog.models() {
            let entry = model.entry().expect("readable");
            let name = entry.config.model_type().expect("named").to_owned();
            // Some models are known by name only.
            let new = !types.contains_key(&name);
            if new && Graph::quantized(&entry.config, Scheme::DEFAULT).is_ok() {
                types.insert(name, entry.config);
            }
        }
        let left_out: Vec<bool> = types
            .par_iter()
            .map(|(name, config)| {
                let graph = Graph::quantized(config, Scheme::DEFAULT).expect("known");
                let skipped = graph.skipped_for_counts().expect("runs");
                let stored = |p: &Product| matrices(&graph, p);
                let sampled =
                    StepFeatures::read(&graph, None, skipped.clone(), &stored).expect("runs");
                let whole =
                    StepFeatures::read(&graph, None, SkippedLayers::NONE, &stored).expect("runs");
                assert_same(name, &sampled, &whole);
                !skipped.is_empty()
            })
            .collect();
        let some = left_out.iter().filter(|x| **x).count();
        assert!(
            some * 3 > left_out.len() * 2,
            "only {some} of {} leave layers out",
            left_out.len()
        );
    }

    fn assert_same(name: &str, a: &StepFeatures, b: &StepFeatures) {
        let key = |m: &Matrices| (m.part, m.coding, m.inner, m.outer, m.bytes as u64);
        let sorted = |f: &StepFeatures| {
            let mut m = f.matrices.clone();
            m.sort_by_key(key);
            m
        };
        assert_eq!(sorted(a), sorted(b), "{name}");
        let rows = |f: &StepFeatures| {
            let mut rows: Vec<String> = f.attention.iter().map(|r| format!("{r:?}")).collect();
            rows.sort();
            rows
        };
        assert_eq!(rows(a), rows(b), "{name}");
        let counts = |f: &StepFeatures| {
            (f.dispatches, f.dispatches_long, f.other_bytes, f.state_bytes, f.prefill.dispatches)
        };
        assert_eq!(counts(a), counts(b), "{name}");
        let near = |x: f64, y: f64| (x - y).abs() <= 1e-12 * y.abs();
        let [p, q] = [a.prefill, b.prefill];
        assert!(near(p.dense_weights, q.dense_weights), "{name}");
        assert!(near(p.expert_weights, q.expert_weights), "{name}");
        assert!(near(p.full_attention, q.full_attention), "{name}");
        assert!(near(p.window_attention, q.window_attention), "{name}");
    }
}
