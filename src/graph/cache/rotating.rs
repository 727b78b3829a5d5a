//! `RotatingKVCache`: the keys and values of a sliding window.

use super::buffers::{KvBuffers, extended};
use super::layer::nothing;
use super::sequences::Sequences;
use super::slot::dense;
use super::{Cache, KvArray, KvQuantization, LayerCache, STEP, Slot, causal_mask};
use crate::graph::tape::{Mask, Tape, Var, concat};

/// The last `max_size` tokens. Prompts are appended and trimmed; single tokens overwrite the oldest in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RotatingKvCache {
    buffers: KvBuffers,
    offset: u32,
    max_size: u32,
    keep: u32,
    /// Where the next token is written.
    index: u32,
    sequences: Sequences,
}

impl RotatingKvCache {
    pub fn new(max_size: u32, keep: u32) -> Self {
        let (buffers, sequences) = Default::default();
        Self { buffers, offset: 0, max_size, keep, index: 0, sequences }
    }

    fn stored(&self) -> u32 {
        self.buffers.capacity().unwrap_or(0)
    }

    /// `_update_concat`, for prompts.
    fn append<'t>(&mut self, keys: Var<'t>, values: Var<'t>) -> (Var<'t>, Var<'t>) {
        let new = keys.dim(2);
        let (k, v) = match self.buffers.vars(keys.tape()) {
            Some((k, v)) => {
                let (k, v) = (self.temporal_order(k), self.temporal_order(v));
                self.index = k.dim(2);
                let trim = (self.index + 1).saturating_sub(self.max_size);
                (self.trimmed(trim, k, Some(keys)), self.trimmed(trim, v, Some(values)))
            }
            None => (keys, values),
        };
        self.offset = self.offset.saturating_add(new);
        self.index = k.dim(2);
        self.buffers.set(k, v);
        (k, v)
    }

    fn temporal_order<'t>(&self, x: Var<'t>) -> Var<'t> {
        let n = x.dim(2);
        if self.index == n {
            x
        } else if self.index < self.offset {
            let kept = x.slice(2, 0, self.keep);
            let older = x.slice(2, self.index, n);
            let newer = x.slice(2, self.keep, self.index);
            concat([kept, older, newer], 2)
        } else {
            x.slice(2, 0, self.index)
        }
    }

    fn trimmed<'t>(&self, trim: u32, x: Var<'t>, append: Option<Var<'t>>) -> Var<'t> {
        let mut parts = if trim > 0 {
            let n = x.dim(2);
            vec![x.slice(2, 0, self.keep), x.slice(2, trim + self.keep, n)]
        } else {
            vec![x]
        };
        parts.extend(append);
        x.tape().concat(&parts, 2)
    }

    /// `_update_in_place`, for single tokens.
    fn update_in_place<'t>(&mut self, keys: Var<'t>, values: Var<'t>) -> (Var<'t>, Var<'t>) {
        let (t, before) = (keys.tape(), self.offset);
        let stored = self.stored();
        let (mut k, mut v) = self.buffers.vars(t).unzip();
        if k.is_none() || (before >= stored && stored < self.max_size) {
            let room = STEP.min(self.max_size.saturating_sub(before));
            k = Some(extended(k, keys, room));
            v = Some(extended(v, values, room));
            self.index = before;
        }
        let (mut k, mut v) = (k.unwrap_or(keys), v.unwrap_or(values));
        let trim = k.dim(2).saturating_sub(self.max_size);
        if trim > 0 {
            k = self.trimmed(trim, k, None);
            v = self.trimmed(trim, v, None);
            self.index = self.max_size;
        }
        if self.index == self.max_size {
            self.index = self.keep;
        }
        k = k.slice_update(keys, 2, self.index);
        v = v.slice_update(values, 2, self.index);
        self.offset = before.saturating_add(1);
        self.index += 1;
        self.buffers.set(k, v);
        if self.offset < k.dim(2) {
            (k.slice(2, 0, self.offset), v.slice(2, 0, self.offset))
        } else {
            (k, v)
        }
    }

    fn advance_append(&mut self, new: u32) -> u32 {
        let stored = self.stored();
        let ordered =
            if self.index == stored || self.index < self.offset { stored } else { self.index };
        let trim = (ordered + 1).saturating_sub(self.max_size);
        self.index = (ordered - trim).saturating_add(new);
        self.index
    }

    fn advance_in_place(&mut self) -> u32 {
        let mut stored = self.stored();
        if self.offset >= stored && stored < self.max_size {
            stored += STEP.min(self.max_size.saturating_sub(self.offset));
            self.index = self.offset;
        }
        if stored > self.max_size {
            stored = self.max_size;
            self.index = self.max_size;
        }
        if self.index == self.max_size {
            self.index = self.keep;
        }
        self.index += 1;
        stored
    }
}

impl LayerCache for RotatingKvCache {
    fn class(&self) -> String {
        "RotatingKVCache".to_owned()
    }

    fn offset(&self) -> u32 {
        self.offset
    }

    fn arrays(&self) -> &[Option<Slot>] {
        &self.buffers.0
    }

    fn arrays_mut(&mut self) -> &mut [Option<Slot>] {
        &mut self.buffers.0
    }

    fn advance(&mut self, new: u32) {
        let stored = if new == 1 { self.advance_in_place() } else { self.advance_append(new) };
        self.buffers.resize(stored);
        self.offset = self.offset.saturating_add(new);
    }

    /// A full window stays as it is but for the place of the next token, which goes round.
    fn advance_singly(&mut self, mut calls: u32) {
        while calls > 0 && (self.stored() != self.max_size || self.offset < self.max_size) {
            self.advance(1);
            calls -= 1;
        }
        let round = self.max_size.saturating_sub(self.keep).max(1);
        self.offset = self.offset.saturating_add(calls - calls % round);
        (0..calls % round).for_each(|_| self.advance(1));
    }

    fn update<'t>(&mut self, keys: Var<'t>, values: Var<'t>) -> (KvArray<'t>, KvArray<'t>) {
        if let Some((k, v)) = self.buffers.vars(keys.tape()) {
            self.buffers.set(self.sequences.moved(k), self.sequences.moved(v));
        }
        self.sequences = self.sequences.settled();
        dense(if keys.dim(2) == 1 {
            self.update_in_place(keys, values)
        } else {
            self.append(keys, values)
        })
    }

    fn keys_and_values<'t>(&self, t: &'t Tape<'t>) -> (KvArray<'t>, KvArray<'t>) {
        self.buffers.read(t, self.offset).unwrap_or_else(|| nothing(t))
    }

    fn pad(&mut self, sequences: u32) {
        self.sequences = Sequences::padded(sequences);
    }

    fn move_sequences(&mut self) {
        self.sequences = self.sequences.moving();
    }

    fn mask<'t>(&self, t: &'t Tape<'t>, n: u32, window: Option<u32>, as_array: bool) -> Mask<'t> {
        let offset = self.offset.min(self.max_size.saturating_sub(1));
        let within = Some(window.unwrap_or(self.max_size));
        if let Some(padded) = self.sequences.mask(t, n, offset, within) {
            return padded;
        }
        if n > 1 {
            let window = window.unwrap_or(self.max_size);
            let offset = self.offset.min(self.max_size.saturating_sub(1));
            return if offset.saturating_add(n) > window || as_array {
                Mask::Array(causal_mask(t, n, offset, Some(window)))
            } else {
                Mask::Causal
            };
        }
        match window {
            Some(window) if self.offset >= window && self.max_size > window => {
                let index = if self.index >= self.max_size { 0 } else { self.index };
                let size =
                    if self.offset < self.max_size { self.offset + 1 } else { self.max_size };
                let positions = t.arange(0, size);
                let mask = positions.greater_equal(i64::from(size - window));
                Mask::Array(mask.roll(i64::from(index) + 1, 0))
            }
            _ => Mask::None,
        }
    }

    /// mlx-lm has no such cache in packed form, and stops.
    fn quantized(&self, t: &Tape<'_>, q: KvQuantization) -> Option<Cache> {
        if self.offset >= q.start {
            t.fail("mlx-lm cannot quantize the cache of sliding-window layers");
        }
        None
    }
}
