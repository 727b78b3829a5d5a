//! The indexer of DeepSeek-V4.1: chooses the compressed rows that each query reads.

use super::deepseek_v41_attention::DeepseekV41AttentionSettings;
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
pub struct Chosen {
    /// Rows per query `[batch, tokens, k]`, -1 for none.
    pub indices: Var,
    /// Rows that later indexers may choose.
    pub candidates: Option<Var>,
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
    pub fn keys(&self, t: &Tape<'_>, pooled: Var) -> Var {
        match &self.keys {
            Some((k, norm)) => norm.forward(t, k.forward(t, pooled)),
            None => t.fail("an indexer without keys of its own"),
        }
    }

    /// Chooses rows by the keys `index_keys [batch, rows, width]`, for the layer input `x` and its low-rank queries.
    pub fn choose(
        &self,
        t: &Tape<'_>,
        (x, low): (Var, Var),
        (index_keys, candidates): (Option<Var>, Option<Var>),
        start: u32,
        rotate: impl FnOnce(&Tape<'_>, Var) -> Var,
    ) -> Chosen {
        let (batch, n) = (t.dim(x, 0), t.dim(x, 1));
        let Some(keys) = index_keys else {
            let indices = t.full(Shape::new(&[batch, n, 0]), 0.0, DType::I32);
            return Chosen { indices, candidates };
        };
        let rows = t.dim(keys, 1);
        let mut scores = self.scores(t, x, low, keys, rotate);
        let ends = t.add(t.arange(0, n), i64::from(start) + 1);
        let ends = t.expand_dims(t.binary(Binary::FloorDivide, ends, self.ratio), &[1]);
        let visible = t.binary(Binary::Less, t.expand_dims(t.arange(0, rows), &[0]), ends);
        scores = t.select(t.expand_dims(visible, &[0]), scores, f64::NEG_INFINITY);
        let mut candidates = candidates;
        if let Some((blocks, size)) = self.candidates {
            candidates = Some(candidate_rows(t, scores, ends, blocks, size));
        } else if let Some(allowed) = candidates {
            scores = t.select(allowed, scores, f64::NEG_INFINITY);
        }
        let k = self.topk.min(rows);
        let chosen = t.slice(t.argpartition(t.neg(scores), i64::from(k) - 1, -1), -1, 0, k);
        let chosen = t.astype(chosen, DType::I32);
        let closed = t.binary(Binary::Less, chosen, t.expand_dims(ends, &[0]));
        Chosen { indices: t.select(closed, chosen, -1i64), candidates }
    }

    /// Scores `[batch, tokens, rows]` in float32.
    fn scores(
        &self,
        t: &Tape<'_>,
        x: Var,
        low: Var,
        keys: Var,
        rotate: impl FnOnce(&Tape<'_>, Var) -> Var,
    ) -> Var {
        let (b, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 1)));
        let q = t.reshape(self.q_b.forward(t, low), &[b, n, self.heads as i64, self.dim as i64]);
        let q = round_fp4(t, rotate(t, q), 32, Fp4Scale::Power);
        let keys = t.astype(keys, DType::F32);
        let weights = t.astype(self.weights.forward(t, x), DType::F32);
        let weights = t.mul(weights, (self.heads as f64).powf(-0.5));
        let q = t.astype(q, DType::F32);
        let scores = t.matmul(q, t.swapaxes(t.expand_dims(keys, &[1]), -1, -2));
        let scores = t.mul(t.binary(Binary::Maximum, scores, 0.0), (self.dim as f64).powf(-0.5));
        t.sum(t.mul(scores, t.expand_dims(weights, &[-1])), 2, false)
    }
}

/// The rows of the `blocks` best blocks of `size` rows; the newest block is always one of them.
fn candidate_rows(t: &Tape<'_>, scores: Var, ends: Var, blocks: u32, size: u32) -> Var {
    let (b, n) = (i64::from(t.dim(scores, 0)), i64::from(t.dim(scores, 1)));
    let rows = t.dim(scores, -1);
    let missing = rows.div_ceil(size) * size - rows;
    let padded = t.pad_with(scores, -1, (0, missing), f64::NEG_INFINITY);
    let best = t.reduce(Reduction::Max, t.reshape(padded, &[b, n, -1, i64::from(size)]), -1, false);
    let any = t.binary(Binary::Greater, ends, 0i64);
    let newest = t.binary(Binary::FloorDivide, t.sub(ends, 1i64), i64::from(size));
    let newest = t.select(any, newest, -1i64);
    let count = t.dim(best, -1);
    let best = t.select(t.binary(Binary::Equal, t.arange(0, count), newest), f64::INFINITY, best);
    let k = blocks.min(count);
    let chosen = t.slice(t.argpartition(t.neg(best), i64::from(k) - 1, -1), -1, 0, k);
    let reachable = t.take_along_axis(best, chosen, -1);
    let reachable = t.binary(Binary::Greater, reachable, f64::NEG_INFINITY);
    let none = t.full(t.shape(best), 0.0, DType::Bool);
    t.slice(t.repeat(t.put_along_axis(none, chosen, reachable, -1, false), size, -1), -1, 0, rows)
}
