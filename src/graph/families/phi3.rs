//! Phi-3, Phi-3.5 and Phi-4: one matrix for queries, keys and values, one for gate and up; LongRoPE.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let max_context = c.dim_or("max_position_embeddings", 131_072)?;
    let d = Dims { max_context: Some(max_context), ..Dims::read(c)? };
    let kv = c.dim_or("num_key_value_heads", c.positive("num_attention_heads")?)?;
    let heads = d.heads(&c.clone().with("num_key_value_heads", kv))?;
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let rope = rope(c, heads.dim, max_context)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", false)?);
    let decoder = d.outline(head, eps).layered(p, &d.full(), |p, _| {
        let attention = p.scope("self_attn", |p| {
            let qkv = Projections::fused(p, "qkv_proj", d.width, heads, false);
            let o = Linear::new(p, "o_proj", heads.query * heads.dim, d.width, false);
            Attention::of(qkv, o, heads, Some(rope.clone()))
        });
        let names = ["gate_up_proj", "down_proj"];
        let mlp = p.scope("mlp", |p| FusedMlp::new(p, names, d.width, d.hidden));
        Sandwich::pre_norm(p, d.width, eps, attention, mlp)
    });
    Ok(decoder.built())
}

fn rope(c: &Config, head: u64, max_context: u64) -> Result<RopeModule, ConfigError> {
    let part = c.number_or("partial_rotary_factor", 1.0)?;
    let dims = (head as f64 * part) as u64;
    let base = c.number_or("rope_theta", 10_000.0)?;
    let traditional = c.bool_or("rope_traditional", false)?;
    let plain = RopeModule::plain(dims, traditional, base);
    let Some(scaling) = RopeScaling::read(c, "rope_scaling")? else {
        return Ok(plain);
    };
    let values = scaling.values();
    if values.values().is_empty() {
        return Ok(plain);
    }
    if !values.has("long_factor") || !values.has("type") {
        return Err(c.invalid("rope_scaling", "the keys 'type' and 'long_factor'"));
    }
    match values.opt_str("type")? {
        Some("longrope" | "su") => {
            let original = c.number_or("original_max_position_embeddings", 4096.0)?;
            let factors = scaling.long_factors()?;
            RopeModule::long(dims, base, max_context, original, factors)
        }
        Some("linear") => RopeModule::new(dims, base, traditional, Some(&scaling), None),
        _ => Ok(plain),
    }
}
