//! Pooled rows of DeepSeek-V4: one row per group of tokens, and the indexer that chooses among them.

use super::deepseek_v4_settings::{DeepseekV4AttentionSettings, SPARSE_RATIO};
use super::scores::{Order, best};
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
    pub fn forward<'t>(&self, x: Var<'t>, offset: u32, inverse: bool) -> Var<'t> {
        let dims = x.dim(-1);
        let still = (dims as usize / 2).saturating_sub(self.frequencies.len());
        let sign = if inverse { -1.0 } else { 1.0 };
        let values = std::iter::repeat_n(f64::INFINITY, still)
            .chain(self.frequencies.iter().map(|f| sign * f))
            .collect();
        let table = x.tape().table(&FrequencyTable::Given { values, dtype: DType::F32 });
        let rope = Rope { dims, traditional: true, base: None, scale: 1.0, offset };
        x.rope(rope, None, Some(table))
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
    pub fn forward<'t>(&self, x: Var<'t>, offset: u32, cache: &mut PoolCache) -> Option<Var<'t>> {
        let t = x.tape();
        let new = [self.kv.forward(x), self.gate.forward(x)];
        let rows = cache.accumulate(new, offset).map(|(ready, base)| {
            let [kv, gate] = ready.map(|v| v.unflatten(1, &[-1, self.ratio as i64]));
            let ape = t.weight(self.ape);
            let pooled = if self.ratio == SPARSE_RATIO {
                pool_overlapping(kv, gate, ape)
            } else {
                pool(kv, gate, ape)
            };
            let pooled = self.norm.forward(pooled).expand_dims(&[1]);
            self.rope.forward(pooled, base / self.ratio as u32, false).squeeze(&[1])
        });
        cache.append(t, rows)
    }
}

/// `_simple_compress_kv`: one compiled function over `[batch, groups, tokens, width]`.
fn pool<'t>(kv: Var<'t>, gate: Var<'t>, ape: Var<'t>) -> Var<'t> {
    kv.compiled(|kv| {
        let weights = (gate.astype(DType::F32) + ape).softmax_over(-2, false);
        (kv * weights.astype(kv.dtype())).sum(-2, false)
    })
}

/// `_overlap_compress_kv`: the first half of the features comes from the group before.
fn pool_overlapping<'t>(kv: Var<'t>, gate: Var<'t>, ape: Var<'t>) -> Var<'t> {
    kv.compiled(|kv| {
        let gate = gate + ape.astype(gate.dtype());
        (shifted(kv, 0.0) * shifted(gate, f64::NEG_INFINITY).softmax_over(-2, true)).sum(-2, false)
    })
}

/// Puts the first half of the features of each group beside the second half of the next one.
fn shifted(x: Var<'_>, filling: f64) -> Var<'_> {
    let (shape, dtype) = (x.shape(), x.dtype());
    let first = x.tape().full(shape.with(1, 1).with(3, shape.dim(3) / 2), filling, dtype);
    let [a, b] = x.split_equal(-1);
    let a = a.slice(1, 0, shape.dim(1).saturating_sub(1));
    let a = concat([first, a], 1);
    concat([a, b], 2)
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
    pub fn choose<'t>(
        &self,
        (x, low): (Var<'t>, Var<'t>),
        rope: &TailRope,
        offset: u32,
        cache: &mut PoolCache,
    ) -> Option<Var<'t>> {
        let (b, n) = (i64::from(x.dim(0)), x.dim(1));
        let pooled = self.compressor.forward(x, offset, cache)?;
        let q = self.q.forward(low).reshape(&[b, i64::from(n), self.heads as i64, self.dim as i64]);
        let q = rope.forward(q.transpose(&[0, 2, 1, 3]), offset, false).astype(DType::F32);
        let keys = pooled.expand_dims(&[1]).swapaxes(-1, -2).astype(DType::F32);
        let scores = q.matmul(keys).maximum(0i64) * (self.dim as f64).powf(-0.5);
        let weights = self.weights.forward(x).astype(DType::F32) * (self.heads as f64).powf(-0.5);
        let scores = scores * weights.swapaxes(-1, -2).expand_dims(&[-1]);
        let mut scores = scores.sum(1, false);
        if let Some(mask) = pool_mask(n, offset, pooled, SPARSE_RATIO) {
            scores = mask.expand_dims(&[0]).select(scores, f64::from(f32::MIN));
        }
        let k = self.topk.min(pooled.dim(1));
        Some(best(scores, k.into(), Order::Descending))
    }
}

/// `[tokens, rows]`: true where a query may see a pooled row; `None` for single tokens.
pub fn pool_mask(n: u32, offset: u32, pooled: Var<'_>, ratio: u64) -> Option<Var<'_>> {
    let t = pooled.tape();
    if n == 1 {
        return None;
    }
    let rows = t.arange(0, pooled.dim(1));
    let queries = t.arange(offset.saturating_add(1), offset.saturating_add(n).saturating_add(1));
    let closed = queries.expand_dims(&[1]).floor_divide(ratio as i64);
    Some(rows.less(closed))
}
