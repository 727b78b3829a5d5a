//! Nemotron and Minitron: layer norms with `1 + weight`, an ungated MLP with squared ReLU, a partly rotated head.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let heads = d.sized_heads(c)?;
    let eps = c.number_or("norm_eps", 1e-5)?;
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let dims = (c.number_or("partial_rotary_factor", 0.5)? * heads.dim as f64) as u64;
    let scaling = RopeScaling::read(c, "rope_scaling")?.filter(|s| !s.values().values().is_empty());
    if let Some(scaling) = &scaling
        && scaling.values().opt_str("type")? != Some("linear")
    {
        return Err(c.invalid("rope_scaling", "the key 'type' with the value 'linear'"));
    }
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let rope = RopeModule::new(dims, theta, false, scaling.as_ref(), None)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", false)?);
    let own = NormKind::Own(|p, name, width, eps| Box::new(ShiftedNorm::new(p, name, width, eps)));
    let o = d.outline(head, eps).with_norm(own);
    let norm = |p: &mut ParamBuilder, name: &str| ShiftedNorm::new(p, name, d.width, eps);
    let decoder = o.layered(p, &d.full(), |p, _| {
        let rope = Some(rope.clone());
        Sandwich::with_norms(
            norm(p, "input_layernorm"),
            Attention::new(p, "self_attn", d.width, heads, biases, rope),
            norm(p, "post_attention_layernorm"),
            p.scope("mlp", |p| {
                let names = ["up_proj", "down_proj"];
                PlainMlp::new(p, names, d.width, d.hidden, mlp_bias, activations::relu2)
            }),
        )
    });
    Ok(decoder.built())
}

/// A layer norm whose scale is `1 + weight`.
struct ShiftedNorm {
    weight: ModuleId,
    bias: ModuleId,
    eps: f64,
}

impl ShiftedNorm {
    fn new(p: &mut ParamBuilder, name: &str, width: u64, eps: f64) -> Self {
        let weight = p.raw(&format!("{name}.weight"), &[width]);
        Self { weight, bias: p.raw(&format!("{name}.bias"), &[width]), eps }
    }
}

impl Norm for ShiftedNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        let weight = t.weight(self.weight) + 1i64;
        let bias = t.weight(self.bias);
        x.layer_norm(Some(weight), Some(bias), self.eps)
    }
}
