//! Kimi K3: Kimi Delta Attention and gated latent attention, experts in a latent space, and residuals that mix the
//! sums of earlier blocks of layers (attention residuals).
//!
//! mlx-lm compiles the whole delta layer for single tokens and runs the residual mix as one Metal kernel.

use super::deepseek_v3::RoutedLayers;
use crate::graph::nn::activations::Situ;
use crate::graph::parts::kimi_delta::{KimiDelta, KimiDeltaDims};
use crate::graph::parts::kimi_moe::{KimiRouting, Scores, delta_layers, kimi_experts};
use crate::graph::parts::prelude::*;

/// The text model stands under `language_model`; its settings are in `text_config` or at the top.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = c.opt_object("text_config")?;
    let c = &text.as_ref().unwrap_or(c).clone().with_defaults(&[("num_hidden_layers", 93.into())]);
    p.scope("language_model", |p| build_text(c, p))
}

fn build_text(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    for (key, only) in [("hidden_act", "situ"), ("moe_router_activation_func", "sigmoid")] {
        if c.opt_str(key)?.is_some_and(|v| v != only) {
            return Err(c.invalid(key, format!("'{only}', the only one mlx-lm has")));
        }
    }
    if !c.bool_or("mla_use_nope", true)? {
        return Err(c.invalid("mla_use_nope", "true; mlx-lm has no rotation here"));
    }
    let s = Settings::read(c)?;
    let count = layer_count(c)?;
    let linear = c.object("linear_attn_config")?;
    let delta = KimiDeltaDims::read(&linear, s.width, None)?;
    let bound = linear.opt_number("gate_lower_bound")?;
    let full_gate = linear.bool_or("use_full_rank_gate", false)?;
    let is_delta = delta_layers(&linear, count)?;
    let (dims, latent) = latent_attention(c, &s)?;
    let routing = routing(c, &s)?;
    let routed = RoutedLayers::read(c, 0)?;
    let hidden = c.dim_or("intermediate_size", 33_792)?;
    let vocabulary = c.dim_or("vocab_size", 163_840)?;

    let o = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", false)?),
        eps: s.eps,
        max_context: Some(c.dim_or("max_position_embeddings", 1_048_576)?),
        ..Outline::new(s.width, count, vocabulary)
    };
    let mut decoder = o.sharing(
        p,
        |p, i| {
            let delta_layer = is_delta[i as usize];
            let layer = K3Layer {
                mixer: if delta_layer {
                    let layer = KimiDelta::joined(p, delta, s.eps, full_gate, bound);
                    LayerMixer::Delta(layer)
                } else {
                    LayerMixer::Latent(LatentAttention::with_settings(p, dims, latent.clone()))
                },
                mlp: match routing {
                    Some(r) if routed.at(i) => Box::new(kimi_experts(p, s.width, r)),
                    _ => {
                        let mlp = GatedMlp::up_first(p, "mlp", s.width, hidden, false);
                        let situ = s.situ;
                        Box::new(mlp.with_activation(move |gate, x| situ.apply(gate, x)))
                    }
                },
                input_norm: RmsNorm::new(p, "input_layernorm", s.width, s.eps),
                post_norm: RmsNorm::new(p, "post_attention_layernorm", s.width, s.eps),
                residual: s.block.map(|block| LayerResidual {
                    starts_block: i % block == 0,
                    attention: ResidualMix::new(p, "self_attention_res", &s),
                    mlp: ResidualMix::new(p, "mlp_res", &s),
                }),
            };
            let states = MaskRule::Recurrent(KimiDelta::JOINED_STATES);
            Ok(Place::new(if delta_layer { states } else { MaskRule::FullArray }, layer))
        },
        |call| (call.embedded, Blocks { raw: None }),
    )?;
    if s.block.is_some() {
        let mix = p.scope("model", |p| ResidualMix::new(p, "output_attn_res", &s));
        decoder.end = Some(Box::new(move |h, blocks| mix.apply(&blocks, h)));
    }
    let experts = routing.map(|r| r.experts);
    Ok(decoder
        .with_packing(QuantOverride::EightBit, &["mlp.gate"])
        .with_packing(QuantOverride::Keep, &["res_proj"])
        .with_experts(experts)
        .built())
}

struct Settings {
    width: u64,
    eps: f64,
    situ: Situ,
    /// Layers of a block of the attention residuals, if the model has them.
    block: Option<u64>,
}

impl Settings {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let beta = c.opt_number("activation_situ_beta")?.filter(|&b| b != 0.0).unwrap_or(1.0);
        let block = match c.opt_dim("attn_res_block_size")? {
            Some(0) => {
                return Err(c.invalid("attn_res_block_size", "a whole number of at least 1"));
            }
            block => block,
        };
        Ok(Self {
            width: c.dim_or("hidden_size", 7168)?,
            eps: c.number_or("rms_norm_eps", 1e-5)?,
            situ: Situ { beta, linear_beta: c.opt_number("activation_situ_linear_beta")? },
            block,
        })
    }
}

fn latent_attention(c: &Config, s: &Settings) -> Result<(MlaDims, LatentSettings), ConfigError> {
    let c = &c.clone().with_defaults(&[("num_attention_heads", 96.into())]);
    let dims = MlaDims::required(c, s.width)?;
    let settings = LatentSettings {
        bias: false,
        eps: 1e-6,
        rope: None,
        scale: dims.scale(None)?,
        gated: c.bool_or("mla_use_output_gate", false)?,
    };
    Ok((dims, settings))
}

fn routing(c: &Config, s: &Settings) -> Result<Option<KimiRouting>, ConfigError> {
    if c.opt_dim("num_experts")?.unwrap_or(0) == 0 {
        return Ok(None);
    }
    let key = "num_experts_per_token";
    let c = &c.clone().with_defaults(&[(key, 16.into())]);
    let experts = experts(c, "num_experts", key)?;
    let normed = c.bool_or("latent_moe_use_norm", false)?;
    let latent = c.opt_dim("routed_expert_hidden_size")?;
    Ok(Some(KimiRouting {
        latent: latent.map(|n| (n, normed.then_some(s.eps))),
        situ: Some(s.situ),
        ..KimiRouting::read(c, experts, Scores::PreciseSigmoid)?
    }))
}

enum LayerMixer {
    Delta(KimiDelta),
    Latent(LatentAttention),
}

impl LayerMixer {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        match self {
            Self::Latent(layer) => layer.mix(x, mask, cache),
            Self::Delta(layer) if x.dim(1) == 1 => {
                let [y, _, _] = x.compiled(|x| {
                    let y = layer.mix(x, Mask::None, cache);
                    [
                        y,
                        cache.state(x.tape(), 0).unwrap_or(y),
                        cache.state(x.tape(), 1).unwrap_or(y),
                    ]
                });
                y
            }
            Self::Delta(layer) => layer.mix(x, Mask::None, cache),
        }
    }
}

struct K3Layer {
    input_norm: RmsNorm,
    mixer: LayerMixer,
    post_norm: RmsNorm,
    mlp: Box<dyn FeedForward>,
    residual: Option<LayerResidual>,
}

/// How a layer takes part in the attention residuals.
struct LayerResidual {
    starts_block: bool,
    attention: ResidualMix,
    mlp: ResidualMix,
}

impl Layer<Blocks<'static>> for K3Layer {
    fn run<'t>(&self, x: Var<'t>, at: At<'_, 't, Blocks<'static>>) -> Var<'t> {
        let blocks = at.shared;
        let mut h = x;
        let mut sum = Some(x);
        if let Some(r) = &self.residual {
            h = r.attention.apply(blocks, x);
            if r.starts_block {
                blocks.append(x, r.attention.eps);
                sum = None;
            }
        }
        let y = self.mixer.mix(self.input_norm.forward(h), at.mask, at.cache);
        let sum = match sum {
            Some(sum) => sum + y,
            None => y,
        };
        h = match &self.residual {
            Some(r) => r.mlp.apply(blocks, sum),
            None => sum,
        };
        sum + self.mlp.apply(self.post_norm.forward(h))
    }
}

/// The sums before each block of layers.
struct Blocks<'t> {
    /// The sums `[blocks, batch, tokens, width]` and their inverse root mean squares.
    raw: Option<(Var<'t>, Var<'t>)>,
}

impl Carry for Blocks<'static> {
    type On<'t> = Blocks<'t>;
}

impl<'t> Blocks<'t> {
    fn append(&mut self, x: Var<'t>, eps: f64) {
        let wide = x.astype(DType::F32);
        let mean = (wide * wide).mean(-1, false) + eps;
        let inverse = mean.rsqrt().expand_dims(&[0]);
        let x = x.expand_dims(&[0]);
        self.raw = Some(match self.raw {
            None => (x, inverse),
            Some((xs, inverses)) => (concat([xs, x], 0), concat([inverses, inverse], 0)),
        });
    }
}

/// Attention of one learned query over the sums of the blocks and the running sum.
struct ResidualMix {
    norm: ModuleId,
    projection: ModuleId,
    eps: f64,
}

impl ResidualMix {
    fn new(p: &mut ParamBuilder, name: &str, s: &Settings) -> Self {
        Self {
            projection: p.linear(&format!("{name}_proj"), s.width, 1, false),
            norm: p.raw(&format!("{name}_norm.weight"), &[s.width]),
            eps: s.eps,
        }
    }

    /// The query: norm weight times projection, computed in the first call and kept.
    fn query<'t>(&self, t: &'t Tape<'t>) -> Var<'t> {
        if !t.is_first_call() {
            return t.derived(Derived::ScaledRow { norm: self.norm, row: self.projection });
        }
        let norm = t.weight(self.norm).astype(DType::F32);
        norm * t.param(self.projection, Part::Weight).reshape(&[-1])
    }

    fn apply<'t>(&self, blocks: &Blocks<'t>, sum: Var<'t>) -> Var<'t> {
        let t = sum.tape();
        let Some((raw, inverse)) = blocks.raw else { return sum };
        let query = self.query(t);
        let eps = t.scalar(self.eps, DType::F32);
        let rows = t.scalar(f64::from(sum.dim(0)) * f64::from(sum.dim(1)), DType::I32);
        let (shape, dtype) = (sum.shape(), sum.dtype());
        t.kernel_one(Kernel::ResidualMix, &[raw, inverse, sum, query, eps, rows], shape, dtype)
    }
}
