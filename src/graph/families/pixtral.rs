//! Pixtral: a Llama text model with a head of its own under `language_model`.

use super::llama;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = text_config(c)?.with("tie_word_embeddings", false);
    let heads = text.dim_or("num_attention_heads", 32)?;
    let text = text.with("num_attention_heads", heads);
    Ok(llama::plain_caches(p.scope("language_model", |p| llama::build(&text, p))?))
}
