//! The indexer of DeepSeek-V4.1: chooses the compressed rows that each query reads.

use super::deepseek_v41_settings::DeepseekV41AttentionSettings;
use crate::graph::nn::fake_quant::{Fp4Scale, round_fp4};
use crate::graph::prelude::*;

/// Small heads that score the compressed rows.
#[derive(Debug)]
pub struct DeepseekV41Indexer {
    heads: u64,
    dim: u64,
    topk: u32,
    ratio: i64,
    /// Blocks that later indexers are limited to, and their size, if this layer chooses them.
    candidates: Option<(u32, u32)>,
    is_source: bool,
    q_b: Linear,
    weights: Linear,
    keys: Option<(Linear, RmsNorm)>,
}

/// What an indexer chooses.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'t> {
    /// Rows per query `[batch, tokens, k]`, -1 for none.
    pub indices: Var<'t>,
    /// Rows that later indexers may choose.
    pub candidates: Option<Var<'t>>,
}

impl DeepseekV41Indexer {
    /// Declares the tensors of layer `i` under `indexer`.
    pub fn new(p: &mut ParamBuilder, s: &DeepseekV41AttentionSettings, i: u64) -> Self {
        let is_source = s.candidate_source == Some(i);
        p.scope("indexer", |p| Self {
            heads: s.index_heads,
            dim: s.index_dim,
            topk: s.index_topk as u32,
            ratio: s.ratio(i) as i64,
            candidates: (is_source && s.candidate_blocks > 0)
                .then_some((s.candidate_blocks as u32, s.candidate_block as u32)),
            is_source,
            q_b: Linear::new(p, "q_b_proj", s.q_rank, s.index_heads * s.index_dim, false),
            weights: Linear::new(p, "weights_proj", s.width, s.index_heads, false),
            keys: s.is_kv_source(i).then(|| {
                let k = Linear::new(p, "k_proj", s.head_dim, s.index_dim, false);
                (k, RmsNorm::new(p, "k_norm", s.index_dim, s.eps))
            }),
        })
    }

    /// Whether later indexers are limited to what this one passes on.
    pub fn is_candidate_source(&self) -> bool {
        self.is_source
    }

    /// Keys of pooled rows, before the rotation.
    pub fn keys<'t>(&self, pooled: Var<'t>) -> Var<'t> {
        match &self.keys {
            Some((k, norm)) => norm.forward(k.forward(pooled)),
            None => pooled.tape().fail("an indexer without keys of its own"),
        }
    }

    /// Chooses rows by the keys `index_keys [batch, rows, width]`, for the layer input `x` and its low-rank queries.
    pub fn choose<'t>(
        &self,
        (x, low): (Var<'t>, Var<'t>),
        (index_keys, candidates): (Option<Var<'t>>, Option<Var<'t>>),
        start: u32,
        rotate: impl FnOnce(Var<'t>) -> Var<'t>,
    ) -> Chosen<'t> {
        let t = x.tape();
        let (batch, n) = (x.dim(0), x.dim(1));
        let Some(keys) = index_keys else {
            let indices = t.full(Shape::new(&[batch, n, 0]), 0.0, DType::I32);
            return Chosen { indices, candidates };
        };
        let rows = keys.dim(1);
        let mut scores = self.scores(x, low, keys, rotate);
        let ends = t.arange(0, n) + (i64::from(start) + 1);
        let ends = ends.floor_divide(self.ratio).expand_dims(&[1]);
        let visible = t.arange(0, rows).expand_dims(&[0]).less(ends);
        scores = visible.expand_dims(&[0]).select(scores, f64::NEG_INFINITY);
        let mut candidates = candidates;
        if let Some((blocks, size)) = self.candidates {
            candidates = Some(candidate_rows(scores, ends, blocks, size));
        } else if let Some(allowed) = candidates {
            scores = allowed.select(scores, f64::NEG_INFINITY);
        }
        let k = self.topk.min(rows);
        let chosen = (-scores).argpartition(i64::from(k) - 1, -1).slice(-1, 0, k);
        let chosen = chosen.astype(DType::I32);
        let closed = chosen.less(ends.expand_dims(&[0]));
        Chosen { indices: closed.select(chosen, -1i64), candidates }
    }

    /// Scores `[batch, tokens, rows]` in float32.
    fn scores<'t>(
        &self,
        x: Var<'t>,
        low: Var<'t>,
        keys: Var<'t>,
        rotate: impl FnOnce(Var<'t>) -> Var<'t>,
    ) -> Var<'t> {
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let q = self.q_b.forward(low).reshape(&[b, n, self.heads as i64, self.dim as i64]);
        let q = round_fp4(rotate(q), 32, Fp4Scale::Power);
        let keys = keys.astype(DType::F32);
        let weights = self.weights.forward(x).astype(DType::F32) * (self.heads as f64).powf(-0.5);
        let q = q.astype(DType::F32);
        let scores = q.matmul(keys.expand_dims(&[1]).swapaxes(-1, -2));
        let scores = scores.maximum(0.0) * (self.dim as f64).powf(-0.5);
        (scores * weights.expand_dims(&[-1])).sum(2, false)
    }
}

/// The rows of the `blocks` best blocks of `size` rows; the newest block is always one of them.
fn candidate_rows<'t>(scores: Var<'t>, ends: Var<'t>, blocks: u32, size: u32) -> Var<'t> {
    let t = scores.tape();
    let (b, n) = (i64::from(scores.dim(0)), i64::from(scores.dim(1)));
    let rows = scores.dim(-1);
    let missing = rows.div_ceil(size) * size - rows;
    let padded = scores.pad_with(-1, (0, missing), f64::NEG_INFINITY);
    let best = padded.reshape(&[b, n, -1, i64::from(size)]).reduce(Reduction::Max, -1, false);
    let any = ends.greater(0i64);
    let newest = (ends - 1i64).floor_divide(i64::from(size));
    let newest = any.select(newest, -1i64);
    let count = best.dim(-1);
    let best = t.arange(0, count).equal(newest).select(f64::INFINITY, best);
    let k = blocks.min(count);
    let chosen = (-best).argpartition(i64::from(k) - 1, -1).slice(-1, 0, k);
    let reachable = best.take_along_axis(chosen, -1).greater(f64::NEG_INFINITY);
    let none = t.full(best.shape(), 0.0, DType::Bool);
    none.put_along_axis(chosen, reachable, -1, false).repeat(size, -1).slice(-1, 0, rows)
}
