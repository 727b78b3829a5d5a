//! An indexer that chooses blocks of a few tokens by the mean of their keys: Qwen4-Exp.

use crate::graph::cache::PoolCache;
use crate::graph::prelude::*;

/// Sizes of the indexer.
#[derive(Clone, Debug)]
pub struct BlockIndexSettings {
    width: u64,
    heads: u64,
    dim: u64,
    ratio: u64,
    budget: u64,
    eps: f64,
    rope: RopeModule,
}

impl BlockIndexSettings {
    /// Reads the keys that begin with `indexer_`.
    ///
    /// # Errors
    /// When the budget is no whole number of blocks.
    pub fn read(c: &Config, width: u64, eps: f64, rope: RopeModule) -> Result<Self, ConfigError> {
        let (ratio, budget) =
            (c.positive("indexer_compress_ratio")?, c.positive("indexer_budget")?);
        if budget % ratio != 0 {
            return Err(c.invalid("indexer_budget", "a multiple of indexer_compress_ratio"));
        }
        let (heads, dim) = (c.positive("indexer_n_heads")?, c.positive("indexer_head_dim")?);
        Ok(Self { width, heads, dim, ratio, budget, eps, rope })
    }

    /// The cache of the keys of full blocks.
    pub fn cache(&self) -> CacheKind {
        CacheKind::Pool { ratio: self.ratio as u32, width: self.dim as u32 }
    }
}

/// Chooses blocks by small heads over the means of their keys.
#[derive(Debug)]
pub struct BlockIndexer {
    settings: BlockIndexSettings,
    qk: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
}

impl BlockIndexer {
    /// Declares the tensors under `indexer`.
    pub fn new(p: &mut ParamBuilder, s: &BlockIndexSettings) -> Self {
        p.scope("indexer", |p| Self {
            qk: Linear::new(p, "index_qk_proj", s.width, (s.heads + 1) * s.dim, false),
            q_norm: RmsNorm::new(p, "q_layernorm", s.dim, s.eps),
            k_norm: RmsNorm::new(p, "k_layernorm", s.dim, s.eps),
            settings: s.clone(),
        })
    }

    /// Chosen blocks `[batch, tokens, blocks]`, or `None` while a single token reads all. The second part of the cache
    /// holds the keys, the third the means of full blocks.
    pub fn choose<'t>(&self, x: Var<'t>, cache: &mut Cache) -> Option<Var<'t>> {
        let t = x.tape();
        let s = &self.settings;
        let (b, n) = (x.dim(0), x.dim(1));
        let qk = self.qk.forward(x);
        let [query, keys] = qk.split(&[(s.heads * s.dim) as u32], -1);
        let shape = [i64::from(b), i64::from(n), s.heads as i64, s.dim as i64];
        let query = self.q_norm.forward(query.reshape(&shape)).transpose(&[0, 2, 1, 3]);
        let offset = cache.part(1).offset();
        let stored = keys.expand_dims(&[1]);
        let nothing = t.full(stored.shape().with(-1, 0), 0.0, stored.dtype());
        cache.part(1).update(stored, nothing);
        let Some(pool) = cache.part(2).of_class::<PoolCache>() else {
            return Some(t.fail("no pool for the indexer"));
        };
        let new = pool.accumulate([keys, keys], offset).map(|([keys, _], base)| {
            let groups = keys.unflatten(1, &[-1, s.ratio as i64]).astype(DType::F32);
            let means = self.k_norm.forward(groups.mean(2, false).astype(x.dtype()));
            let means = means.expand_dims(&[1]);
            s.rope.forward(means, base / s.ratio.max(1) as u32).squeeze(&[1])
        });
        let means = pool.append(t, new);
        let wanted = (s.budget / s.ratio) as u32;
        let full = means.map_or(0, |m| m.dim(1));
        if n == 1 && full <= wanted {
            return None;
        }
        let means = means.filter(|_| full > wanted)?;
        let query = s.rope.forward(query, offset).astype(DType::F32);
        let keys = means.expand_dims(&[1]).astype(DType::F32).swapaxes(-1, -2);
        let scores = query.matmul(keys).maximum(0i64).sum(1, false);
        let scores = scores / (s.dim as f64).sqrt();
        let order = scores.argpartition(-i64::from(wanted), -1);
        Some(order.last(-1, wanted).astype(DType::I32))
    }
}
