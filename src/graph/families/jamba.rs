//! Jamba: Mamba layers with norms on step, B and C, attention without rotation every few layers, routed MLPs in
//! some layers. The recurrence runs token by token.

use crate::graph::parts::prelude::*;
use crate::graph::parts::selective::{Selective, SelectiveSizes};

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let attention_layers = attention_layers(c)?;
    let width = c.positive("hidden_size")?;
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: c.positive("num_key_value_heads")?, dim: width / query };
    let hidden = c.positive("intermediate_size")?;
    let outline = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", true)?),
        eps: c.number_or("rms_norm_eps", 1e-5)?,
        max_context: c.opt_dim("max_position_embeddings")?,
        names: Names { norm: "final_layernorm", ..Names::LLAMA },
        ..Outline::new(width, attention_layers.len() as u64, c.positive("vocab_size")?)
    };
    let mamba = sizes(c, width)?;
    let moe = match c.dim("num_experts")? {
        0 | 1 => None,
        _ => Some(experts(c, "num_experts", "num_experts_per_tok")?),
    };
    let (offset, period) = (c.dim("expert_layer_offset")?, c.dim("expert_layer_period")?);
    if moe.is_some() && period == 0 {
        return Err(c.invalid("expert_layer_period", "a whole number of at least 1"));
    }
    let eps = outline.eps;
    let decoder = outline.decoder(p, |p, i| {
        let (rule, mixer): (_, Box<dyn Mixer>) = match attention_layers.get(i as usize) {
            Some(true) => {
                let biases = Biases::default();
                let mixer = Attention::new(p, "self_attn", width, heads, biases, None);
                (MaskRule::Full, Box::new(mixer))
            }
            _ => (MaskRule::Recurrent(2), Box::new(Mamba::new(p, mamba, eps))),
        };
        let mlp: Box<dyn FeedForward> = match moe {
            Some(experts) if (i + offset) % period == 0 => {
                Box::new(routed(p, width, hidden, experts))
            }
            _ => Box::new(GatedMlp::up_first(p, "feed_forward", width, hidden, false)),
        };
        let input = RmsNorm::new(p, "input_layernorm", width, eps);
        let post = RmsNorm::new(p, "pre_ff_layernorm", width, eps);
        Ok((rule, Box::new(Sandwich::with_norms(input, mixer, post, mlp))))
    })?;
    Ok(decoder.with_packing(QuantOverride::EightBit, &["router"]).with_experts(moe).built())
}

/// Which layers are attention.
fn attention_layers(c: &Config) -> Result<Vec<bool>, ConfigError> {
    let layers: Vec<bool> = match c.opt_strings("layers_block_type")? {
        Some(names) => names.iter().map(|n| n == "attention").collect(),
        None => {
            let (offset, period) = (c.dim("attn_layer_offset")?, c.positive("attn_layer_period")?);
            (0..layer_count(c)?).map(|i| i % period == offset).collect()
        }
    };
    if layers.len() > 4096 || !layers.contains(&true) || !layers.contains(&false) {
        return Err(c.invalid(
            "layers_block_type",
            "at most 4096 layers with at least one of Mamba and one of attention",
        ));
    }
    Ok(layers)
}

fn sizes(c: &Config, width: u64) -> Result<SelectiveSizes, ConfigError> {
    let rank = match c.get("mamba_dt_rank") {
        None => width.div_ceil(16),
        Some(v) if v == "auto" => width.div_ceil(16),
        Some(_) => c.positive("mamba_dt_rank")?,
    };
    let kernel = c.positive("mamba_d_conv")?;
    if kernel < 2 {
        return Err(c.invalid("mamba_d_conv", "a whole number of at least 2"));
    }
    Ok(SelectiveSizes {
        width,
        inner: c.positive("mamba_expand")? * width,
        state: c.positive("mamba_d_state")?,
        rank,
        kernel,
        bias: c.bool_or("mamba_proj_bias", false)?,
        conv_bias: c.bool_or("mamba_conv_bias", true)?,
    })
}

#[derive(Debug)]
struct Mamba {
    layer: Selective,
    /// Norms of step, B and C.
    norms: [RmsNorm; 3],
}

impl Mamba {
    fn new(p: &mut ParamBuilder, s: SelectiveSizes, eps: f64) -> Self {
        p.scope("mamba", |p| Self {
            layer: Selective::new(p, s),
            norms: [
                RmsNorm::new(p, "dt_layernorm", s.rank, eps),
                RmsNorm::new(p, "b_layernorm", s.state, eps),
                RmsNorm::new(p, "c_layernorm", s.state, eps),
            ],
        })
    }

    /// Outputs for all tokens and the state after the last one.
    fn recur<'t>(&self, x: Var<'t>, mut state: Option<Var<'t>>) -> (Var<'t>, Var<'t>) {
        let t = x.tape();
        let a = self.layer.rates(t);
        let parts = self.layer.parts(x);
        let [delta, b, c] = [0, 1, 2].map(|i| self.norms[i].forward(parts[i]));
        let delta = self.layer.step(delta);
        let mut states = (delta * x).expand_dims(&[-1]) * b.expand_dims(&[-2]);
        let decay = (delta.expand_dims(&[-1]) * a).exp();
        let n = x.dim(1);
        for i in 0..n {
            if let Some(before) = state {
                let decay = decay.at(1, i);
                let new = states.at(1, i);
                let next = before.compiled(|before| before * decay + new);
                states = states.slice_update(next.expand_dims(&[1]), 1, i);
            }
            state = Some(states.at(1, i));
        }
        let y = states.matmul(c.expand_dims(&[-1])).squeeze(&[-1]) + self.layer.skip(t) * x;
        (y, states.at(1, n.saturating_sub(1)))
    }
}

impl Mixer for Mamba {
    fn mix<'t>(&self, x: Var<'t>, _: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        self.layer.mix(x, cache, |x, state| {
            let (y, state) = self.recur(x, state);
            (y, Some(state))
        })
    }
}

/// Experts chosen by the highest gates.
fn routed(p: &mut ParamBuilder, width: u64, hidden: u64, experts: Experts) -> RoutedMlp {
    p.scope("feed_forward", |p| {
        let gate = Linear::new(p, "router", width, experts.total, false);
        let mlp = SwitchGlu::new(p, "switch_mlp", width, hidden, experts.total, false);
        RoutedMlp::new(LogitRouter::new(gate, experts.chosen, Order::Descending), mlp)
            .combined(Combine::Wide)
    })
}
