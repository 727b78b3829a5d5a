//! Pooled rows of DeepSeek-V4: one row per group of tokens, and the indexer that chooses among them.

use super::deepseek_v4_attention::{DeepseekV4AttentionSettings, SPARSE_RATIO};
use crate::graph::cache::PoolCache;
use crate::graph::op::Rope;
use crate::graph::prelude::*;

/// A rotation of the last features of a head: the others get infinite wavelengths.
#[derive(Clone, Debug)]
pub struct TailRope {
    frequencies: Vec<f64>,
}

impl TailRope {
    /// Positions counted in groups of `ratio` tokens.
    pub fn new(frequencies: &[f64], ratio: u64) -> Self {
        Self { frequencies: frequencies.iter().map(|f| f / ratio as f64).collect() }
    }

    /// The rotated `x`, or with `inverse` the rotation undone.
    pub fn forward(&self, t: &Tape<'_>, x: Var, offset: u32, inverse: bool) -> Var {
        let dims = t.dim(x, -1);
        let still = (dims as usize / 2).saturating_sub(self.frequencies.len());
        let sign = if inverse { -1.0 } else { 1.0 };
        let values = std::iter::repeat_n(f64::INFINITY, still)
            .chain(self.frequencies.iter().map(|f| sign * f))
            .collect();
        let table = t.table(&FrequencyTable::Given { values, dtype: DType::F32 });
        let rope = Rope { dims, traditional: true, base: None, scale: 1.0, offset };
        t.rope(x, rope, None, Some(table))
    }
}

/// Pools every group of tokens into one row. Groups of four overlap with the group before.
#[derive(Debug)]
pub struct Compressor {
    ratio: u64,
    kv: Linear,
    gate: Linear,
    ape: ModuleId,
    norm: RmsNorm,
    rope: TailRope,
}

impl Compressor {
    /// Declares the tensors under `compressor`, for rows of `width` features.
    pub fn new(
        p: &mut ParamBuilder,
        s: &DeepseekV4AttentionSettings,
        ratio: u64,
        width: u64,
    ) -> Self {
        let inner = if ratio == SPARSE_RATIO { 2 * width } else { width };
        p.scope("compressor", |p| Self {
            ratio,
            kv: Linear::new(p, "wkv", s.width, inner, false),
            gate: Linear::new(p, "wgate", s.width, inner, false),
            ape: p.raw("ape", &[ratio, inner]),
            norm: RmsNorm::new(p, "norm", width, s.eps),
            rope: TailRope::new(&s.compressed, ratio),
        })
    }

    /// All pooled rows `[batch, rows, width]`, if there are any.
    pub fn forward(&self, t: &Tape<'_>, x: Var, offset: u32, cache: &mut PoolCache) -> Option<Var> {
        let new = [self.kv.forward(t, x), self.gate.forward(t, x)];
        let rows = cache.accumulate(t, new, offset).map(|(ready, base)| {
            let [kv, gate] = ready.map(|v| t.unflatten(v, 1, &[-1, self.ratio as i64]));
            let ape = t.weight(self.ape);
            let pooled = if self.ratio == SPARSE_RATIO {
                pool_overlapping(t, kv, gate, ape)
            } else {
                pool(t, kv, gate, ape)
            };
            let pooled = t.expand_dims(self.norm.forward(t, pooled), &[1]);
            let pooled = self.rope.forward(t, pooled, base / self.ratio as u32, false);
            t.squeeze(pooled, &[1])
        });
        cache.append(t, rows)
    }
}

/// `_simple_compress_kv`: one compiled function over `[batch, groups, tokens, width]`.
fn pool(t: &Tape<'_>, kv: Var, gate: Var, ape: Var) -> Var {
    let [y] = t.compiled(|t| {
        let weights = t.softmax_over(t.add(t.astype(gate, DType::F32), ape), -2, false);
        let y = t.mul(kv, t.astype(weights, t.dtype(kv)));
        [t.sum(y, -2, false)]
    });
    y
}

/// `_overlap_compress_kv`: the first half of the features comes from the group before.
fn pool_overlapping(t: &Tape<'_>, kv: Var, gate: Var, ape: Var) -> Var {
    let [y] = t.compiled(|t| {
        let gate = t.add(gate, t.astype(ape, t.dtype(gate)));
        let kv = shifted(t, kv, 0.0);
        let y = t.mul(kv, t.softmax_over(shifted(t, gate, f64::NEG_INFINITY), -2, true));
        [t.sum(y, -2, false)]
    });
    y
}

/// Puts the first half of the features of each group beside the second half of the next one.
fn shifted(t: &Tape<'_>, x: Var, filling: f64) -> Var {
    let (shape, dtype) = (t.shape(x), t.dtype(x));
    let first = t.full(shape.with(1, 1).with(3, shape.dim(3) / 2), filling, dtype);
    let [a, b] = t.split_equal(x, -1);
    let a = t.slice(a, 1, 0, shape.dim(1).saturating_sub(1));
    let a = t.concat(&[first, a], 1);
    t.concat(&[a, b], 2)
}

/// Chooses pooled rows.
#[derive(Debug)]
pub struct PoolIndexer {
    heads: u64,
    dim: u64,
    /// Rows that a query may choose.
    pub topk: u32,
    q: Linear,
    weights: Linear,
    compressor: Compressor,
}

impl PoolIndexer {
    /// Declares the tensors under `indexer`.
    pub fn new(p: &mut ParamBuilder, s: &DeepseekV4AttentionSettings) -> Self {
        p.scope("indexer", |p| Self {
            heads: s.index_heads,
            dim: s.index_dim,
            topk: s.index_topk as u32,
            q: Linear::new(p, "wq_b", s.q_rank, s.index_heads * s.index_dim, false),
            weights: Linear::new(p, "weights_proj", s.width, s.index_heads, false),
            compressor: Compressor::new(p, s, SPARSE_RATIO, s.index_dim),
        })
    }

    /// Indices of the chosen rows `[batch, tokens, k]`.
    pub fn choose(
        &self,
        t: &Tape<'_>,
        (x, low): (Var, Var),
        rope: &TailRope,
        offset: u32,
        cache: &mut PoolCache,
    ) -> Option<Var> {
        let (b, n) = (i64::from(t.dim(x, 0)), t.dim(x, 1));
        let pooled = self.compressor.forward(t, x, offset, cache)?;
        let q = self.q.forward(t, low);
        let q = t.reshape(q, &[b, i64::from(n), self.heads as i64, self.dim as i64]);
        let q = t.astype(rope.forward(t, t.transpose(q, &[0, 2, 1, 3]), offset, false), DType::F32);
        let keys = t.astype(t.swapaxes(t.expand_dims(pooled, &[1]), -1, -2), DType::F32);
        let scores = t.binary(Binary::Maximum, t.matmul(q, keys), 0i64);
        let scores = t.mul(scores, (self.dim as f64).powf(-0.5));
        let weights = t.astype(self.weights.forward(t, x), DType::F32);
        let weights = t.mul(weights, (self.heads as f64).powf(-0.5));
        let scores = t.mul(scores, t.expand_dims(t.swapaxes(weights, -1, -2), &[-1]));
        let mut scores = t.sum(scores, 1, false);
        if let Some(mask) = pool_mask(t, n, offset, pooled, SPARSE_RATIO) {
            scores = t.select(t.expand_dims(mask, &[0]), scores, f64::from(f32::MIN));
        }
        let k = self.topk.min(t.dim(pooled, 1));
        let order = t.argpartition(t.neg(scores), i64::from(k) - 1, -1);
        Some(t.slice(order, -1, 0, k))
    }
}

/// `[tokens, rows]`: true where a query may see a pooled row; `None` for single tokens.
pub fn pool_mask(t: &Tape<'_>, n: u32, offset: u32, pooled: Var, ratio: u64) -> Option<Var> {
    if n == 1 {
        return None;
    }
    let rows = t.arange(0, t.dim(pooled, 1));
    let queries = t.arange(offset.saturating_add(1), offset.saturating_add(n).saturating_add(1));
    let closed = t.binary(Binary::FloorDivide, t.expand_dims(queries, &[1]), ratio as i64);
    Some(t.binary(Binary::Less, rows, closed))
}
