//! Masks of attention as mlx-lm builds them.

use crate::graph::tape::{Mask, Tape, Var};
use crate::model::DType;

/// `create_attention_mask` for a cache that has no mask of its own.
pub fn plain_mask<'t>(t: &'t Tape<'t>, n: u32, window: Option<u32>, as_array: bool) -> Mask<'t> {
    if n == 1 {
        Mask::None
    } else if as_array || window.is_some_and(|w| n > w) {
        Mask::Array(causal_mask(t, n, 0, window))
    } else {
        Mask::Causal
    }
}

/// The mask of a cache that holds `offset` tokens.
pub(super) fn offset_mask<'t>(
    t: &'t Tape<'t>,
    n: u32,
    offset: u32,
    window: Option<u32>,
    as_array: bool,
) -> Mask<'t> {
    if window.is_some() || (n > 1 && as_array) {
        Mask::Array(causal_mask(t, n, offset, window))
    } else if n == 1 {
        Mask::None
    } else {
        Mask::Causal
    }
}

/// `create_causal_mask`: `[n, offset + n]`, true where a query may see a key.
pub fn causal_mask<'t>(t: &'t Tape<'t>, n: u32, offset: u32, window: Option<u32>) -> Var<'t> {
    t.scores(|| causal_mask_steps(t, n, offset, window))
}

/// The mask of a batch of sequences that are padded on the left: `[batch, 1, n, offset + n]`, true where a query may see a
/// key that is no padding.
pub(super) fn padded_mask<'t>(
    t: &'t Tape<'t>,
    batch: u32,
    n: u32,
    offset: u32,
    window: Option<u32>,
) -> Var<'t> {
    t.scores(|| {
        let mask = causal_mask_steps(t, n, offset, window);
        let keys = t.arange(0, offset.saturating_add(n)).expand_dims(&[0]);
        let padding = t.constant([batch].into(), 0.0, DType::I32).expand_dims(&[1, 2, 3]);
        mask & padding.less_equal(keys)
    })
}

fn causal_mask_steps<'t>(t: &'t Tape<'t>, n: u32, offset: u32, window: Option<u32>) -> Var<'t> {
    let keys = t.arange(0, offset.saturating_add(n));
    let queries = if offset > 0 { t.arange(offset, offset.saturating_add(n)) } else { keys };
    let queries = queries.expand_dims(&[1]);
    let keys = keys.expand_dims(&[0]);
    let mask = queries.greater_equal(keys);
    match window {
        None => mask,
        Some(w) => {
            let end = keys + i64::from(w);
            let near = queries.less(end);
            mask & near
        }
    }
}
