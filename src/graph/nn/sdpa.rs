//! `scaled_dot_product_attention` of `mlx_lm/models/base.py`: plain or over a quantized cache.

use crate::graph::cache::KvArray;
use crate::graph::tape::linalg::Packed;
use crate::graph::tape::{Mask, Var};
use crate::model::DType;

/// Attention of queries `[batch, heads, tokens, width]` over what a cache returned.
pub fn attend<'t>(
    queries: Var<'t>,
    (keys, values): (KvArray<'t>, KvArray<'t>),
    scale: f64,
    mask: Mask<'t>,
    sinks: Option<Var<'t>>,
) -> Var<'t> {
    let t = queries.tape();
    match (keys, values) {
        (KvArray::Dense(k), KvArray::Dense(v)) => queries.attention(k, v, scale, mask, sinks),
        (KvArray::Packed(k), KvArray::Packed(v)) if sinks.is_none() => {
            t.scores(|| quantized(queries, k, v, scale, mask))
        }
        (KvArray::Packed(_), KvArray::Packed(_)) => {
            t.fail("quantized attention does not support attention sinks")
        }
        _ => t.fail("keys and values of different kinds"),
    }
}

fn quantized<'t>(q: Var<'t>, k: Packed<'t>, v: Packed<'t>, scale: f64, mask: Mask<'t>) -> Var<'t> {
    let shape = q.shape();
    let heads = k.weight.dim(-3).max(1);
    let repeats = shape.dim(1) / heads;
    let mut q = q * scale;
    let (mut k, mut v) = (k, v);
    let dims = shape.signed();
    if repeats > 1 {
        let parts = [dims[0], i64::from(heads), i64::from(repeats), dims[2], dims[3]];
        q = q.reshape(&parts);
        k = per_group(k);
        v = per_group(v);
    }
    let mut scores = q.quantized_matmul(k, true);
    let mask = match mask {
        Mask::None => None,
        Mask::Causal => Some(causal_scores(scores)),
        Mask::Array(m) if repeats > 1 && m.shape().rank() > 3 => Some(m.expand_dims(&[-3])),
        Mask::Array(m) => Some(m),
    };
    if let Some(m) = mask {
        scores = if m.dtype() == DType::Bool {
            m.select(scores, scores.dtype().lowest())
        } else {
            scores + m
        };
    }
    let out = scores.softmax(true).quantized_matmul(v, false);
    if repeats > 1 {
        out.reshape(&dims[..3].iter().copied().chain([-1]).collect::<Vec<_>>())
    } else {
        out
    }
}

/// True where a query may see a key, for `scores [.., queries, keys]` of the last queries.
pub fn causal_scores(scores: Var<'_>) -> Var<'_> {
    let (t, queries, keys) = (scores.tape(), scores.dim(-2), scores.dim(-1));
    let rows = t.arange(keys.saturating_sub(queries), keys);
    let columns = t.arange(0, keys);
    rows.expand_dims(&[1]).greater_equal(columns.expand_dims(&[0]))
}

fn per_group(x: Packed<'_>) -> Packed<'_> {
    Packed {
        weight: x.weight.expand_dims(&[-3]),
        scales: x.scales.expand_dims(&[-3]),
        biases: x.biases.map(|b| b.expand_dims(&[-3])),
        packing: x.packing,
    }
}
