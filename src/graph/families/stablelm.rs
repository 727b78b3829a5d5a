//! StableLM: layer norms, attention in float32, optionally a norm per head and attention and MLP side by side.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let heads = d.heads(c)?;
    if heads.query * heads.dim != d.width {
        return Err(c.invalid("hidden_size", "a multiple of num_attention_heads"));
    }
    let eps = c.number_or("layer_norm_eps", 1e-5)?;
    let part = c.number_or("partial_rotary_factor", 0.5)?;
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let rope = RopeModule::plain((part * heads.dim as f64) as u64, false, theta);
    let biases = Biases { qkv: c.bool("use_qkv_bias")?, output: false };
    let parallel = c.bool_or("use_parallel_residual", false)?;
    let head_norms = c.bool_or("qk_layernorm", false)?;
    if head_norms && heads.query.max(heads.kv) > MAX_HEADS {
        return Err(
            c.invalid("num_attention_heads", format!("at most {MAX_HEADS}, like key heads"))
        );
    }
    let norm = |p: &mut ParamBuilder, name: &str| LayerNorm::new(p, name, d.width, eps, true);
    let decoder =
        d.outline(HeadKind::Own, eps).with_norm(NormKind::LAYER).layered(p, &d.full(), |p, _| {
            let rope = Some(rope.clone());
            let mut attention = Attention::new(p, "self_attn", d.width, heads, biases, rope)
                .with_scale((1.0 / heads.dim as f64).sqrt())
                .with_precision(Precision::QueriesAndKeys);
            if head_norms {
                let (query, key) = p.scope("self_attn", |p| {
                    let query = HeadwiseNorm::new(p, "q_layernorm", heads.dim, heads.query, eps);
                    (query, HeadwiseNorm::new(p, "k_layernorm", heads.dim, heads.kv, eps))
                });
                attention = attention.with_norms(query, key, NormPlace::Rows);
            }
            let mlp = GatedMlp::new(p, "mlp", d.width, d.hidden, false);
            let input_norm = norm(p, "input_layernorm");
            let block: Box<dyn Block> = if parallel {
                Box::new(Parallel::new(input_norm, attention, mlp).input_first())
            } else {
                let post_norm = norm(p, "post_attention_layernorm");
                Box::new(Sandwich::with_norms(input_norm, attention, post_norm, mlp))
            };
            block
        });
    Ok(decoder.built())
}

/// More heads than any real model has; bounds the work on a hostile configuration.
const MAX_HEADS: u64 = 4096;

/// Layer norm over each head, with a weight vector per head.
struct HeadwiseNorm {
    weights: Vec<ModuleId>,
    eps: f64,
}

impl HeadwiseNorm {
    fn new(p: &mut ParamBuilder, name: &str, dim: u64, heads: u64, eps: f64) -> Self {
        let weights =
            (0..heads).map(|i| p.raw(&format!("{name}.norms.{i}.weight"), &[dim])).collect();
        Self { weights, eps }
    }
}

impl Norm for HeadwiseNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        let weights: Vec<Var<'_>> = self.weights.iter().map(|&w| t.weight(w)).collect();
        t.stack(&weights, 0) * x.layer_norm(None, None, self.eps)
    }
}
