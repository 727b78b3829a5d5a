//! What llama.cpp's buffers depend on in a model: heads, widths and states layer by layer, read off the graph.

use crate::graph::cache::{Cache, CacheKind};
use crate::graph::params::ModuleKind;
use crate::graph::tape::{Stage, TraceError};
use crate::graph::{Call, Graph, SkippedLayers, families};
use crate::ledger::replay::{ArchClass, Gpu};
use crate::ledger::traffic::{self, Product};
use std::sync::Arc;

/// The widths of a model, in features.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Of a token between layers.
    pub width: u64,
    /// Of the logits.
    pub vocabulary: u64,
    /// The layers, in their order.
    pub layers: Vec<LayerLayout>,
}

/// The widths of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerLayout {
    /// Attention, if it has some.
    pub attention: Option<AttentionLayout>,
    /// Elements of keys and values of a token that it stores.
    pub stored: [u64; 2],
    /// Tokens that its cache holds at most.
    pub window: Option<u32>,
    /// Elements of its recurrent and convolution states.
    pub state: u64,
    /// The recurrence behind a convolution, where it has one that llama.cpp computes by one operation.
    pub recurrence: Option<StateLayout>,
    /// Features that the projection back to the width of the model takes.
    pub inner: u64,
    /// Whether the feed-forward part reads what attention reads, rather than its sum: the layer has one norm.
    pub side_by_side: bool,
    /// What a token becomes before it is mixed with others: outputs of the projections.
    pub mixed: Vec<u64>,
    /// Features within its dense feed-forward part.
    pub dense: Option<u64>,
    /// Its routed experts.
    pub experts: Option<ExpertLayout>,
}

/// A recurrence behind a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateLayout {
    /// How it goes on.
    pub kind: RecurrenceKind,
    /// Features that are convolved.
    pub channels: u64,
    /// Elements of the state of the convolution.
    pub conv_state: u64,
}

/// The operation of a recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecurrenceKind {
    /// `ggml_gated_delta_net`.
    GatedDelta,
    /// `ggml_ssm_scan` of Mamba 2: one projection makes gate, convolved features and time steps.
    Scan,
}

/// Heads of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionLayout {
    /// Query heads.
    pub heads: u64,
    /// Key heads.
    pub key_heads: u64,
    /// Features of a key.
    pub key: u64,
    /// Features of a value.
    pub value: u64,
}

/// Routed experts of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertLayout {
    /// How many there are.
    pub total: u64,
    /// How many a token uses.
    pub chosen: u64,
    /// Features within one.
    pub hidden: u64,
}

/// Names of modules that belong to feed-forward parts.
const FEED_FORWARD: [&str; 16] = [
    "mlp",
    "feed_forward",
    "ffn",
    "moe",
    "block_sparse_moe",
    "experts",
    "switch_mlp",
    "shared_expert",
    "shared_experts",
    "gate_proj",
    "up_proj",
    "down_proj",
    "gate_up_proj",
    "fc1",
    "fc2",
    "w2",
];

impl Layout {
    /// Reads the widths of a model.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn of(graph: &Graph) -> Result<Arc<Self>, TraceError> {
        let gpu = Gpu::new(ArchClass::Max, 16, false);
        let mut caches = graph.make_cache();
        let call = Call { skipped: SkippedLayers::NONE, ..Call::prefill(1) };
        let traffic = traffic::step(graph, &mut caches, call, gpu)?;
        let count = usize::try_from(graph.layers()).unwrap_or(0);
        let mut layers = vec![LayerLayout::default(); count];
        let [vocabulary, width] = embedding(graph);
        let mut layout = Self { width, vocabulary, layers: Vec::new() };
        for product in &traffic.products {
            let Stage::Layer(i) = product.stage else { continue };
            if let Some(layer) = layers.get_mut(i as usize) {
                layer.take(graph, product, width);
            }
        }
        let kinds = graph.cache_kinds();
        for ((layer, cache), kind) in layers.iter_mut().zip(&caches).zip(kinds) {
            layer.hold(cache, kind);
        }
        for (i, layer) in layers.iter_mut().enumerate() {
            layer.side_by_side = norms(graph, i, width) == 1;
        }
        if let Some(window) =
            families::find(graph.model_type()).ok().and_then(|f| f.gguf.every_second_window)
        {
            layers.iter_mut().step_by(2).for_each(|layer| layer.window = Some(window));
        }
        for read in &traffic.attention {
            let Stage::Layer(i) = read.stage else { continue };
            let Some(layer) = layers.get_mut(i as usize) else { continue };
            if let Some(attention) = &mut layer.attention {
                attention.heads = read.heads;
            }
        }
        layout.layers = layers;
        Ok(Arc::new(layout))
    }

    /// Elements of all recurrent and convolution states of a sequence.
    #[must_use]
    pub fn state_elements(&self) -> u64 {
        self.layers.iter().map(|l| l.state).sum()
    }
}

/// Rows and columns of the embedding of tokens.
fn embedding(graph: &Graph) -> [u64; 2] {
    let embeddings = graph.params().modules().iter().filter(|m| m.kind == ModuleKind::Embedding);
    let largest = embeddings.max_by_key(|m| m.shape.dim(0));
    largest.map_or([0, 0], |m| [u64::from(m.shape.dim(0)), u64::from(m.shape.dim(-1))])
}

impl LayerLayout {
    fn take(&mut self, graph: &Graph, product: &Product, width: u64) {
        let path = &graph.params().module(product.module).path;
        let feeds = path.split('.').any(|word| FEED_FORWARD.contains(&word));
        match (product.kind, graph.experts()) {
            (ModuleKind::SwitchLinear, Some(experts)) => {
                let hidden = if product.outer == width { product.inner } else { product.outer };
                let known = ExpertLayout { total: experts.total, chosen: experts.chosen, hidden };
                self.experts.get_or_insert(known);
            }
            _ if feeds => {
                let router = graph.experts().is_some_and(|e| product.outer == e.total);
                if product.outer == width && product.inner != width && !router {
                    self.dense = self.dense.max(Some(product.inner));
                }
            }
            _ => {
                self.mixed.push(product.outer);
                if product.outer == width {
                    self.inner = product.inner;
                }
            }
        }
    }

    /// Notes what a cache of the layer holds after one token.
    fn hold(&mut self, cache: &Cache, kind: &CacheKind) {
        let mut keys: Vec<[u64; 2]> = Vec::new();
        let mut states: Vec<[u64; 2]> = Vec::new();
        for (slot, holds_keys) in cache.slots().iter().zip(cache.holds_keys()) {
            let Some(slot) = slot else { continue };
            if holds_keys {
                keys.push([slot.shape.dim(1), slot.shape.dim(-1)].map(u64::from));
            } else {
                self.state += slot.shape.elements();
                states.push([u64::from(slot.shape.dim(-1)), slot.shape.elements()]);
            }
        }
        if let [[key_heads, key], rest @ ..] = keys.as_slice() {
            let value = rest.first().map_or(0, |[_, width]| *width);
            self.stored = [key_heads * key, rest.iter().map(|[heads, width]| heads * width).sum()];
            let queries = self.mixed.first().copied().unwrap_or(0);
            let (key_heads, key) = (*key_heads, *key);
            let heads = queries / key.max(1);
            self.attention = Some(AttentionLayout { heads, key_heads, key, value });
        }
        if let [[channels, conv_state], _] = states[..] {
            self.recurrence = self.recurrence_of(channels, conv_state);
        }
        match kind {
            CacheKind::Rotating { max_size, .. } => self.window = Some(*max_size),
            CacheKind::Chunked { chunk_size } => self.window = Some(*chunk_size),
            CacheKind::Kv
            | CacheKind::Projected { .. }
            | CacheKind::Arrays(_)
            | CacheKind::Compressed(_)
            | CacheKind::Pool { .. }
            | CacheKind::List(_) => {}
        }
    }

    /// What a convolution of so many features leads to: keys, queries and values that were projected together, or the part
    /// of one projection.
    fn recurrence_of(&self, channels: u64, conv_state: u64) -> Option<StateLayout> {
        let first = self.mixed.first().copied()?;
        let kind = if self.mixed.contains(&channels) {
            RecurrenceKind::GatedDelta
        } else if first > channels + self.inner && first < channels + 2 * self.inner {
            RecurrenceKind::Scan
        } else {
            return None;
        };
        (channels > self.inner).then_some(StateLayout { kind, channels, conv_state })
    }
}

/// Norms of a layer that are as wide as the model.
fn norms(graph: &Graph, layer: usize, width: u64) -> usize {
    let place = format!("layers.{layer}.");
    let of_layer = |path: &str| path.contains(&place);
    let all = graph.params().modules().iter().filter(|m| m.path.ends_with("norm.weight"));
    all.filter(|m| of_layer(&m.path) && m.shape.elements() == width).count()
}
