//! DeepSeek-V3 and R1, Kimi K2, JoyAI, GLM-4.7-Flash: latent attention, grouped routing, shared experts, dense first
//! layers. Kimi K2.5 and Kimi-VL wrap the same text model.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    build_with(c, p, CacheKind::Kv, |p, dims| LatentAttention::new(c, p, dims, 1e-6))
}

/// `kimi_k25`, `kimi_vl`: the text model under `language_model`.
pub(super) fn build_wrapped(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = c.object("text_config")?;
    p.scope("language_model", |p| build(&text, p))
}

/// `glm4_moe_lite`: other defaults and other epsilons.
pub(super) fn build_glm_lite(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with_defaults(&[
        ("vocab_size", 154_880.into()),
        ("hidden_size", 2048.into()),
        ("intermediate_size", 10_240.into()),
        ("moe_intermediate_size", 1536.into()),
        ("num_hidden_layers", 47.into()),
        ("num_attention_heads", 20.into()),
        ("n_shared_experts", 1.into()),
        ("n_routed_experts", 64.into()),
        ("routed_scaling_factor", 1.8.into()),
        ("q_lora_rank", 768.into()),
        ("qk_nope_head_dim", 192.into()),
        ("v_head_dim", 256.into()),
        ("num_experts_per_tok", 4.into()),
        ("first_k_dense_replace", 1.into()),
        ("max_position_embeddings", 202_752.into()),
        ("rms_norm_eps", 1e-5.into()),
        ("rope_theta", 1e6.into()),
    ]);
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let mut moe = Moe::read(c)?;
    moe.routing.floor = Some(1e-20);
    build_layers(c, p, &moe, CacheKind::Kv, |p, dims| LatentAttention::new(c, p, dims, eps))
}

/// The decoder with an attention layer and a cache of its own.
pub(super) fn build_with<M: Mixer + 'static>(
    c: &Config,
    p: &mut ParamBuilder,
    cache: CacheKind,
    attention: impl Fn(&mut ParamBuilder, MlaDims) -> Result<M, ConfigError>,
) -> Result<Built, ConfigError> {
    build_layers(c, p, &Moe::read(c)?, cache, attention)
}

fn build_layers<M: Mixer + 'static>(
    c: &Config,
    p: &mut ParamBuilder,
    moe: &Moe,
    cache: CacheKind,
    attention: impl Fn(&mut ParamBuilder, MlaDims) -> Result<M, ConfigError>,
) -> Result<Built, ConfigError> {
    let dims = MlaDims::read(c)?;
    let outline = outline(c)?;
    let hidden = c.dim_or("intermediate_size", 11_008)?;
    let decoder = outline.decoder(p, |p, i| {
        let mixer = attention(p, dims)?;
        let mlp = moe.layer(p, i, dims.width, hidden);
        let block = Sandwich::pre_norm(p, dims.width, outline.eps, mixer, mlp);
        Ok((MaskRule::FullArray, cache.clone(), block))
    })?;
    Ok(decoder.with_experts(moe.experts).built())
}

/// The sizes around the layers, with the defaults of the DeepSeek generation. The head is never tied.
pub(super) fn outline(c: &Config) -> Result<Outline, ConfigError> {
    Ok(Outline {
        eps: c.number_or("rms_norm_eps", 1e-6)?,
        ..Outline::read_or(c, [4096, 30, 102_400])?
    })
}

/// Which layers are routed: from a first layer on, every so many.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoutedLayers {
    first: u64,
    every: u64,
}

impl RoutedLayers {
    /// Reads `first_k_dense_replace` and `moe_layer_freq`.
    pub(super) fn read(c: &Config, first: u64) -> Result<Self, ConfigError> {
        let every = c.positive_or("moe_layer_freq", 1)?;
        Ok(Self { first: c.dim_or("first_k_dense_replace", first)?, every })
    }

    /// Whether layer `i` is routed.
    pub(super) fn at(self, i: u64) -> bool {
        i >= self.first && i % self.every == 0
    }
}

/// The routed layers and their sizes.
struct Moe {
    experts: Option<Experts>,
    hidden: u64,
    shared: Option<u64>,
    layers: RoutedLayers,
    routing: GroupRouting,
}

impl Moe {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let experts = match c.opt_dim("n_routed_experts")? {
            None => None,
            Some(_) => {
                let c = &c.clone().with("num_experts_per_tok", c.dim_or("num_experts_per_tok", 1)?);
                Some(experts(c, "n_routed_experts", "num_experts_per_tok")?)
            }
        };
        let method = c.opt_str("topk_method")?.unwrap_or("noaux_tc");
        if experts.is_some() && method != "noaux_tc" {
            return Err(c.invalid("topk_method", "'noaux_tc', the only one mlx-lm has"));
        }
        let hidden = c.dim_or("moe_intermediate_size", 1407)?;
        Ok(Self {
            experts,
            hidden,
            shared: c.opt_dim("n_shared_experts")?.map(|n| n * hidden),
            layers: RoutedLayers::read(c, 0)?,
            routing: GroupRouting::read(c, experts.map_or(1, |e| e.chosen))?,
        })
    }

    fn layer(&self, p: &mut ParamBuilder, i: u64, width: u64, hidden: u64) -> Box<dyn FeedForward> {
        match self.experts {
            Some(experts) if self.layers.at(i) => {
                Box::new(grouped_experts(p, width, self.hidden, experts, self.shared, self.routing))
            }
            _ => Box::new(GatedMlp::up_first(p, "mlp", width, hidden, false)),
        }
    }
}
