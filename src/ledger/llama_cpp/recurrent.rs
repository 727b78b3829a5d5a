//! Layers with a recurrence behind a convolution, as llama.cpp computes them for a batch of a prompt
//! (`src/models/delta-net-base.cpp`, `src/models/mamba-base.cpp`): the states of all sequences are gathered, and come out
//! behind the outputs of the operation.

use super::alloc::TensorId;
use super::compute::{BatchGraph, F32};
use super::layout::{LayerLayout, StateLayout};

impl BatchGraph<'_> {
    /// The states of all sequences, gathered from the cache.
    fn gathered(&mut self, elements: u64) -> TensorId {
        self.g.computed(F32 * elements * self.settings.slots.max(1), &[])
    }

    /// What was kept of earlier tokens and the features of the batch, of which the last are kept in turn.
    fn joined(&mut self, r: StateLayout, kept: TensorId, features: TensorId) -> TensorId {
        let bytes = self.row_bytes(r.channels);
        let states = F32 * r.conv_state * self.settings.slots.max(1);
        let features = self.g.view(features);
        let joined = self.g.computed(bytes + states, &[kept, features]);
        let last = self.g.view(joined);
        self.g.store(&[last]);
        joined
    }

    /// `build_layer_attn_linear` with the fused operation: keys, queries and values behind one convolution.
    pub(super) fn gated_delta(
        &mut self,
        layer: &LayerLayout,
        r: StateLayout,
        x: TensorId,
    ) -> TensorId {
        let (channels, inner) = (self.row_bytes(r.channels), self.row_bytes(layer.inner));
        let keys = self.row_bytes((r.channels - layer.inner) / 2);
        let heads = self.row_bytes(layer.mixed.iter().copied().min().unwrap_or(1));
        let kept = self.gathered(r.conv_state);
        let projected = self.g.computed(channels, &[x]);
        let recurrent = layer.state - r.conv_state;
        let states = F32 * recurrent * self.settings.slots.max(1);
        let joined = self.joined(r, kept, projected);
        let state = self.gathered(recurrent);
        let convolved = self.g.computed(channels, &[joined]);
        let activated = self.g.in_place(channels, &[convolved]);
        let q = self.g.part(activated, keys);
        let q = self.g.computed(keys, &[q]);
        let k = self.g.part(activated, keys);
        let k = self.g.computed(keys, &[k]);
        let v = self.g.part(activated, inner);
        let decay = self.g.computed(heads, &[x]);
        let decay = self.g.in_place(heads, &[decay]);
        let write = self.g.computed(heads, &[x]);
        let write = self.g.in_place(heads, &[write]);
        let result = self.g.computed(inner + states, &[q, k, v, decay, write, state]);
        let new = self.g.part(result, states);
        self.g.store(&[new]);
        let out = self.g.part(result, inner);
        let normed = self.norm(out, inner);
        let gate = self.g.computed(inner, &[x]);
        let gate = self.g.in_place(inner, &[gate]);
        let gated = self.g.in_place(inner, &[normed, gate]);
        self.g.view(gated)
    }

    /// `build_mamba2_layer`: one projection makes the gate, the features that are convolved, and the time steps.
    pub(super) fn scan(&mut self, layer: &LayerLayout, r: StateLayout, x: TensorId) -> TensorId {
        let (channels, inner) = (self.row_bytes(r.channels), self.row_bytes(layer.inner));
        let projection = layer.mixed.first().copied().unwrap_or(r.channels);
        let steps = self.row_bytes(projection.saturating_sub(r.channels + layer.inner).max(1));
        let kept = self.gathered(r.conv_state);
        let projected = self.g.computed(self.row_bytes(projection), &[x]);
        let recurrent = layer.state - r.conv_state;
        let states = F32 * recurrent * self.settings.slots.max(1);
        let joined = self.joined(r, kept, projected);
        let convolved = self.g.computed(channels, &[joined]);
        let activated = self.g.in_place(channels, &[convolved]);
        let features = self.g.part(activated, inner);
        let time = self.g.part(projected, steps);
        let time = self.g.computed(steps, &[time]);
        let scanned = self.g.computed(inner + states, &[features, time]);
        let new = self.g.part(scanned, states);
        self.g.store(&[new]);
        let out = self.g.part(scanned, inner);
        let skipped = self.g.computed(inner, &[features]);
        let summed = self.g.in_place(inner, &[out, skipped]);
        let gate = self.g.part(projected, inner);
        let gate = self.g.computed(inner, &[gate]);
        let gated = self.g.computed(inner, &[gate, summed]);
        self.norm(gated, inner)
    }
}
