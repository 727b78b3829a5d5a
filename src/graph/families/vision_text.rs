//! Text models of types that only mlx-vlm has: known decoders with the defaults and names that mlx-vlm gives them.

use super::{deepseek, gemma, glm4, llama, phi3, qwen2, qwen3};
use crate::graph::parts::prelude::*;

const LANGUAGE: &str = "language_model";

/// Idefics 3: a Llama whose layers stand in the language model itself.
pub(super) fn idefics3(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = c.object("text_config")?;
    let text = text.with_sizes(&[("num_hidden_layers", 32), ("max_position_embeddings", 4096)]);
    headed_llama(&text, p)
}

/// SmolVLM: the same with other defaults.
pub(super) fn smolvlm(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = text_or_empty(c)?.with_sizes(&[
        ("hidden_size", 4096),
        ("intermediate_size", 11_008),
        ("num_hidden_layers", 32),
        ("vocab_size", 49_152),
        ("max_position_embeddings", 4096),
    ]);
    let heads = match (text.opt_dim("num_attention_heads")?, text.opt_dim("head_dim")?) {
        (Some(heads), _) => heads,
        (None, Some(dim)) if dim > 0 => text.dim("hidden_size")? / dim,
        (None, _) => 32,
    };
    headed_llama(&text.with("num_attention_heads", heads), p)
}

/// A Llama with a head of its own and heads that divide the hidden size, without `model` in its names.
fn headed_llama(text: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    p.renamed("language_model.model.", "language_model.", |p| divided_llama(text, p))
}

fn divided_llama(text: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let own = text.clone().with("tie_word_embeddings", false).with("head_dim", 0);
    p.scope(LANGUAGE, |p| llama::build(&own, p))
}

/// LLaVA-NeXT: Mistral with a head of its own.
pub(super) fn llava_next(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = text_or_empty(c)?.with_sizes(&[
        ("hidden_size", 4096),
        ("num_hidden_layers", 32),
        ("intermediate_size", 14_336),
        ("num_attention_heads", 32),
        ("vocab_size", 32_064),
        ("num_key_value_heads", 8),
        ("max_position_embeddings", 4096),
    ]);
    divided_llama(&text, p)
}

/// PaliGemma: Gemma or Gemma 2; what `text_config` does not say is taken from the outer configuration.
pub(super) fn paligemma(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let mut text = text_or_empty(c)?;
    for (key, default) in PALIGEMMA {
        text = match text.opt_dim(key)? {
            Some(_) => text,
            None => text.with(key, c.dim_or(key, default)?),
        };
    }
    let eps = text.number_or("rms_norm_eps", c.number_or("rms_norm_eps", 1e-6)?)?;
    let text = text.with("rms_norm_eps", eps);
    let kind = text.opt_str("model_type")?.unwrap_or("gemma");
    match kind {
        "gemma" => {
            let heads = text.positive("num_attention_heads")?;
            let text = text.clone().with("head_dim", text.dim("hidden_size")? / heads);
            p.scope(LANGUAGE, |p| gemma::build(&text, p))
        }
        "gemma2" => p.scope(LANGUAGE, |p| gemma::build_2(&text, p)),
        _ => Err(text.invalid("model_type", "gemma or gemma2, the decoders that mlx-vlm has here")),
    }
}

const PALIGEMMA: [(&str, u64); 8] = [
    ("hidden_size", 2048),
    ("num_hidden_layers", 18),
    ("intermediate_size", 8192),
    ("num_attention_heads", 16),
    ("num_key_value_heads", 16),
    ("vocab_size", 256_000),
    ("head_dim", 256),
    ("max_position_embeddings", 4096),
];

/// InternVL: Qwen 2 with biases or, without them, Qwen 3.
pub(super) fn internvl(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = match c.opt_object("text_config")? {
        Some(text) => text,
        None => c.object("llm_config")?,
    };
    let query = text.positive("num_attention_heads")?;
    let kv = match text.opt_dim("num_key_value_heads")? {
        Some(kv) => kv,
        None if text.has("num_key_value_heads") => query,
        None => 8,
    };
    let dim = match text.opt_dim("head_dim")? {
        Some(dim) if dim > 0 => dim,
        _ => text.positive("hidden_size")? / query,
    };
    let text = text
        .with("num_key_value_heads", kv)
        .with("head_dim", dim)
        .with_sizes(&[("max_position_embeddings", 40_960)])
        .with_defaults(&[
            ("rope_theta", 1_000_000.0.into()),
            ("tie_word_embeddings", false.into()),
        ]);
    p.scope(LANGUAGE, |p| match text.bool_or("attention_bias", true)? {
        true => qwen2::build_sized(&text, p),
        false => qwen3::build(&text, p),
    })
}

/// GLM-4.1V: GLM-4 with biases on queries, keys and values.
pub(super) fn glm4v(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = text_or_empty(c)?.with_sizes(&[
        ("vocab_size", 151_552),
        ("hidden_size", 4096),
        ("intermediate_size", 13_696),
        ("max_position_embeddings", 65_536),
        ("num_attention_heads", 32),
        ("num_hidden_layers", 40),
        ("num_key_value_heads", 2),
    ]);
    // mlx-vlm's configuration has no `head_dim`.
    let dim = text.dim("hidden_size")? / text.positive("num_attention_heads")?;
    let text = text.with("head_dim", dim).with_defaults(&[("attention_bias", true.into())]);
    p.scope(LANGUAGE, |p| glm4::build_4(&text, p))
}

/// Phi-3.5 Vision: Phi-3 with a head of its own.
pub(super) fn phi3_v(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let sizes = [
        ("vocab_size", 32_064),
        ("num_hidden_layers", 32),
        ("intermediate_size", 8192),
        ("num_attention_heads", 32),
        ("hidden_size", 2048),
    ];
    phi3::build(&c.clone().with_sizes(&sizes).with("tie_word_embeddings", false), p)
}

/// Phi-4 multimodal: Phi-3 with a tied head; the LoRA matrices of its modes are merged into the weights.
pub(super) fn phi4mm(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = c
        .clone()
        .with_sizes(&[
            ("vocab_size", 200_064),
            ("hidden_size", 3072),
            ("num_hidden_layers", 32),
            ("intermediate_size", 8192),
            ("num_attention_heads", 24),
            ("num_key_value_heads", 8),
            ("original_max_position_embeddings", 4096),
        ])
        .with_defaults(&[
            ("tie_word_embeddings", true.into()),
            ("partial_rotary_factor", 0.75.into()),
        ]);
    p.scope(LANGUAGE, |p| phi3::build(&c, p))
}

/// Unlimited-OCR: the first DeepSeek MoE, whose attention is that of Llama.
pub(super) fn unlimited_ocr(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = match c.opt_object("language_config")? {
        Some(text) => text,
        None => c.object("text_config")?,
    };
    let text = text
        .with_sizes(&[
            ("vocab_size", 129_280),
            ("hidden_size", 1280),
            ("intermediate_size", 6848),
            ("moe_intermediate_size", 896),
            ("num_hidden_layers", 12),
            ("num_attention_heads", 10),
            ("num_key_value_heads", 10),
            ("n_shared_experts", 2),
            ("n_routed_experts", 64),
            ("num_experts_per_tok", 6),
            ("first_k_dense_replace", 1),
            ("max_position_embeddings", 32_768),
        ])
        .with_defaults(&[("rms_norm_eps", 1e-6.into())]);
    p.scope(LANGUAGE, |p| deepseek::build(&text, p))
}

/// `text_config`, or nothing but the outer path.
fn text_or_empty(c: &Config) -> Result<Config, ConfigError> {
    Ok(c.opt_object("text_config")?.unwrap_or_else(|| c.clone().emptied()))
}
