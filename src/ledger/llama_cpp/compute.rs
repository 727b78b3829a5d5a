//! The compute graph of a batch of a prompt as llama.cpp builds it (`src/llama-graph.cpp`, `src/models`), of which the
//! buffers for intermediate results are as large as its tensors need.

use super::LlamaSettings;
use super::alloc::{ComputeGraph, TensorId};
use super::layout::{AttentionLayout, ExpertLayout, LayerLayout, Layout, RecurrenceKind};

/// Bytes of an element of an intermediate result.
pub(super) const F32: u64 = 4;

/// Where the layers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComputePlace {
    /// On the GPU, to which the inputs are copied.
    Gpu,
    /// On the CPU, embedding and all.
    Cpu,
}

/// Bytes of the buffer for intermediate results of the layers.
pub(super) fn layers(layout: &Layout, settings: &LlamaSettings, place: ComputePlace) -> u64 {
    BatchGraph::new(layout, settings, place).build()
}

/// Bytes of the CPU's buffer where the layers run on the GPU: what the GPU's inputs are copied from. Since 2026 the
/// embeddings that a caller may pass have a place of their own.
pub(super) fn inputs(layout: &Layout, settings: &LlamaSettings) -> u64 {
    let embeddings = if settings.release.mixed_inputs { 2 } else { 1 };
    let n = settings.batch();
    let rotations: u64 = kinds(layout).iter().map(|w| rotation(layout, settings, *w)).sum();
    masks(layout, settings).sum::<u64>() + embeddings * F32 * layout.width * n + rotations + 24 * n
}

/// Bytes of the matrices that rotate keys and values before they are quantized: one as wide as a key, one of 64.
fn rotation(layout: &Layout, settings: &LlamaSettings, window: Option<u32>) -> u64 {
    let of_window = |l: &&LayerLayout| l.window == window && l.attention.is_some();
    let attention = layout.layers.iter().find(of_window).and_then(|l| l.attention);
    let rotates = settings.release.rotations && settings.is_quantized();
    attention
        .filter(|a| rotates && a.key.is_power_of_two())
        .map_or(0, |a| F32 * (a.key * a.key + 64 * 64))
}

/// Bytes of the masks that the layers need: one of all tokens, one of each window.
fn masks<'a>(layout: &'a Layout, settings: &'a LlamaSettings) -> impl Iterator<Item = u64> + 'a {
    let bytes = if settings.flash && settings.release.half_masks { 2 } else { F32 };
    kinds(layout)
        .into_iter()
        .map(move |window| bytes * settings.cells(window) * settings.batch() / settings.streams())
}

/// The windows of the caches of keys and values, each once.
fn kinds(layout: &Layout) -> Vec<Option<u32>> {
    let mut all: Vec<Option<u32>> = Vec::new();
    for layer in layout.layers.iter().filter(|l| l.attention.is_some()) {
        if !all.contains(&layer.window) {
            all.push(layer.window);
        }
    }
    all
}

pub(super) struct BatchGraph<'a> {
    pub(super) g: ComputeGraph,
    layout: &'a Layout,
    pub(super) settings: &'a LlamaSettings,
    place: ComputePlace,
    /// Tokens of the batch.
    n: u64,
    positions: TensorId,
    rows: TensorId,
    /// Masks and places to write to, by window.
    attention: Vec<(Option<u32>, CacheInputs)>,
}

/// Inputs of attention over a cache.
#[derive(Clone, Copy)]
struct CacheInputs {
    mask: TensorId,
    keys_at: TensorId,
    values_at: TensorId,
}

impl<'a> BatchGraph<'a> {
    fn new(layout: &'a Layout, settings: &'a LlamaSettings, place: ComputePlace) -> Self {
        let mut g = ComputeGraph::new(place == ComputePlace::Cpu);
        let n = settings.batch();
        let positions = g.input(4 * n);
        let rows = g.input(4 * settings.output_rows());
        Self { g, layout, settings, place, n, positions, rows, attention: Vec::new() }
    }

    fn build(mut self) -> u64 {
        let embedded = self.embedded();
        let kinds = kinds(self.layout);
        for (window, bytes) in kinds.into_iter().zip(masks(self.layout, self.settings)) {
            let inputs = self.attention_inputs(window, bytes);
            self.attention.push((window, inputs));
        }
        let mut x = embedded;
        let last = self.layout.layers.len().saturating_sub(1);
        for (i, layer) in self.layout.layers.iter().enumerate() {
            x = self.layer(layer, x, i == last);
        }
        let rows = F32 * self.layout.width * self.n;
        let normed = self.norm(x, rows);
        let logits = self.g.computed(F32 * self.layout.vocabulary * self.n, &[normed]);
        self.g.keep(logits);
        self.g.buffer_bytes()
    }

    pub(super) fn row_bytes(&self, features: u64) -> u64 {
        F32 * features * self.n
    }

    /// The embeddings of the tokens.
    fn embedded(&mut self) -> TensorId {
        let bytes = self.row_bytes(self.layout.width);
        if self.place == ComputePlace::Gpu {
            return self.g.input(bytes);
        }
        let tokens = self.g.input(4 * self.n);
        let x = self.g.computed(bytes, &[tokens]);
        if self.settings.release.mixed_inputs {
            // Embeddings from outside have a place of their own, copied and filled with those of tokens.
            let [tokens, places] = [4, 4].map(|b| self.g.input(b * self.n));
            let given = self.g.input(bytes);
            let looked_up = self.g.computed(bytes, &[tokens]);
            let copied = self.g.computed(bytes, &[given]);
            self.g.view(copied);
            self.g.store(&[looked_up, places]);
        }
        x
    }

    fn attention_inputs(&mut self, window: Option<u32>, bytes: u64) -> CacheInputs {
        let rotation = rotation(self.layout, self.settings, window);
        if rotation > 0 {
            self.g.input(rotation);
        }
        let mask = self.g.input(bytes);
        let mask = if self.settings.flash && !self.settings.release.half_masks {
            self.g.computed(bytes / 2, &[mask])
        } else {
            mask
        };
        let keys_at = self.g.input(8 * self.n);
        let of_window = |l: &&LayerLayout| l.window == window && l.attention.is_some();
        let stored = self.layout.layers.iter().find(of_window).map_or(1, |l| l.stored[1]);
        // Without flash attention values are stored across, element by element.
        let values_at =
            self.g.input(8 * self.n * if self.settings.flash { 1 } else { stored.max(1) });
        CacheInputs { mask, keys_at, values_at }
    }

    /// A norm and the product with its weights.
    pub(super) fn norm(&mut self, x: TensorId, bytes: u64) -> TensorId {
        let normed = self.g.in_place(bytes, &[x]);
        self.fused(bytes, &[normed])
    }

    /// A product of a norm, or a rotation: on the GPU it takes over its source, on the CPU it has memory of its own. So the
    /// buffers come out that are printed without flash attention, to the digit on both.
    fn fused(&mut self, bytes: u64, sources: &[TensorId]) -> TensorId {
        match self.place {
            ComputePlace::Gpu => self.g.in_place(bytes, sources),
            ComputePlace::Cpu => self.g.computed(bytes, sources),
        }
    }

    fn layer(&mut self, layer: &LayerLayout, x: TensorId, last: bool) -> TensorId {
        let width = self.layout.width;
        let bytes = self.row_bytes(width);
        let normed = self.norm(x, bytes);
        let mixed = match layer.attention {
            Some(attention) => self.attend(layer, attention, normed),
            None => self.recurrent(layer, normed),
        };
        let mut mixed = self.g.computed(bytes, &[mixed]);
        let mut residual = x;
        if last {
            self.n = self.settings.output_rows();
            let fewer = self.row_bytes(width);
            mixed = self.g.computed(fewer, &[mixed, self.rows]);
            residual = self.g.computed(fewer, &[residual, self.rows]);
        }
        let bytes = self.row_bytes(width);
        if let Some(hidden) = layer.dense.filter(|_| layer.side_by_side) {
            let read = if last { self.g.computed(bytes, &[normed, self.rows]) } else { normed };
            let out = self.dense(hidden, read);
            let sum = self.g.in_place(bytes, &[out, residual]);
            return self.g.in_place(bytes, &[sum, mixed]);
        }
        let x = self.g.in_place(bytes, &[mixed, residual]);
        let normed = self.norm(x, bytes);
        let out = match (layer.experts, layer.dense) {
            (Some(experts), dense) => {
                let routed = self.routed(experts, normed);
                match dense {
                    None => routed,
                    Some(hidden) => {
                        let shared = self.dense(hidden, normed);
                        self.g.in_place(bytes, &[routed, shared])
                    }
                }
            }
            (None, Some(hidden)) => self.dense(hidden, normed),
            (None, None) => normed,
        };
        self.g.in_place(bytes, &[out, x])
    }

    /// Attention with keys and values of its own.
    fn attend(&mut self, layer: &LayerLayout, a: AttentionLayout, x: TensorId) -> TensorId {
        let queries = self.row_bytes(a.heads * a.key);
        // What is projected beyond the queries gates the output, and stays until then.
        let (twice, width) = (2 * a.heads * a.key, self.layout.width);
        let gated = layer.mixed.iter().any(|&n| n == twice && n != width);
        let both = gated.then(|| self.g.computed(2 * queries, &[x]));
        let q = match both {
            Some(both) => {
                let q = self.g.part(both, queries);
                let q = self.g.computed(queries, &[q]);
                self.fused(queries, &[q])
            }
            None => self.g.computed(queries, &[x]),
        };
        let q = self.rotated(q, queries);
        let [keys, values] = layer.stored.map(|n| self.row_bytes(n));
        let inputs = self.attention.iter().find(|(w, _)| *w == layer.window).map(|(_, i)| *i);
        let Some(inputs) = inputs else { return q };
        let projects = layer.stored[0] > 0;
        if projects {
            let v = self.g.computed(values, &[x]);
            let v = self.g.view(v);
            let k = self.g.computed(keys, &[x]);
            let k = self.rotated(k, keys);
            let k = self.g.view(k);
            self.g.store(&[k, inputs.keys_at]);
            let v = self.g.view(v);
            self.g.store(&[v, inputs.values_at]);
        }
        let q = self.g.view(q);
        let out = self.row_bytes(a.heads * a.value);
        if self.settings.flash {
            let extra = match self.place {
                ComputePlace::Gpu => self.scratch(layer, a),
                ComputePlace::Cpu => 0,
            };
            let attended = self.g.computed(out + extra, &[q, inputs.mask]);
            let attended = self.g.part(attended, out);
            return self.gated(attended, both, out);
        }
        let cells = self.settings.cells(layer.window) / self.settings.streams();
        let scores = self.row_bytes(a.heads * cells);
        let products = self.g.computed(scores, &[q]);
        let weights = self.g.in_place(scores, &[products, inputs.mask]);
        let attended = self.g.computed(out, &[weights]);
        let attended = self.g.view(attended);
        let attended = self.g.computed(out, &[attended]);
        self.gated(attended, both, out)
    }

    /// The output of attention times the gate that was projected with the queries, where one was.
    fn gated(&mut self, attended: TensorId, both: Option<TensorId>, bytes: u64) -> TensorId {
        let Some(both) = both else { return attended };
        let gate = self.g.part(both, bytes);
        let gate = self.g.computed(bytes, &[gate]);
        let gate = self.g.in_place(bytes, &[gate]);
        self.g.in_place(bytes, &[attended, gate])
    }

    fn rotated(&mut self, x: TensorId, bytes: u64) -> TensorId {
        let heads = self.g.view(x);
        self.fused(bytes, &[heads, self.positions])
    }

    /// What Metal's flash attention allocates behind its output: since 2026-08 room for one layer of a quantized cache in
    /// 16 bits.
    fn scratch(&self, layer: &LayerLayout, a: AttentionLayout) -> u64 {
        if !(self.settings.release.half_caches && self.settings.is_quantized()) {
            return 0;
        }
        2 * self.settings.cells(layer.window) * a.key_heads * (a.key + a.value)
    }

    fn recurrent(&mut self, layer: &LayerLayout, x: TensorId) -> TensorId {
        match layer.recurrence {
            Some(r) if r.kind == RecurrenceKind::GatedDelta => self.gated_delta(layer, r, x),
            Some(r) => self.scan(layer, r, x),
            None => self.recur(layer, x),
        }
    }

    /// A layer with a state in place of keys and values, approximately: its projections, the convolution over them, and
    /// the state with the output of the recurrence.
    fn recur(&mut self, layer: &LayerLayout, x: TensorId) -> TensorId {
        let projected: Vec<TensorId> =
            layer.mixed.iter().map(|&n| self.g.computed(F32 * n * self.n, &[x])).collect();
        let widest = layer.mixed.iter().copied().max().unwrap_or(self.layout.width);
        let bytes = self.row_bytes(widest);
        let joined = self.g.computed(bytes, &projected);
        let convolved = self.g.computed(bytes, &[joined]);
        let activated = self.g.in_place(bytes, &[convolved]);
        let states = F32 * layer.state * self.settings.slots;
        self.g.computed(bytes + states, &[activated])
    }

    fn dense(&mut self, hidden: u64, x: TensorId) -> TensorId {
        let bytes = self.row_bytes(hidden);
        let gate = self.g.computed(bytes, &[x]);
        let up = self.g.computed(bytes, &[x]);
        let gated = self.g.computed(bytes, &[gate, up]);
        self.g.computed(self.row_bytes(self.layout.width), &[gated])
    }

    fn routed(&mut self, e: ExpertLayout, x: TensorId) -> TensorId {
        let (all, chosen) = (self.row_bytes(e.total), self.row_bytes(e.chosen));
        let logits = self.g.computed(all, &[x]);
        let probabilities = self.g.in_place(all, &[logits]);
        // Sorting takes as much again on Metal.
        let sorted = self.g.computed(2 * all, &[probabilities]);
        let ids = self.g.part(sorted, chosen);
        let as_rows = self.g.view(probabilities);
        let weights = self.g.computed(chosen, &[as_rows, ids]);
        let weights = self.g.view(weights);
        let sums = self.g.computed(self.row_bytes(1), &[weights]);
        let sums = self.g.computed(self.row_bytes(1), &[sums]);
        let shares = self.g.in_place(chosen, &[weights, sums]);
        let shares = self.g.view(shares);
        let x = self.g.view(x);
        let maps = 4 * e.total * (1 + self.n);
        let hidden = self.row_bytes(e.hidden * e.chosen);
        let up = self.g.computed(hidden + maps, &[x, ids]);
        let gate = self.g.computed(hidden + maps, &[x, ids]);
        let gated = self.g.computed(hidden, &[gate, up]);
        let bytes = self.row_bytes(self.layout.width);
        let down = self.g.computed(bytes * e.chosen + maps, &[gated, ids]);
        let weighed = self.g.in_place(bytes * e.chosen + maps, &[down, shares]);
        let parts: Vec<TensorId> = (0..e.chosen).map(|_| self.g.part(weighed, bytes)).collect();
        let mut sum = parts.first().copied().unwrap_or(weighed);
        for &part in parts.iter().skip(1) {
            sum = self.g.in_place(bytes, &[sum, part]);
        }
        sum
    }
}
