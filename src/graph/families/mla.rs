//! Multi-head latent attention as mlx-lm runs it for DeepSeek-V3 and relatives.
//!
//! The cache holds the latent of keys and values and the rotated key part. Prompts expand the latent to keys and
//! values; single tokens attend in the latent space and expand the result.

use super::common::Heads;
use super::frame::Mixer;
use crate::graph::cache::Cache;
use crate::graph::nn::{
    Linear, MultiLinear, RmsNorm, RopeModule, RopeScaling, yarn_attention_scale,
};
use crate::graph::params::ParamBuilder;
use crate::graph::tape::{Mask, Tape, Var};
use crate::model::{Config, ConfigError};

/// Dimensions of a latent attention layer.
#[derive(Clone, Copy, Debug)]
pub struct MlaDims {
    /// Hidden size of the model.
    pub width: u64,
    /// Attention heads.
    pub heads: u64,
    /// Rank of the query projection; `None` = a single matrix.
    pub q_rank: Option<u64>,
    /// Rank of the latent.
    pub kv_rank: u64,
    /// Features per head without rotation.
    pub nope: u64,
    /// Features per head with rotation.
    pub rope: u64,
    /// Value features per head.
    pub value: u64,
}

impl MlaDims {
    /// Reads the keys of the DeepSeek generation with DeepSeek-V3's defaults. A `q_lora_rank` that is present and
    /// `null` means a single query matrix.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn read(c: &Config) -> Result<Self, ConfigError> {
        let q_rank = if c.has("q_lora_rank") { c.opt_dim("q_lora_rank")? } else { Some(1536) };
        Ok(Self {
            width: c.dim_or("hidden_size", 4096)?,
            heads: c.dim_or("num_attention_heads", 32)?,
            q_rank,
            kv_rank: c.dim_or("kv_lora_rank", 512)?,
            nope: c.dim_or("qk_nope_head_dim", 128)?,
            rope: c.dim_or("qk_rope_head_dim", 64)?,
            value: c.dim_or("v_head_dim", 128)?,
        })
    }
}

/// The query path: one matrix, or two with a norm between them.
#[derive(Debug)]
pub enum Query {
    /// `q_proj`.
    Single(Linear),
    /// `q_a_proj`, `q_a_layernorm`, `q_b_proj`.
    Low(Linear, RmsNorm, Linear),
}

impl Query {
    /// Declares the query matrices.
    pub fn new(p: &mut ParamBuilder, d: &MlaDims, bias: bool, eps: f64) -> Self {
        let out = d.heads * (d.nope + d.rope);
        match d.q_rank {
            None => Self::Single(Linear::new(p, "q_proj", d.width, out, false)),
            Some(rank) => Self::Low(
                Linear::new(p, "q_a_proj", d.width, rank, bias),
                RmsNorm::new(p, "q_a_layernorm", rank, eps),
                Linear::new(p, "q_b_proj", rank, out, false),
            ),
        }
    }

    /// Queries `[batch, tokens, heads * features]`.
    pub fn forward(&self, t: &mut Tape<'_>, x: Var) -> Var {
        match self {
            Self::Single(q) => q.forward(t, x),
            Self::Low(a, norm, b) => {
                let q = a.forward(t, x);
                let q = norm.forward(t, q);
                b.forward(t, q)
            }
        }
    }
}

/// A latent attention layer.
#[derive(Debug)]
pub struct LatentAttention {
    dims: MlaDims,
    query: Query,
    kv_a: Linear,
    kv_norm: RmsNorm,
    embed_q: MultiLinear,
    unembed: MultiLinear,
    o: Linear,
    rope: RopeModule,
    scale: f64,
}

impl LatentAttention {
    /// Declares the tensors under `self_attn`.
    ///
    /// # Errors
    /// When the rope settings are unknown.
    pub fn new(c: &Config, p: &mut ParamBuilder, d: MlaDims) -> Result<Self, ConfigError> {
        let bias = c.bool_or("attention_bias", false)?;
        let scaling = RopeScaling::read(c, "rope_scaling")?;
        let base = c.number_or("rope_theta", 10_000.0)?;
        let max = Some(c.dim_or("max_position_embeddings", 2048)?);
        let rope = RopeModule::new(d.rope, base, true, scaling.as_ref(), max)?;
        let scale = yarn_attention_scale(((d.nope + d.rope) as f64).powf(-0.5), scaling.as_ref())?;
        Ok(p.scope("self_attn", |p| Self {
            dims: d,
            query: Query::new(p, &d, bias, 1e-6),
            kv_a: Linear::new(p, "kv_a_proj_with_mqa", d.width, d.kv_rank + d.rope, bias),
            kv_norm: RmsNorm::new(p, "kv_a_layernorm", d.kv_rank, 1e-6),
            embed_q: MultiLinear::new(p, "embed_q", d.nope, d.kv_rank, d.heads),
            unembed: MultiLinear::new(p, "unembed_out", d.kv_rank, d.value, d.heads),
            o: Linear::new(p, "o_proj", d.heads * d.value, d.width, bias),
            rope,
            scale,
        }))
    }
}

impl Mixer for LatentAttention {
    fn mix(&self, t: &mut Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let d = &self.dims;
        let (b, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 1)));
        let q = self.query.forward(t, x);
        let q = t.reshape(q, &[b, n, d.heads as i64, (d.nope + d.rope) as i64]);
        let q = t.transpose(q, &[0, 2, 1, 3]);
        let [q_nope, q_pe] = t.split(q, &[d.nope as u32], -1);
        let kv = self.kv_a.forward(t, x);
        let [latent, k_pe] = t.split(kv, &[d.kv_rank as u32], -1);
        let k_pe = t.reshape(k_pe, &[b, n, 1, d.rope as i64]);
        let k_pe = t.transpose(k_pe, &[0, 2, 1, 3]);
        let latent = self.kv_norm.forward(t, latent);
        let offset = cache.offset();
        let q_pe = self.rope.forward(t, q_pe, offset);
        let k_pe = self.rope.forward(t, k_pe, offset);
        let latent = t.expand_dims(latent, &[1]);
        let (latent, k_pe) = cache.update(t, latent, k_pe);
        let (latent, k_pe) = (latent.dense(t), k_pe.dense(t));

        let scores = position_scores(t, q_pe, k_pe, self.scale, mask);
        let single = n == 1;
        let (q, k, v) = if single {
            (self.embed_q.forward(t, q_nope, true), latent, latent)
        } else {
            let k = self.embed_q.forward(t, latent, false);
            (q_nope, k, self.unembed.forward(t, latent, true))
        };
        let mut y = t.attention(q, k, v, self.scale, Mask::Array(scores), None);
        if single {
            y = self.unembed.forward(t, y, true);
        }
        let y = Heads::join(t, y);
        self.o.forward(t, y)
    }
}

/// The scores of the rotated parts, with the mask folded in; attention adds them as a bias.
pub fn position_scores(t: &mut Tape<'_>, q_pe: Var, k_pe: Var, scale: f64, mask: Mask) -> Var {
    let q_pe = t.mul(q_pe, scale);
    let keys = t.swapaxes(k_pe, -1, -2);
    let scores = t.matmul(q_pe, keys);
    match mask {
        Mask::Array(m) => {
            let low = t.scalar(t.dtype(scores).lowest(), t.dtype(scores));
            t.select(m, scores, low)
        }
        Mask::None | Mask::Causal => scores,
    }
}
