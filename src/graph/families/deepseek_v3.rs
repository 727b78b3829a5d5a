//! DeepSeek-V3 and R1, Kimi K2, JoyAI: latent attention, grouped routing, shared experts, dense first layers.

use super::common::{GatedMlp, Head, layer_count};
use super::frame::{Block, Decoder, FeedForward, MaskRule, PreNorm};
use super::mla::{LatentAttention, MlaDims};
use super::moe::{GroupMoe, GroupRouting, experts};
use crate::graph::cache::CacheKind;
use crate::graph::nn::{Embedding, RmsNorm};
use crate::graph::params::ParamBuilder;
use crate::graph::{Built, Experts};
use crate::model::{Config, ConfigError};

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let dims = MlaDims::read(c)?;
    let width = dims.width;
    let count = match c.opt_dim("num_hidden_layers")? {
        Some(_) => layer_count(c)?,
        None => 30,
    };
    let eps = c.number_or("rms_norm_eps", 1e-6)?;
    let vocabulary = c.dim_or("vocab_size", 102_400)?;
    let hidden = c.dim_or("intermediate_size", 11_008)?;
    let moe = Moe::read(c)?;

    let (embed, layers, norm) = p.scope("model", |p| {
        let embed = Embedding::new(p, "embed_tokens", vocabulary, width);
        let layers = (0..count).map(|i| {
            let block = p.scope(&format!("layers.{i}"), |p| {
                let attention = LatentAttention::new(c, p, dims)?;
                let mlp = moe.layer(p, i, width, hidden);
                Ok(PreNorm::new(p, width, eps, attention, mlp))
            })?;
            Ok((MaskRule::FullArray, Box::new(block) as Box<dyn Block>))
        });
        let layers = layers.collect::<Result<Vec<_>, ConfigError>>()?;
        Ok((embed, layers, RmsNorm::new(p, "norm", width, eps)))
    })?;
    let head = Head::new(p, embed, false, width, vocabulary);
    Ok(Built {
        layers: count,
        network: Box::new(Decoder::new(embed, layers, norm, head)),
        caches: vec![CacheKind::Kv; count as usize],
        experts: moe.experts,
        max_context: c.opt_dim("max_position_embeddings")?,
    })
}

/// Which layers are routed, and how.
struct Moe {
    experts: Option<Experts>,
    hidden: u64,
    shared: Option<u64>,
    first: u64,
    every: u64,
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
            first: c.dim_or("first_k_dense_replace", 0)?,
            every: c.dim_or("moe_layer_freq", 1)?.max(1),
            routing: GroupRouting::read(c, experts.map_or(1, |e| e.chosen))?,
        })
    }

    fn layer(&self, p: &mut ParamBuilder, i: u64, width: u64, hidden: u64) -> Box<dyn FeedForward> {
        match self.experts {
            Some(experts) if i >= self.first && i % self.every == 0 => {
                Box::new(GroupMoe::new(p, width, self.hidden, experts, self.shared, self.routing))
            }
            _ => Box::new(GatedMlp::new(p, "mlp", width, hidden, false)),
        }
    }
}
