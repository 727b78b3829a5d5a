//! Buffers of keys and values, as several classes keep them.

use super::slot::dense;
use super::{KvArray, STEP, Slot};
use crate::graph::tape::{Tape, Var, concat};

/// The buffers of keys and of values of a layer; both are set by the first call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KvBuffers(pub [Option<Slot>; 2]);

/// How buffers change before new tokens are written.
pub(super) struct Growth {
    /// Tokens that are kept of the old buffer (it is cut when it does not end on a step).
    pub keep: u32,
    /// Tokens appended.
    pub append: u32,
}

/// Growth of a buffer of `capacity` tokens that holds `used` and gets `new` more.
pub(super) fn growth(capacity: Option<u32>, used: u32, new: u32) -> Option<Growth> {
    let append = new.div_ceil(STEP).saturating_mul(STEP);
    match capacity {
        Some(c) if used.saturating_add(new) <= c => None,
        Some(c) => Some(Growth { keep: if used % STEP == 0 { c } else { used }, append }),
        None => Some(Growth { keep: 0, append }),
    }
}

/// Calls that leave a buffer of `capacity` tokens, of which `used` are taken, as `calls` calls of one token do: what
/// fits, then whole steps, then the first token of a new step and the rest of it.
pub(super) fn in_steps(capacity: Option<u32>, used: u32, calls: u32) -> impl Iterator<Item = u32> {
    let fits = capacity.unwrap_or(0).saturating_sub(used).min(calls);
    let rest = calls - fits;
    let whole = rest - rest % STEP;
    let first = (rest % STEP).min(1);
    [fits, whole, first, (rest % STEP) - first].into_iter().filter(|n| *n > 0)
}

/// So many empty tokens like those of `like`, behind `old` if there is one.
pub(super) fn extended<'t>(old: Option<Var<'t>>, like: Var<'t>, tokens: u32) -> Var<'t> {
    let zeros = like.tape().full(like.shape().with(2, tokens), 0.0, like.dtype());
    old.map_or(zeros, |old| concat([old, zeros], 2))
}

/// A buffer after `growth`, recorded on the tape.
fn grown<'t>(old: Option<Slot>, like: Var<'t>, growth: &Growth) -> Var<'t> {
    let zeros = extended(None, like, growth.append);
    old.map_or(zeros, |old| concat([old.var(like.tape()).slice(2, 0, growth.keep), zeros], 2))
}

impl KvBuffers {
    /// Tokens that they have room for.
    pub fn capacity(&self) -> Option<u32> {
        self.0[0].map(|s| s.shape.dim(2))
    }

    /// Gives them room for so many tokens, by shapes alone.
    pub fn resize(&mut self, tokens: u32) {
        self.0 = self.0.map(|slot| slot.map(|s| s.resized(tokens)));
    }

    /// Grows them for `new` tokens behind `used`, by shapes alone.
    pub fn grow(&mut self, used: u32, new: u32) {
        if let Some(g) = growth(self.capacity(), used, new) {
            self.resize(g.keep.saturating_add(g.append));
        }
    }

    /// The buffers on the tape, if they are set.
    pub fn vars<'t>(&self, t: &'t Tape<'t>) -> Option<(Var<'t>, Var<'t>)> {
        let [keys, values] = self.0;
        Some((keys?.var(t), values?.var(t)))
    }

    pub fn set(&mut self, keys: Var<'_>, values: Var<'_>) {
        self.0 = [keys, values].map(|x| Some(Slot::of(x)));
    }

    /// The first `tokens` tokens, if they are set.
    pub fn read<'t>(&self, t: &'t Tape<'t>, tokens: u32) -> Option<(KvArray<'t>, KvArray<'t>)> {
        let (k, v) = self.vars(t)?;
        Some(dense((k.slice(2, 0, tokens), v.slice(2, 0, tokens))))
    }

    /// Writes new tokens behind the `used` ones, after growing where needed, and returns all.
    pub fn append<'t>(
        &mut self,
        keys: Var<'t>,
        values: Var<'t>,
        used: u32,
    ) -> (KvArray<'t>, KvArray<'t>) {
        let new = keys.dim(2);
        let (k, v) = match growth(self.capacity(), used, new) {
            Some(g) => (grown(self.0[0], keys, &g), grown(self.0[1], values, &g)),
            None => self.vars(keys.tape()).unwrap_or((keys, values)),
        };
        let (k, v) = (k.slice_update(keys, 2, used), v.slice_update(values, 2, used));
        self.set(k, v);
        let end = used.saturating_add(new);
        dense((k.slice(2, 0, end), v.slice(2, 0, end)))
    }
}
