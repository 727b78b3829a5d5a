//! EXAONE 4: norms behind attention and MLP, norms over each query and key head; in the hybrid models most layers
//! have a sliding window and a rotary embedding, the others neither.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let heads = Heads { dim: c.positive("head_dim")?, ..d.heads(c)? };
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let rope = RopeModule::read_as(c, heads.dim, 10_000.0, false, d.max_context)?;
    let head = HeadKind::tied(c.bool("tie_word_embeddings")?);
    let pattern = c.opt_str("sliding_window_pattern")?.filter(|text| !text.is_empty());
    let rules = rules(c, pattern, d.layers)?;
    let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, d.width, eps);
    let decoder = d.outline(head, eps).layered(p, &rules, |p, i| {
        let rotary = pattern.is_none() || rules[i] != MaskRule::Full;
        let rope = rotary.then(|| rope.clone());
        let attention = Attention::new(p, "self_attn", d.width, heads, Biases::default(), rope);
        Sandwich::new(
            attention.with_usual_norms(p, NormPlace::Rows, eps),
            Norms::after(norm(p, "post_attention_layernorm")),
            GatedMlp::new(p, "mlp", d.width, d.hidden, false),
            Norms::after(norm(p, "post_feedforward_layernorm")),
        )
    });
    Ok(decoder.built())
}

/// The masks of a pattern like `LLLG`, repeated over the layers: local or global attention.
fn rules(c: &Config, pattern: Option<&str>, layers: usize) -> Result<Vec<MaskRule>, ConfigError> {
    for key in ["sliding_window", "sliding_window_pattern"] {
        if !c.has(key) {
            return Err(c.invalid(key, "the key, even if null"));
        }
    }
    let Some(pattern) = pattern else {
        return Ok(vec![MaskRule::Full; layers]);
    };
    let kinds: Vec<bool> = pattern.chars().map(|k| k == 'L').collect();
    let reached = |kind: char| pattern.chars().position(|k| k == kind).is_some_and(|i| i < layers);
    if !reached('L') || !reached('G') {
        let expected = format!("an 'L' and a 'G' among the first {layers}, the number of layers");
        return Err(c.invalid("sliding_window_pattern", expected));
    }
    let window = c.positive("sliding_window")? as u32;
    let local = |i: usize| kinds.get(i % kinds.len()).copied().unwrap_or(false);
    Ok((0..layers)
        .map(|i| if local(i) { MaskRule::Window(window) } else { MaskRule::Full })
        .collect())
}
