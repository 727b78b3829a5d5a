//! Muse Glimmer: norms with `1 + weight` around both halves of a layer, norms without weight over queries, keys and
//! the embedding, gated attention, three sliding-window layers to one full layer without a rotary embedding.

use super::gemma::soft_cap;
use crate::graph::parts::prelude::*;

const DEFAULTS: [(&str, u64); 9] = [
    ("hidden_size", 6656),
    ("num_hidden_layers", 52),
    ("intermediate_size", 19_968),
    ("num_attention_heads", 32),
    ("num_key_value_heads", 2),
    ("head_dim", 128),
    ("vocab_size", 202_048),
    ("sliding_window", 2048),
    ("max_position_embeddings", 131_072),
];

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &merged(c)?;
    let d = Dims::read(c)?;
    let heads = Heads { dim: c.positive("head_dim")?, ..d.heads(c)? };
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let post_eps = c.number_or("post_norm_eps", 1e-8)?;
    let factor = c.number_or("qk_scale_factor", 3.87)?;
    let (rules, ropes) = layers(c, d.layers, heads.dim)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", false)?);
    let mut decoder = d.outline(head, eps).layered(p, &rules, |p, i| {
        let attention =
            Attention::new(p, "self_attn", d.width, heads, Biases::default(), ropes[i].clone());
        let query = ScaledNorm(UnitNorm::new(eps), factor);
        let key = UnitNorm::new(eps);
        let out = heads.query * heads.dim;
        let gate = Linear::new(p, "self_attn.gate_proj", d.width, out, false);
        let attention =
            attention.with_norms(query, key, NormPlace::Rows).with_gate(OutputGate::Features(gate));
        let norm =
            |p: &mut ParamBuilder, name: &str, eps: f64| GemmaNorm::new(p, name, d.width, eps);
        let attention_norms = Norms::around(
            norm(p, "input_layernorm", eps),
            norm(p, "post_attention_layernorm", post_eps),
        );
        let mlp_norms = Norms::around(
            norm(p, "pre_feedforward_layernorm", eps),
            norm(p, "post_feedforward_layernorm", post_eps),
        );
        let mlp = GatedMlp::up_first(p, "mlp", d.width, d.hidden, false)
            .with_activation(activations::silu_gate);
        Sandwich::new(attention, attention_norms, mlp, mlp_norms)
    });
    let multiplier = c.number_or("output_multiplier", 0.196_116_135_138_184_04)?;
    let cap = c.number_or("final_logit_softcapping", 20.0)?;
    decoder = decoder.with_embedding(move |h| h.rms_norm(None, eps));
    decoder.on_logits = Some(Box::new(move |logits| soft_cap(logits * multiplier, cap)));
    Ok(decoder.built())
}

/// The configuration with the keys of `text_config` on top and the family's sizes where there are none.
fn merged(c: &Config) -> Result<Config, ConfigError> {
    let mut out = c.clone();
    if let Some(text) = c.opt_object("text_config")? {
        for (key, value) in text.values() {
            out = out.with(key, value.clone());
        }
    }
    Ok(out.with_sizes(&DEFAULTS))
}

/// Mask and rope of every layer.
fn layers(
    c: &Config,
    count: usize,
    dim: u64,
) -> Result<(Vec<MaskRule>, Vec<Option<RopeModule>>), ConfigError> {
    let types = c.opt_strings("layer_types")?;
    let window = MaskRule::Window(c.positive("sliding_window")? as u32);
    let rules: Vec<MaskRule> = match &types {
        Some(types) if types.len() != count => {
            return Err(c.invalid("layer_types", format!("{count} entries, one per layer")));
        }
        Some(types) => types
            .iter()
            .map(|t| if t == "sliding_attention" { window } else { MaskRule::Full })
            .collect(),
        None => (0..count).map(|i| if i % 4 == 3 { MaskRule::Full } else { window }).collect(),
    };
    let parameters = c.opt_object("rope_parameters")?;
    let theta = match parameters.as_ref().filter(|p| p.has("rope_theta")) {
        Some(p) => p.number_or("rope_theta", 500_000.0)?,
        None => c.number_or("rope_theta", 500_000.0)?,
    };
    let listed = match c.get("layer_rope_theta") {
        None => None,
        Some(serde_json::Value::Array(list)) if list.len() == count => Some(list),
        Some(_) => return Err(c.invalid("layer_rope_theta", format!("a list of {count} numbers"))),
    };
    let full = |i: usize| match &types {
        Some(types) => types[i] == "full_attention",
        None => rules[i] == MaskRule::Full,
    };
    let rotary = |i: usize| match listed {
        Some(list) => list[i].as_f64().is_some_and(|theta| theta != 0.0),
        None => theta != 0.0 && !full(i),
    };
    let ropes =
        (0..count).map(|i| rotary(i).then(|| RopeModule::plain(dim, false, theta))).collect();
    Ok((rules, ropes))
}

/// An RMS norm without a weight, then a factor.
struct ScaledNorm(UnitNorm, f64);

impl Norm for ScaledNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        self.0.forward(x) * self.1
    }
}
