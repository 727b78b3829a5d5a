//! DeepSeek MoE (the first one): Llama's attention, softmax-routed experts with a bare router matrix, shared experts.

use super::deepseek_v3::RoutedLayers;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline {
        eps: c.number_or("rms_norm_eps", 1e-6)?,
        max_context: Some(c.dim_or("max_position_embeddings", 2048)?),
        ..Outline::read_or(c, [4096, 30, 102_400])?
    };
    let query = c.dim_or("num_attention_heads", 32)?.max(1);
    if o.width % query != 0 {
        return Err(c.invalid("num_attention_heads", "a divisor of hidden_size"));
    }
    let kv = c.dim_or("num_key_value_heads", 32)?;
    let heads = Heads { query, kv, dim: o.width / query };
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let rope = rope(c, heads.dim)?;
    let hidden = c.dim_or("intermediate_size", 11_008)?;
    let moe = Moe::read(c)?;
    let decoder = o.decoder(p, |p, i| {
        let rope = Some(rope.clone());
        let attention = Attention::new(p, "self_attn", o.width, heads, biases, rope);
        let mlp: Box<dyn FeedForward> = match &moe {
            Some(moe) if moe.layers.at(i) => Box::new(moe.layer(p, o.width)),
            _ => Box::new(GatedMlp::new(p, "mlp", o.width, hidden, false)),
        };
        Ok((MaskRule::Full, Sandwich::pre_norm(p, o.width, o.eps, attention, mlp)))
    })?;
    Ok(decoder.with_experts(moe.map(|m| m.experts)).built())
}

/// Plain, or with linear scaling; other kinds of scaling are ignored.
fn rope(c: &Config, dim: u64) -> Result<RopeModule, ConfigError> {
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let Some(scaling) = c.opt_object("rope_scaling")?.filter(|s| !s.values().is_empty()) else {
        return Ok(RopeModule::plain(dim, false, theta));
    };
    match (scaling.opt_str("type")?, scaling.opt_number("factor")?) {
        (Some("linear"), Some(factor)) => {
            Ok(RopeModule::plain(dim, false, theta).with_position_scale(1.0 / factor))
        }
        (Some("linear"), None) => Err(c.invalid("rope_scaling", "an object with a 'factor'")),
        (Some(_), _) => Ok(RopeModule::plain(dim, false, theta)),
        (None, _) => Err(c.invalid("rope_scaling", "an object with a 'type'")),
    }
}

/// Settings of the routed layers.
struct Moe {
    experts: Experts,
    hidden: u64,
    shared: Option<u64>,
    layers: RoutedLayers,
}

impl Moe {
    fn read(c: &Config) -> Result<Option<Self>, ConfigError> {
        if c.opt_dim("n_routed_experts")?.is_none() {
            return Ok(None);
        }
        let hidden = c.dim_or("moe_intermediate_size", 1407)?;
        Ok(Some(Self {
            experts: experts(c, "n_routed_experts", "num_experts_per_tok")?,
            hidden,
            shared: c.opt_dim("n_shared_experts")?.map(|n| n * hidden),
            layers: RoutedLayers::read(c, 0)?,
        }))
    }

    fn layer(&self, p: &mut ParamBuilder, width: u64) -> RoutedMlp {
        let n = self.experts.total;
        p.scope("mlp", |p| {
            let experts = SwitchGlu::new(p, "switch_mlp", width, self.hidden, n, false);
            let gate = Gate::Raw(p.raw("gate.weight", &[n, width]));
            let shared = self.shared.map(|h| GatedMlp::new(p, "shared_experts", width, h, false));
            let router = SoftmaxRouter::new(gate, self.experts.chosen);
            RoutedMlp::new(router, experts).with_shared(shared)
        })
    }
}
