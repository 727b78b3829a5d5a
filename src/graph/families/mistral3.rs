//! Mistral 3 and LLaVA: a Llama, Ministral 3 or Mistral 4 text model under `language_model`.

use super::{llama, ministral3, mistral4};
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let mut text = text_config(c)?;
    if !text.has("tie_word_embeddings") {
        text = text.with("tie_word_embeddings", false);
    }
    let built = p.scope("language_model", |p| match text.opt_str("model_type")? {
        Some("ministral3") => ministral3::build(&text, p),
        Some("mistral4") => mistral4::build(&text, p),
        _ => llama::build(&text, p),
    })?;
    Ok(llama::plain_caches(built))
}
