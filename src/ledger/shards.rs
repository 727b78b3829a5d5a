//! What each of several Macs holds of a model: exact bytes of weights, and the shares that speed depends on.

use super::pages;
use crate::graph::Graph;
use crate::graph::parallel::{KeyHeads, ShardError, Split, layer_of};
use crate::graph::params::{Module, ModuleKind};
use crate::model::DType;

/// Weights of one Mac, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RankWeights {
    /// Payload of the tensors.
    pub bytes: u64,
    /// The same in memory: every tensor above 16 KiB rounded up to whole pages.
    pub active_bytes: u64,
}

/// What every Mac has of a model that is split by tensors: all hold the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorRank {
    /// Its weights.
    pub weights: RankWeights,
    /// Share of the bytes of the matrices that every token uses, head and embedding excluded.
    pub layers: f64,
    /// Share of the bytes of routed experts.
    pub experts: f64,
    /// Share of the head.
    pub head: f64,
    /// Share of keys and values.
    pub keys: f64,
    /// Share of recurrent states.
    pub states: f64,
}

impl RankWeights {
    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.active_bytes += pages::round(bytes);
    }

    /// Adds a module of which a Mac has one of `ways` parts.
    fn add_module(&mut self, module: &Module, split: Option<Split>, ways: u32) {
        for (part, shape, dtype) in module.tensors() {
            let divided = split.is_some_and(|split| split.holds_for(part));
            let parts = if divided { u64::from(ways.max(1)) } else { 1 };
            self.add(shape.elements() * dtype.bytes() / parts);
        }
        if module.global_scales > 0 {
            self.add(module.global_scales * DType::F32.bytes());
        }
    }
}

impl TensorRank {
    /// The share of each of `nodes` Macs under mlx-lm's `Model.shard`; `key_heads` are those of the attention.
    ///
    /// # Errors
    /// When mlx-lm cannot split the model so.
    pub fn of(graph: &Graph, nodes: u32, key_heads: u32) -> Result<Self, ShardError> {
        let all_ways = graph.tensor_ways(nodes, key_heads)?;
        let Some(shards) = &graph.parallel().tensor else {
            return Err(ShardError::NoShard(graph.model_type().to_owned()));
        };
        let mut weights = RankWeights::default();
        let [mut layers, mut experts, mut head] = [[0.0; 2]; 3];
        let mut states = 1.0;
        for (module, ways) in graph.params().modules().iter().zip(all_ways) {
            let split = shards.split(module);
            let before = weights.bytes;
            weights.add_module(module, split, ways);
            let (own, whole) = ((weights.bytes - before) as f64, module.bytes() as f64);
            let kind = match module.kind {
                ModuleKind::SwitchLinear => &mut experts,
                ModuleKind::Embedding => continue,
                _ if layer_of(&module.path).is_none() => &mut head,
                _ => &mut layers,
            };
            kind[0] += own;
            kind[1] += whole;
            if module.path.ends_with("A_log") {
                states = 1.0 / f64::from(ways.max(1));
            }
        }
        let share = |[own, whole]: [f64; 2]| if whole > 0.0 { own / whole } else { 1.0 };
        let keys = match shards.keys {
            KeyHeads::Divided => 1.0 / f64::from(nodes.max(1)),
            KeyHeads::Repeated => 1.0 / f64::from(nodes.min(key_heads).max(1)),
            KeyHeads::Whole => 1.0,
        };
        Ok(Self {
            weights,
            layers: share(layers),
            experts: share(experts),
            head: share(head),
            keys,
            states,
        })
    }
}

/// The weights of every rank of a pipeline: its layers, and all that is in no layer.
#[must_use]
pub fn of_layers(graph: &Graph, ranges: &[[u64; 2]]) -> Vec<RankWeights> {
    let of = |&[first, end]: &[u64; 2]| {
        let mut weights = RankWeights::default();
        for module in graph.params().modules() {
            if layer_of(&module.path).is_none_or(|layer| (first..end).contains(&layer)) {
                weights.add_module(module, None, 1);
            }
        }
        weights
    };
    ranges.iter().map(of).collect()
}
