//! Nanbeige 4: Llama's layers, run several times over, each time with caches of their own.

use crate::graph::parts::prelude::*;

/// More passes through a layer than any real model has; bounds the work on a hostile configuration.
const MAX_PASSES: u64 = 8192;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let heads = d.sized_heads(c)?;
    for key in ["enable_double_loop_split", "loop_share_kv", "enable_depth_attention"] {
        if c.bool_or(key, false)? {
            return Err(c.invalid(key, "false; mlx-lm does not support it"));
        }
    }
    let loops = match c.get("loop_loss_weights").and_then(serde_json::Value::as_array) {
        Some(weights) if !weights.is_empty() => weights.len() as u64 + 1,
        _ => c.dim_or("num_loops", 1)?,
    };
    if loops == 0 || loops.saturating_mul(d.layers as u64) > MAX_PASSES {
        let expected = format!("from 1 to {} rounds", MAX_PASSES / d.layers as u64);
        return Err(c.invalid("num_loops", expected));
    }
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let tied = c.bool_or("tie_word_embeddings", false)?;
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let scaling = RopeScaling::read(c, "rope_scaling")?;
    let rope = RopeModule::new(heads.dim, theta, false, scaling.as_ref(), d.max_context)?;
    let (embed, layers, norm) = p.scope("model", |p| {
        let embed = Embedding::new(p, "embed_tokens", d.vocabulary, d.width);
        let layers = (0..d.layers).map(|i| {
            p.scope(&format!("layers.{i}"), |p| {
                let rope = Some(rope.clone());
                let attention = Attention::new(p, "self_attn", d.width, heads, biases, rope);
                let mlp = GatedMlp::new(p, "mlp", d.width, d.hidden, mlp_bias);
                PreNorm::new(p, d.width, eps, attention, mlp)
            })
        });
        let layers: Vec<PreNorm> = layers.collect();
        (embed, layers, RmsNorm::new(p, "norm", d.width, eps))
    });
    let network = Looped {
        embed,
        layers,
        norm,
        head: Head::new(p, embed, tied, d.width, d.vocabulary),
        norm_once: c.bool_or("skip_loop_final_norm", false)?,
    };
    Ok(Built {
        layers: d.layers as u64,
        network: Box::new(network),
        caches: vec![CacheKind::Kv; d.layers * loops as usize],
        experts: None,
        max_context: d.max_context,
    })
}

struct Looped {
    embed: Embedding,
    layers: Vec<PreNorm>,
    norm: RmsNorm,
    head: Head,
    /// The final norm is applied once instead of after every round.
    norm_once: bool,
}

impl Network for Looped {
    fn forward(&self, t: &Tape<'_>, tokens: Var, caches: &mut [Cache]) -> Var {
        let mut h = self.embed.forward(t, tokens);
        let n = t.dim(tokens, 1);
        let mask = caches.first().map_or(Mask::None, |c| c.mask(t, n, None, false));
        for round in caches.chunks_mut(self.layers.len()) {
            for (i, (layer, cache)) in self.layers.iter().zip(round).enumerate() {
                t.layer(i);
                h = layer.forward(t, h, mask, cache);
            }
            if !self.norm_once {
                h = self.norm.forward(t, h);
            }
        }
        t.set_stage(Stage::Head);
        if self.norm_once {
            h = self.norm.forward(t, h);
        }
        self.head.forward(t, h)
    }
}
