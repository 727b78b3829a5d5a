//! Multi-head latent attention as mlx-lm runs it for DeepSeek-V3 and relatives.
//!
//! The cache holds the latent of keys and values and the rotated key part. Prompts expand the latent to keys and
//! values; single tokens attend in the latent space and expand the result.

use super::attention::OutputGate;
use super::block::Mixer;
use crate::graph::prelude::*;

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

    /// Reads the same keys, all of which are required but `q_lora_rank`.
    ///
    /// # Errors
    /// When a key is missing or out of range.
    pub fn required(c: &Config, width: u64) -> Result<Self, ConfigError> {
        Ok(Self {
            width,
            heads: c.positive("num_attention_heads")?,
            q_rank: c.opt_dim("q_lora_rank")?,
            kv_rank: c.positive("kv_lora_rank")?,
            nope: c.positive("qk_nope_head_dim")?,
            rope: c.positive("qk_rope_head_dim")?,
            value: c.positive("v_head_dim")?,
        })
    }

    /// The attention scale: that of the head size, raised by the `mscale_all_dim` of the rope settings.
    ///
    /// # Errors
    /// When a value of the block is of the wrong kind.
    pub fn scale(&self, scaling: Option<&RopeScaling>) -> Result<f64, ConfigError> {
        let scale = ((self.nope + self.rope) as f64).powf(-0.5);
        let Some(scaling) = scaling else {
            return Ok(scale);
        };
        let all = scaling.values().number_or("mscale_all_dim", 0.0)?;
        let factor = scaling.values().number_or("factor", 1.0)?;
        let m = if all != 0.0 && factor > 1.0 { 0.1 * all * factor.ln() + 1.0 } else { 1.0 };
        Ok(scale * m * m)
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

    /// The low-rank queries, where there are any, and the queries `[batch, tokens, heads * features]`.
    pub fn steps<'t>(&self, x: Var<'t>) -> (Option<Var<'t>>, Var<'t>) {
        match self {
            Self::Single(q) => (None, q.forward(x)),
            Self::Low(a, norm, b) => {
                let low = norm.forward(a.forward(x));
                (Some(low), b.forward(low))
            }
        }
    }

    /// The queries alone.
    pub fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        self.steps(x).1
    }
}

/// What differs between the families.
#[derive(Clone, Debug)]
pub struct LatentSettings {
    /// Biases of `q_a_proj`, `kv_a_proj_with_mqa` and `o_proj`.
    pub bias: bool,
    /// Epsilon of the norms of the low-rank projections.
    pub eps: f64,
    /// Rotary embedding of the position part, if it turns.
    pub rope: Option<RopeModule>,
    /// Attention scale.
    pub scale: f64,
    /// Whether `g_proj` gates the output.
    pub gated: bool,
}

/// A latent attention layer.
#[derive(Debug)]
pub struct LatentAttention {
    dims: MlaDims,
    settings: LatentSettings,
    query: Query,
    kv_a: Linear,
    kv_norm: RmsNorm,
    embed_q: MultiLinear,
    unembed: MultiLinear,
    o: Linear,
    gate: Option<OutputGate>,
    /// Scores per head that take part in the softmax, in float32.
    sinks: Option<ModuleId>,
    /// Factors on the queries and on the latent.
    factors: Option<(f64, f64)>,
}

impl LatentAttention {
    /// Declares the tensors under `self_attn` with the keys of the DeepSeek generation; `eps` is that of the norms
    /// of the low-rank projections.
    ///
    /// # Errors
    /// When the rope settings are unknown.
    pub fn new(
        c: &Config,
        p: &mut ParamBuilder,
        d: MlaDims,
        eps: f64,
    ) -> Result<Self, ConfigError> {
        let scaling = RopeScaling::read(c, "rope_scaling")?;
        let base = c.number_or("rope_theta", 10_000.0)?;
        let max = Some(c.dim_or("max_position_embeddings", 2048)?);
        let settings = LatentSettings {
            bias: c.bool_or("attention_bias", false)?,
            eps,
            rope: Some(RopeModule::new(d.rope, base, true, scaling.as_ref(), max)?),
            scale: d.scale(scaling.as_ref())?,
            gated: false,
        };
        Ok(Self::with_settings(p, d, settings))
    }

    /// Declares the tensors under `self_attn`.
    pub fn with_settings(p: &mut ParamBuilder, d: MlaDims, s: LatentSettings) -> Self {
        Self::named(p, ["self_attn", "o_proj"], d, s)
    }

    /// Declares the tensors with other names of the layer and of the output projection.
    pub fn named(
        p: &mut ParamBuilder,
        [name, output]: [&str; 2],
        d: MlaDims,
        s: LatentSettings,
    ) -> Self {
        let values = d.heads * d.value;
        p.scope(name, |p| Self {
            dims: d,
            query: Query::new(p, &d, s.bias, s.eps),
            kv_a: Linear::new(p, "kv_a_proj_with_mqa", d.width, d.kv_rank + d.rope, s.bias),
            kv_norm: RmsNorm::new(p, "kv_a_layernorm", d.kv_rank, s.eps),
            embed_q: MultiLinear::new(p, "embed_q", d.nope, d.kv_rank, d.heads),
            unembed: MultiLinear::new(p, "unembed_out", d.kv_rank, d.value, d.heads),
            o: Linear::new(p, output, values, d.width, s.bias),
            gate: s
                .gated
                .then(|| OutputGate::Features(Linear::new(p, "g_proj", d.width, values, false))),
            settings: s,
            sinks: None,
            factors: None,
        })
    }

    /// Multiplies the queries and the latent by constants.
    #[must_use]
    pub fn with_factors(mut self, query: f64, latent: f64) -> Self {
        self.factors = Some((query, latent));
        self
    }

    /// Gates the output.
    #[must_use]
    pub fn with_gate(mut self, gate: OutputGate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Attention sinks.
    #[must_use]
    pub fn with_sinks(mut self, sinks: ModuleId) -> Self {
        self.sinks = Some(sinks);
        self
    }
}

/// What latent attention makes of new tokens.
#[derive(Clone, Copy)]
pub struct Latents<'t> {
    /// The low-rank queries, where there are any.
    pub low: Option<Var<'t>>,
    /// Queries `[batch, heads, tokens, width]` without position, and those that are rotated.
    pub queries: [Var<'t>; 2],
    /// Latent rows and rotated keys `[batch, 1, tokens, width]`, which are stored.
    pub rows: [Var<'t>; 2],
}

impl LatentAttention {
    /// Queries and rows of new tokens from position `offset` on.
    pub fn prepared<'t>(&self, x: Var<'t>, offset: u32) -> Latents<'t> {
        let d = &self.dims;
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let (low, q) = self.query.steps(x);
        let q = q.reshape(&[b, n, d.heads as i64, (d.nope + d.rope) as i64]);
        let mut q = q.transpose(&[0, 2, 1, 3]);
        if let Some((factor, _)) = self.factors {
            q = q * factor;
        }
        let [q_nope, q_pe] = q.split(&[d.nope as u32], -1);
        let [latent, k_pe] = self.kv_a.forward(x).split(&[d.kv_rank as u32], -1);
        let k_pe = k_pe.reshape(&[b, n, 1, d.rope as i64]).transpose(&[0, 2, 1, 3]);
        let mut latent = self.kv_norm.forward(latent);
        if let Some((_, factor)) = self.factors {
            latent = latent * factor;
        }
        let (q_pe, k_pe) = match &self.settings.rope {
            Some(rope) => (rope.forward(q_pe, offset), rope.forward(k_pe, offset)),
            None => (q_pe, k_pe),
        };
        Latents { low, queries: [q_nope, q_pe], rows: [latent.expand_dims(&[1]), k_pe] }
    }

    /// Keys and values of every head for stored latent rows.
    pub fn expanded<'t>(&self, latent: Var<'t>) -> [Var<'t>; 2] {
        let keys = self.embed_q.forward(latent, false);
        [keys, self.unembed.forward(latent, true)]
    }

    /// Attention of queries to stored rows, `[batch, heads, tokens, width]`. That of a single token is computed in the
    /// latent space.
    pub fn attend<'t>(
        &self,
        [q_nope, q_pe]: [Var<'t>; 2],
        [latent, k_pe]: [Var<'t>; 2],
        mask: Mask<'t>,
    ) -> Var<'t> {
        let scale = self.settings.scale;
        let scores = Mask::Array(position_scores(q_pe, k_pe, scale, mask));
        let sinks = |q: Var<'t>| self.sinks.map(|s| q.tape().weight(s).astype(q.dtype()));
        if q_nope.dim(2) == 1 {
            let q = self.embed_q.forward(q_nope, true);
            let y = q.attention(latent, latent, scale, scores, sinks(q));
            return self.unembed.forward(y, true);
        }
        let [k, v] = self.expanded(latent);
        q_nope.attention(k, v, scale, scores, sinks(q_nope))
    }

    /// The output projection of the heads side by side.
    pub fn project<'t>(&self, y: Var<'t>) -> Var<'t> {
        self.o.forward(y)
    }
}

impl Mixer for LatentAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let Latents { queries, rows: [latent, k_pe], .. } = self.prepared(x, cache.offset());
        let (latent, k_pe) = cache.update(latent, k_pe);
        let rows = [latent.dense(x.tape()), k_pe.dense(x.tape())];
        self.project(OutputGate::join(self.gate, self.attend(queries, rows, mask), x))
    }
}

/// The scores of the rotated parts, with the mask folded in; attention adds them as a bias.
pub fn position_scores<'t>(q_pe: Var<'t>, k_pe: Var<'t>, scale: f64, mask: Mask<'t>) -> Var<'t> {
    q_pe.tape().scores(|| position_score_steps(q_pe, k_pe, scale, mask))
}

fn position_score_steps<'t>(q_pe: Var<'t>, k_pe: Var<'t>, scale: f64, mask: Mask<'t>) -> Var<'t> {
    let scores = (q_pe * scale).matmul(k_pe.swapaxes(-1, -2));
    match mask {
        Mask::Array(m) => {
            m.select(scores, q_pe.tape().scalar(scores.dtype().lowest(), scores.dtype()))
        }
        Mask::None | Mask::Causal => scores,
    }
}
