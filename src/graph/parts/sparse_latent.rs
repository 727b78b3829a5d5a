//! Latent attention over the tokens that an indexer chooses: DeepSeek-V3.2 and relatives.
//!
//! The indexer scores all earlier tokens with a few small heads and keeps `index_topk` of them. Its keys stand in a
//! second cache.

use super::attention::tie;
use super::mla::{LatentAttention, Latents, MlaDims};
use crate::graph::prelude::*;

/// Latent attention with an indexer, or with what the indexer of an earlier layer chose.
#[derive(Debug)]
pub struct SparseLatent {
    latent: LatentAttention,
    indexer: Option<TokenIndexer>,
}

impl SparseLatent {
    /// Declares the tensors under `self_attn`; without `indexed` there is no indexer.
    ///
    /// # Errors
    /// When a value is out of range, or the queries have no low rank for the indexer to read.
    pub fn new(
        c: &Config,
        p: &mut ParamBuilder,
        d: MlaDims,
        indexed: bool,
    ) -> Result<Self, ConfigError> {
        let Some(q_rank) = d.q_rank else {
            return Err(c.invalid("q_lora_rank", "a rank; the indexer reads the low-rank queries"));
        };
        let scaling = RopeScaling::read(c, "rope_scaling")?;
        let base = c.number_or("rope_theta", 10_000.0)?;
        let max = Some(c.dim_or("max_position_embeddings", 2048)?);
        let traditional = c.bool_or("indexer_rope_interleave", false)?;
        let rope = RopeModule::new(d.rope, base, traditional, scaling.as_ref(), max)?;
        let latent = LatentAttention::new(c, p, d, 1e-6)?;
        let indexer = indexed
            .then(|| p.scope("self_attn", |p| TokenIndexer::new(c, p, d.width, q_rank, rope)))
            .transpose()?;
        Ok(Self { latent, indexer })
    }

    /// With attention sinks.
    #[must_use]
    pub fn with_sinks(self, sinks: ModuleId) -> Self {
        Self { latent: self.latent.with_sinks(sinks), ..self }
    }

    /// With an indexer whose cache holds keys only.
    #[must_use]
    pub fn with_bare_keys(self) -> Self {
        Self {
            indexer: self.indexer.map(|indexer| TokenIndexer { values: false, ..indexer }),
            ..self
        }
    }

    /// The heads' outputs `[batch, heads, tokens, width]`. `chosen` is what the last indexer chose, `None` while all
    /// tokens are read; one of its own replaces it.
    pub fn attend<'t>(
        &self,
        x: Var<'t>,
        mut mask: Mask<'t>,
        cache: &mut Cache,
        chosen: &mut Option<Var<'t>>,
    ) -> Var<'t> {
        let t = x.tape();
        let Latents { low, queries, rows: [latent, k_pe] } =
            self.latent.prepared(x, cache.offset());
        let (latent, k_pe) = cache.part(0).update(latent, k_pe);
        let mut rows = [latent.dense(t), k_pe.dense(t)];
        if let Some(indexer) = &self.indexer {
            *chosen = indexer.choose(x, low.unwrap_or(x), mask, cache.part(1));
            tie(t, cache);
        }
        match *chosen {
            Some(indices) if x.dim(1) == 1 => {
                rows = rows.map(|rows| pick(rows, indices));
                if let Mask::Array(m) = mask {
                    mask = Mask::Array(m.take_along_axis(indices, -1));
                }
            }
            Some(indices) => mask = Mask::Array(sparse_mask(indices, rows[0].dim(2), mask)),
            None => {}
        }
        self.latent.attend(queries, rows, mask)
    }

    /// The output projection of the heads side by side.
    pub fn project<'t>(&self, y: Var<'t>) -> Var<'t> {
        self.latent.project(y)
    }
}

/// Chooses the tokens that attention reads.
#[derive(Debug)]
struct TokenIndexer {
    heads: u64,
    dim: u64,
    chosen: u32,
    wq_b: Linear,
    wk: Linear,
    k_norm: LayerNorm,
    weights: Linear,
    rope: RopeModule,
    /// Whether its cache has values, zeros as large as the keys.
    values: bool,
}

impl TokenIndexer {
    /// Declares the tensors under `indexer`.
    fn new(
        c: &Config,
        p: &mut ParamBuilder,
        width: u64,
        q_rank: u64,
        rope: RopeModule,
    ) -> Result<Self, ConfigError> {
        let (heads, dim) = (c.dim_or("index_n_heads", 64)?, c.dim_or("index_head_dim", 128)?);
        let chosen = c.positive_or("index_topk", 2048)? as u32;
        Ok(p.scope("indexer", |p| Self {
            heads,
            dim,
            chosen,
            wq_b: Linear::new(p, "wq_b", q_rank, heads * dim, false),
            wk: Linear::new(p, "wk", width, dim, false),
            k_norm: LayerNorm::new(p, "k_norm", dim, 1e-5, true),
            weights: Linear::new(p, "weights_proj", width, heads, false),
            rope,
            values: true,
        }))
    }

    /// Indices of the chosen tokens `[batch, 1, tokens, chosen]`, or `None` while all tokens are read.
    fn choose<'t>(
        &self,
        x: Var<'t>,
        low: Var<'t>,
        mask: Mask<'t>,
        cache: &mut Cache,
    ) -> Option<Var<'t>> {
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let q = self.wq_b.forward(low).reshape(&[b, n, self.heads as i64, self.dim as i64]);
        let q = q.swapaxes(1, 2);
        let k = self.k_norm.forward(self.wk.forward(x)).reshape(&[b, 1, n, self.dim as i64]);
        let offset = cache.offset();
        let q = self.rope.forward(q, offset);
        let k = self.rope.forward(k, offset);
        let nothing = || x.tape().full(k.shape().with(-1, 0), 0.0, k.dtype());
        let (k, _) = if self.values { cache.update(k, k) } else { cache.update(k, nothing()) };
        let k = k.dense(x.tape());
        if let Some((keys, _)) = cache.stored(x.tape()).filter(|_| self.values) {
            cache.store(keys, keys.zeros_like());
        }
        if k.dim(2) <= self.chosen {
            return None;
        }
        let scores = q.matmul(k.swapaxes(-1, -2)).maximum(0i64);
        let weights = self.weights.forward(x);
        let factor = (self.heads as f64).powf(-0.5) * (self.dim as f64).powf(-0.5);
        let weights = (weights * factor).swapaxes(-1, -2).expand_dims(&[-1]);
        let scores = scores * weights;
        let mut scores = if n > 1 { sum_heads(scores) } else { scores.sum(1, true) };
        if let Mask::Array(m) = mask {
            scores = m.select(scores, f64::NEG_INFINITY);
        }
        let order = scores.argpartition(-i64::from(self.chosen), -1);
        Some(order.last(-1, self.chosen))
    }
}

/// Python's `sum` over the heads, one after the other.
fn sum_heads(scores: Var<'_>) -> Var<'_> {
    let mut total = scores.slice(1, 0, 1) + 0i64;
    for h in 1..scores.dim(1) {
        total = total + scores.slice(1, h, h + 1);
    }
    total
}

/// The rows `indices` of `x [batch, 1, tokens, width]`.
fn pick<'t>(x: Var<'t>, indices: Var<'t>) -> Var<'t> {
    let rows = indices.at(2, 0).expand_dims(&[-1]);
    let rows = rows.broadcast_to(rows.shape().with(-1, x.dim(-1)));
    x.take_along_axis(rows, 2)
}

/// True where a query may see one of its chosen keys.
fn sparse_mask<'t>(indices: Var<'t>, keys: u32, mask: Mask<'t>) -> Var<'t> {
    let t = indices.tape();
    let nothing = t.full(indices.shape().with(-1, keys), 0.0, DType::Bool);
    let chosen = nothing.put_along_axis(indices, t.scalar(1.0, DType::Bool), -1, false);
    match mask {
        Mask::Array(m) => chosen & m,
        Mask::None | Mask::Causal => chosen,
    }
}
