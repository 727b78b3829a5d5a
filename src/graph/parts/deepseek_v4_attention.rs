//! Attention of DeepSeek-V4: a sliding window, and in compressed layers pooled rows of all older tokens, of which an
//! indexer chooses some once there are many.

use super::deepseek_v4_pool::{Compressor, PoolIndexer, TailRope, pool_mask};
use super::deepseek_v4_settings::{DeepseekV4AttentionSettings, SPARSE_RATIO};
use crate::graph::cache::PoolCache;
use crate::graph::prelude::*;

/// An attention layer.
#[derive(Debug)]
pub struct DeepseekV4Attention {
    heads: u64,
    head_dim: u64,
    o_groups: u64,
    eps: f64,
    ratio: u64,
    q_a: Linear,
    q_norm: RmsNorm,
    q_b: Linear,
    kv: Linear,
    kv_norm: RmsNorm,
    o_a: MultiLinear,
    o_b: Linear,
    sinks: ModuleId,
    rope: TailRope,
    compressor: Option<Compressor>,
    indexer: Option<PoolIndexer>,
}

impl DeepseekV4Attention {
    /// Declares the tensors of layer `i` under `attn`.
    pub fn new(p: &mut ParamBuilder, s: &DeepseekV4AttentionSettings, i: u64) -> Self {
        let ratio = s.ratio(i);
        let values = s.heads * s.head_dim;
        p.scope("attn", |p| Self {
            heads: s.heads,
            head_dim: s.head_dim,
            o_groups: s.o_groups,
            eps: s.eps,
            ratio,
            q_a: Linear::new(p, "wq_a", s.width, s.q_rank, false),
            q_norm: RmsNorm::new(p, "q_norm", s.q_rank, s.eps),
            q_b: Linear::new(p, "wq_b", s.q_rank, values, false),
            kv: Linear::new(p, "wkv", s.width, s.head_dim, false),
            kv_norm: RmsNorm::new(p, "kv_norm", s.head_dim, s.eps),
            o_a: MultiLinear::new(p, "wo_a", values / s.o_groups, s.o_rank, s.o_groups),
            o_b: Linear::new(p, "wo_b", s.o_groups * s.o_rank, s.width, s.o_bias),
            sinks: p.raw_f32("attn_sink", &[s.heads]),
            rope: TailRope::new(if ratio == 0 { &s.plain } else { &s.compressed }, 1),
            compressor: (ratio > 0).then(|| Compressor::new(p, s, ratio, s.head_dim)),
            indexer: (ratio == SPARSE_RATIO).then(|| PoolIndexer::new(p, s)),
        })
    }

    /// The output for `x [batch, tokens, width]`.
    pub fn forward<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let (heads, dim) = (self.heads as i64, self.head_dim as i64);
        let offset = cache.part(0).offset();
        let low = self.q_norm.forward(self.q_a.forward(x));
        let q = self.q_b.forward(low).reshape(&[b, n, heads, dim]);
        let q = q.rms_norm(None, self.eps).transpose(&[0, 2, 1, 3]);
        let q = self.rope.forward(q, offset, false);
        let kv = self.kv_norm.forward(self.kv.forward(x)).reshape(&[b, 1, n, dim]);
        let kv = self.rope.forward(kv, offset, false);
        let nothing = t.full(kv.shape().with(3, 0), 0.0, DType::F32);
        let (kv, _) = cache.part(0).update(kv, nothing);
        let kv = kv.dense(t);
        let y = self.attend((x, low), (q, kv), offset, mask, cache);
        let y = self.rope.forward(y, offset, true).reshape(&[b, self.o_groups as i64, -1, n, dim]);
        let y = self.o_a.forward(y.transpose(&[0, 1, 3, 2, 4]).flatten(-2, -1), true);
        self.o_b.forward(y.transpose(&[0, 2, 1, 3]).flatten(-2, -1))
    }

    fn attend<'t>(
        &self,
        (x, low): (Var<'t>, Var<'t>),
        (q, kv): (Var<'t>, Var<'t>),
        offset: u32,
        mask: Mask<'t>,
        cache: &mut Cache,
    ) -> Var<'t> {
        let t = x.tape();
        let n = x.dim(1);
        let scale = (self.head_dim as f64).powf(-0.5);
        let mut pooled = None;
        if let (Some(compressor), Some(pool)) =
            (&self.compressor, cache.part(1).of_class::<PoolCache>())
        {
            pooled = compressor.forward(x, offset, pool);
        }
        let visible = pooled.and_then(|p| pool_mask(n, offset, p, self.ratio));
        let mut chosen = None;
        let mut limit = u32::MAX;
        if let (Some(indexer), Some(pool)) = (&self.indexer, cache.part(2).of_class::<PoolCache>())
        {
            chosen = indexer.choose((x, low), &self.rope, offset, pool);
            limit = indexer.topk;
        }
        let sinks = t.weight(self.sinks).astype(q.dtype());
        match (pooled, chosen) {
            (None, _) => {
                let plain = self.compressor.is_none() || self.indexer.is_some();
                let keys = kv.dim(2);
                let mask = if plain { mask } else { extended(t, mask, None, keys) };
                q.attention(kv, kv, scale, mask, Some(sinks))
            }
            (Some(pooled), Some(chosen)) if pooled.dim(1) > limit => {
                let visible = visible
                    .map(|v| v.expand_dims(&[0]).take_along_axis(chosen, 2).expand_dims(&[1]));
                sparse_attention((q, kv), (pooled, chosen), (mask, visible), scale, sinks)
            }
            (Some(pooled), _) => {
                let rows = pooled.expand_dims(&[1]);
                let kv = concat([kv, rows], 2);
                q.attention(kv, kv, scale, extended(t, mask, visible, kv.dim(2)), Some(sinks))
            }
        }
    }
}

/// The mask of the window with that of the pooled rows beside it.
fn extended<'t>(t: &'t Tape<'t>, mask: Mask<'t>, visible: Option<Var<'t>>, keys: u32) -> Mask<'t> {
    let Mask::Array(m) = mask else { return mask };
    let m = if m.shape().rank() == 2 { m.expand_dims(&[0, 1]) } else { m };
    let shape = m.shape().with(3, keys.saturating_sub(m.dim(3)));
    let rest = match visible {
        Some(v) => v.broadcast_to(shape),
        None => t.full(shape, 1.0, DType::Bool),
    };
    Mask::Array(concat([m, rest], -1))
}

/// `_sparse_pooled_attention`: every query over the window and its own pooled rows, with a common normalizer.
fn sparse_attention<'t>(
    (q, kv): (Var<'t>, Var<'t>),
    (pooled, chosen): (Var<'t>, Var<'t>),
    (mask, visible): (Mask<'t>, Option<Var<'t>>),
    scale: f64,
    sinks: Var<'t>,
) -> Var<'t> {
    let (shape, dtype) = (q.shape(), q.dtype());
    let index = chosen.expand_dims(&[1, -1]);
    let rows = pooled.expand_dims(&[1, 2]);
    let wide = Shape::new(&[shape.dim(0), 1, shape.dim(2), pooled.dim(1), shape.dim(3)]);
    let rows = rows.broadcast_to(wide);
    let index = index.broadcast_to(index.shape().with(-1, shape.dim(3)));
    let rows = rows.take_along_axis(index, 3);

    let q = q * scale;
    let near = q.matmul(kv.swapaxes(-1, -2));
    let near = match mask {
        Mask::Array(m) => masked(near, Some(m)),
        Mask::None | Mask::Causal => near,
    };
    let total = near.logsumexp();
    let rows = rows.squeeze(&[1]);
    let far = q.transpose(&[0, 2, 1, 3]).matmul(rows.swapaxes(-1, -2));
    let far = masked(far.transpose(&[0, 2, 1, 3]), visible);
    let total = total.logaddexp(far.logsumexp());
    let sinks = sinks.expand_dims(&[0, 2, 3]);
    let [near, far] = sinks.compiled(|sinks| {
        let total = total.logaddexp(sinks);
        [near, far].map(|scores| (scores - total).exp())
    });
    let y = near.matmul(kv);
    let far = far.transpose(&[0, 2, 1, 3]).matmul(rows).transpose(&[0, 2, 1, 3]);
    (y + far).astype(dtype)
}

/// Scores with the lowest value where the mask is false.
fn masked<'t>(scores: Var<'t>, mask: Option<Var<'t>>) -> Var<'t> {
    match mask {
        Some(m) => m.select(scores, f64::from(f32::MIN)),
        None => scores,
    }
}
