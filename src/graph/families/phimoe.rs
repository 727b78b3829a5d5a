//! Phi-3.5 MoE: layer norms, biases everywhere in attention, and the sparse mixer as router.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let kind = NormKind::Layer { bias: true };
    let o = Outline {
        head: HeadKind::OwnWithBias,
        eps: c.number_or("rms_norm_eps", 1e-6)?,
        max_context: Some(c.dim_or("max_position_embeddings", 131_072)?),
        norm: kind,
        ..Outline::read_or(c, [4096, 32, 32_064])?
    };
    let query = c.dim_or("num_attention_heads", 32)?;
    let kv = c.dim_or("num_key_value_heads", 8)?;
    let heads = Heads { query, kv, dim: o.width / query.max(1) };
    let hidden = c.dim_or("intermediate_size", 6400)?;
    let experts = experts_or(c, ("num_local_experts", 16), ("num_experts_per_tok", 2))?;
    let jitter = c.number_or("router_jitter_noise", 0.01)?;
    let rope = rope(c, heads.dim, o.max_context)?;

    let decoder = o.decoder(p, |p, _| {
        let rope = Some(rope.clone());
        let attention = Attention::new(p, "self_attn", o.width, heads, Biases::all(true), rope);
        let moe = p.scope("block_sparse_moe", |p| {
            let gate = Linear::new(p, "gate", o.width, experts.total, false);
            let mlp = SwitchGlu::new(p, "switch_mlp", o.width, hidden, experts.total, false);
            RoutedMlp::new(SparseMixer { gate, chosen: experts.chosen, jitter }, mlp)
        });
        let input_norm = kind.declare(p, "input_layernorm", o.width, o.eps);
        let post_norm = kind.declare(p, "post_attention_layernorm", o.width, o.eps);
        Ok((MaskRule::Full, Sandwich::with_norms(input_norm, attention, post_norm, moe)))
    })?;
    Ok(decoder.with_experts(experts).built())
}

/// Plain, or LongRoPE whose long factors and scale mlx-lm uses at every length.
fn rope(c: &Config, dim: u64, max: Option<u64>) -> Result<RopeModule, ConfigError> {
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let Some(scaling) = RopeScaling::read(c, "rope_scaling")? else {
        return Ok(RopeModule::plain(dim, false, theta));
    };
    for key in ["short_factor", "long_factor", "short_mscale", "long_mscale"] {
        if !scaling.values().has(key) {
            return Err(c.invalid("rope_scaling", format!("an object with the key '{key}'")));
        }
    }
    let original = c.number_or("original_max_position_embeddings", 4096.0)?;
    let rope = RopeModule::long(
        dim,
        theta,
        max.unwrap_or(original as u64),
        original,
        scaling.long_factors()?,
    )?;
    let own = scaling.values().opt_number("long_mscale")?.filter(|&factor| factor != 0.0);
    Ok(match own {
        Some(factor) => rope.with_input_scale(factor),
        None => rope,
    })
}

/// Chooses one expert after the other; each score is a softmax over the experts within a band below the best.
#[derive(Debug)]
struct SparseMixer {
    gate: Linear,
    chosen: u64,
    jitter: f64,
}

impl Router for SparseMixer {
    fn route<'t>(&self, x: Var<'t>) -> (Var<'t>, Var<'t>) {
        let t = x.tape();
        let gates = self.gate.forward(x);
        let mut masked = gates;
        let (mut indices, mut scores) = (Vec::new(), Vec::new());
        for _ in 0..self.chosen {
            let top = masked.reduce(Reduction::Max, -1, true);
            let index = masked.argmax_keep();
            let factor = gates.abs().maximum(top);
            let below = (top - gates) / factor;
            let outside = below.greater(2.0 * self.jitter);
            let band = outside.select(f64::NEG_INFINITY, masked).softmax(true);
            scores.push(band.take_along_axis(index, -1));
            indices.push(index);
            let low = t.scalar(f64::NEG_INFINITY, masked.dtype());
            masked = masked.put_along_axis(index, low, -1, false);
        }
        (t.concat(&indices, -1), t.concat(&scores, -1))
    }
}
