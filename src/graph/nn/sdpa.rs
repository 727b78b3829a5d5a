//! `scaled_dot_product_attention` of `mlx_lm/models/base.py`: plain or over a quantised cache.

use crate::graph::cache::KvArray;
use crate::graph::op::Binary;
use crate::graph::tape::linalg::Packed;
use crate::graph::tape::{Mask, Tape, Var};
use crate::model::DType;

/// Attention of queries `[batch, heads, tokens, width]` over what a cache returned.
pub fn attend(
    t: &Tape<'_>,
    queries: Var,
    (keys, values): (KvArray, KvArray),
    scale: f64,
    mask: Mask,
    sinks: Option<Var>,
) -> Var {
    match (keys, values) {
        (KvArray::Dense(k), KvArray::Dense(v)) => t.attention(queries, k, v, scale, mask, sinks),
        (KvArray::Packed(k), KvArray::Packed(v)) if sinks.is_none() => {
            t.scores(|t| quantised(t, queries, k, v, scale, mask))
        }
        (KvArray::Packed(_), KvArray::Packed(_)) => {
            t.fail("quantised attention does not support attention sinks")
        }
        _ => t.fail("keys and values of different kinds"),
    }
}

fn quantised(t: &Tape<'_>, q: Var, k: Packed, v: Packed, scale: f64, mask: Mask) -> Var {
    let shape = t.shape(q);
    let heads = t.dim(k.weight, -3).max(1);
    let repeats = shape.dim(1) / heads;
    let mut q = t.mul(q, scale);
    let (mut k, mut v) = (k, v);
    let dims: Vec<i64> = shape.dims().iter().map(|&n| i64::from(n)).collect();
    if repeats > 1 {
        let parts = [dims[0], i64::from(heads), i64::from(repeats), dims[2], dims[3]];
        q = t.reshape(q, &parts);
        k = per_group(t, k);
        v = per_group(t, v);
    }
    let mut scores = t.quantized_matmul(q, k, true);
    let mask = match mask {
        Mask::None => None,
        Mask::Causal => {
            let (queries, keys) = (t.dim(scores, -2), t.dim(scores, -1));
            let rows = t.arange(keys.saturating_sub(queries), keys);
            let columns = t.arange(0, keys);
            let rows = t.expand_dims(rows, &[1]);
            Some(t.binary(Binary::GreaterEqual, rows, t.expand_dims(columns, &[0])))
        }
        Mask::Array(m) if repeats > 1 && t.shape(m).rank() > 3 => Some(t.expand_dims(m, &[-3])),
        Mask::Array(m) => Some(m),
    };
    if let Some(m) = mask {
        scores = if t.dtype(m) == DType::Bool {
            t.select(m, scores, t.dtype(scores).lowest())
        } else {
            t.add(scores, m)
        };
    }
    let out = t.quantized_matmul(t.softmax(scores, true), v, false);
    if repeats > 1 {
        t.reshape(out, &dims[..3].iter().copied().chain([-1]).collect::<Vec<_>>())
    } else {
        out
    }
}

fn per_group(t: &Tape<'_>, x: Packed) -> Packed {
    Packed {
        weight: t.expand_dims(x.weight, &[-3]),
        scales: t.expand_dims(x.scales, &[-3]),
        biases: x.biases.map(|b| t.expand_dims(b, &[-3])),
        packing: x.packing,
    }
}
