//! PLaMo 3: attention over a window with full attention every few layers, norms around mixer and MLP.

use crate::graph::parts::plamo_sandwich::plamo_sandwich;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with_defaults(&[("num_hidden_layers", 32.into())]);
    let count = layer_count(c)?;
    let width = c.dim_or("hidden_size", 4096)?;
    let heads = Heads::read_or(c, [32, 4, 128])?;
    if heads.kv == 0 || heads.query % heads.kv != 0 {
        return Err(c.invalid("num_key_value_heads", "a divisor of num_attention_heads"));
    }
    let eps = c.number_or("rms_norm_eps", 1e-6)?;
    let hidden = c.dim_or("intermediate_size", 13_312)?;
    let vocabulary = c.dim_or("vocab_size", 32_000)?;
    let window = match c.opt_dim("sliding_window")? {
        Some(n) => n,
        None => c.dim_or("window_size", 2048)?,
    };
    let pattern = c.dim_or("sliding_window_pattern", 8)?;
    if pattern == 0 || window == 0 {
        let key = if pattern == 0 { "sliding_window_pattern" } else { "sliding_window" };
        return Err(c.invalid(key, "a whole number of at least 1"));
    }
    let global = RopeModule::plain(heads.dim, false, c.number_or("rope_theta", 1e6)?);
    let local = RopeModule::plain(heads.dim, false, c.number_or("rope_local_theta", 1e4)?);
    let o = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", true)?),
        eps,
        max_context: Some(c.dim_or("max_position_embeddings", 2048)?),
        names: Names { layers: "layers.layers", ..Names::LLAMA },
        norm: NormKind::Offset { kept: true },
        ..Outline::new(width, count, vocabulary)
    };
    let window = window as u32;
    let decoder = o.decoder(p, |p, i| {
        let (rule, cache, rope) = if (i + 1) % pattern == 0 {
            (MaskRule::Full, CacheKind::Kv, &global)
        } else {
            let cache = CacheKind::Rotating { max_size: window, keep: 0 };
            (MaskRule::Window(window + 1), cache, &local)
        };
        let mixer = attention(p, width, heads, eps, rope.clone());
        Ok((rule, cache, plamo_sandwich(p, width, hidden, eps, true, mixer)))
    })?;
    Ok(decoder.built())
}

fn attention(
    p: &mut ParamBuilder,
    width: u64,
    heads: Heads,
    eps: f64,
    rope: RopeModule,
) -> Attention {
    p.scope("mixer", |p| {
        let qkv = Projections::fused(p, "qkv_proj", width, heads, false);
        let o = Linear::new(p, "o_proj", heads.query * heads.dim, width, false);
        let query = OffsetNorm::new(p, "q_norm", heads.dim, eps, 1.0).kept();
        let key = OffsetNorm::new(p, "k_norm", heads.dim, eps, 1.0).kept();
        Attention::of(qkv, o, heads, Some(rope)).with_norms(query, key, NormPlace::Heads)
    })
}
