//! An indexer that pools groups of tokens and chooses whole groups: GLM-5-Next.

use super::scores::{Order, best};
use crate::graph::cache::PoolCache;
use crate::graph::prelude::*;

/// Queries whose scores are held at once.
const CHUNK: u32 = 512;

/// Sizes of the indexer.
#[derive(Clone, Copy, Debug)]
pub struct GroupIndexSettings {
    width: u64,
    heads: u64,
    dim: u64,
    group: u64,
    topk: u64,
}

impl GroupIndexSettings {
    /// Reads `index_n_heads`, `index_head_dim`, `index_kpool` and `index_topk`.
    ///
    /// # Errors
    /// When the chosen tokens are no whole number of groups.
    pub fn read(c: &Config, width: u64) -> Result<Self, ConfigError> {
        let (group, topk) = (c.positive("index_kpool")?, c.positive("index_topk")?);
        if topk % group != 0 {
            return Err(c.invalid("index_topk", "a multiple of index_kpool"));
        }
        let (heads, dim) = (c.positive("index_n_heads")?, c.positive("index_head_dim")?);
        Ok(Self { width, heads, dim, group, topk })
    }

    /// The cache of the pooled keys.
    pub fn cache(&self) -> CacheKind {
        CacheKind::Pool { ratio: self.group as u32, width: self.dim as u32 }
    }
}

/// Chooses groups of tokens by small heads over pooled keys.
#[derive(Debug)]
pub struct GroupIndexer {
    settings: GroupIndexSettings,
    wq_b: Linear,
    wk: Linear,
    k_norm: LayerNorm,
    weights: Linear,
    ape: ModuleId,
    gate: ModuleId,
}

impl GroupIndexer {
    /// Declares the tensors under `indexer`.
    pub fn new(p: &mut ParamBuilder, s: GroupIndexSettings, q_rank: u64) -> Self {
        p.scope("indexer", |p| Self {
            settings: s,
            wq_b: Linear::new(p, "wq_b", q_rank, s.heads * s.dim, false),
            wk: Linear::new(p, "wk", s.width, s.dim, false),
            k_norm: LayerNorm::new(p, "k_norm", s.dim, 1e-6, true),
            weights: Linear::new(p, "weights_proj", s.width, s.heads, false),
            ape: p.raw_f32("index_kpool_compress_ape", &[s.group, s.dim]),
            gate: p.raw_f32("index_kpool_compress_gate", &[s.dim, s.width]),
        })
    }

    /// Positions `[batch, tokens, chosen]` that every query reads, -1 for none: whole groups, then the open one. The
    /// second part of the cache holds which tokens count, the third the pooled keys.
    pub fn choose<'t>(
        &self,
        (x, low): (Var<'t>, Var<'t>),
        offset: u32,
        cache: &mut Cache,
    ) -> Var<'t> {
        let t = x.tape();
        let s = &self.settings;
        let (b, n) = (x.dim(0), x.dim(1));
        let k = self.k_norm.forward(self.wk.forward(x));
        let w = t.weight(self.gate).transpose(&[1, 0]);
        let gates = x.astype(DType::F32).matmul(w).astype(k.dtype());
        let counts = t.full(Shape::new(&[b, 1, n, 1]), 1.0, DType::Bool);
        let nothing = t.full(Shape::new(&[b, 1, n, 0]), 0.0, DType::Bool);
        cache.part(1).update(counts, nothing);
        let Some(pool) = cache.part(2).of_class::<PoolCache>() else {
            return t.fail("no pool for the indexer");
        };
        let ready = pool.accumulate([k, gates], offset);
        let rows = ready.map(|(ready, _)| self.pooled(ready));
        let pooled = pool.append(t, rows);
        let mut all: Vec<Var<'t>> = Vec::new();
        let groups = (s.topk / s.group) as u32;
        if let Some(pooled) = pooled {
            let selected = if pooled.dim(1) > groups {
                self.best(x, low, pooled, groups)
            } else {
                let every = t.arange(0, pooled.dim(1)).expand_dims(&[0, 1]);
                every.broadcast_to(Shape::new(&[b, n, pooled.dim(1)]))
            };
            let order = selected.argsort(-1);
            let selected = selected.take_along_axis(order, -1).expand_dims(&[-1]);
            let tokens = selected * (s.group as i64) + t.arange(0, s.group as u32);
            all.push(tokens.reshape(&[i64::from(b), i64::from(n), -1]));
        }
        let chosen = all.first().map_or(0, |v| v.dim(-1));
        let missing = (s.topk as u32).saturating_sub(chosen);
        let none = |width: u32| t.full(Shape::new(&[b, n, width]), -1.0, DType::I32);
        if missing > 0 {
            all.push(none(missing));
        }
        if s.group > 1 {
            all.push(none(s.group as u32 - 1));
        }
        t.concat(&all, -1).astype(DType::I32)
    }

    /// Groups in full, each as one row.
    fn pooled<'t>(&self, ready: [Var<'t>; 2]) -> Var<'t> {
        let [keys, gates] = ready.map(|v| v.unflatten(1, &[-1, self.settings.group as i64]));
        let logits = gates.astype(DType::F32) + keys.tape().weight(self.ape);
        (keys * logits.softmax_over(2, true).astype(keys.dtype())).sum(2, false)
    }

    /// The groups with the highest scores, for every query.
    fn best<'t>(&self, x: Var<'t>, low: Var<'t>, pooled: Var<'t>, groups: u32) -> Var<'t> {
        let s = &self.settings;
        let (b, n) = (i64::from(x.dim(0)), x.dim(1));
        let q = self.wq_b.forward(low).reshape(&[b, i64::from(n), s.heads as i64, s.dim as i64]);
        let weights = self.weights.forward(x).astype(DType::F32) * (s.heads as f64).powf(-0.5);
        let keys = pooled.expand_dims(&[1]).astype(DType::F32).swapaxes(-1, -2);
        let scale = (s.dim as f64).powf(-0.5);
        let chunks: Vec<Var<'t>> = (0..n)
            .step_by(CHUNK as usize)
            .map(|start| {
                let end = n.min(start.saturating_add(CHUNK));
                let scores = q.slice(1, start, end).astype(DType::F32).matmul(keys).maximum(0i64);
                let weights = weights.slice(1, start, end) * scale;
                let scores = (scores * weights.expand_dims(&[-1])).sum(2, false);
                best(scores, u64::from(groups), Order::Descending).astype(DType::I32)
            })
            .collect();
        match chunks.as_slice() {
            [one] => *one,
            _ => x.tape().concat(&chunks, 1),
        }
    }
}
