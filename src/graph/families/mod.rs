//! One file per model family: from a configuration to tensors, caches and forward pass.

mod common;
mod deepseek_v2;
mod deepseek_v3;
mod deepseek_v32;
mod deepseek_v41;
mod deepseek_v41_attention;
mod deepseek_v41_indexer;
mod falcon_h1;
mod frame;
mod gated_delta;
mod gemma3;
mod granitemoehybrid;
mod hyper;
mod kimi_delta;
mod kimi_k3;
mod kimi_linear;
mod kimi_moe;
mod llama;
mod mamba;
mod mamba2;
mod mamba2_mixer;
mod minicpm3;
mod mistral4;
mod mla;
mod mla_expanded;
mod moe;
mod nemotron_h;
mod qwen3;
mod qwen3_moe;
mod qwen3_next;
mod youtu_llm;

use super::Built;
use super::params::ParamBuilder;
use crate::model::{Config, ConfigError};

/// A family: the `model_type`s it implements and how it is built.
pub struct Family {
    /// Values of `model_type`, as mlx-lm maps them to this implementation.
    pub model_types: &'static [&'static str],
    /// Declares the tensors and returns caches and forward pass.
    pub build: fn(&Config, &mut ParamBuilder) -> Result<Built, ConfigError>,
}

/// All families.
pub const FAMILIES: &[Family] = &[
    Family { model_types: &["llama", "mistral", "iquestcoder", "xverse"], build: llama::build },
    Family { model_types: &["qwen3"], build: qwen3::build },
    Family { model_types: &["qwen3_moe"], build: qwen3_moe::build },
    Family { model_types: &["qwen3_next"], build: qwen3_next::build_next },
    Family { model_types: &["qwen3_5", "qwen3_5_moe"], build: qwen3_next::build_5 },
    Family { model_types: &["gemma3"], build: gemma3::build_multimodal },
    Family { model_types: &["gemma3_text"], build: gemma3::build },
    Family {
        model_types: &["deepseek_v3", "kimi_k2", "joyai_llm_flash"],
        build: deepseek_v3::build,
    },
    Family { model_types: &["glm4_moe_lite"], build: deepseek_v3::build_glm_lite },
    Family { model_types: &["kimi_k25", "kimi_vl"], build: deepseek_v3::build_wrapped },
    Family { model_types: &["deepseek_v32"], build: deepseek_v32::build },
    Family { model_types: &["glm_moe_dsa"], build: deepseek_v32::build_glm },
    Family { model_types: &["nemotron_h"], build: nemotron_h::build },
    Family { model_types: &["granitemoehybrid"], build: granitemoehybrid::build },
    Family { model_types: &["mamba2"], build: mamba2::build },
    Family { model_types: &["mamba", "falcon_mamba"], build: mamba::build },
    Family { model_types: &["falcon_h1"], build: falcon_h1::build },
    Family { model_types: &["kimi_linear"], build: kimi_linear::build },
    Family { model_types: &["kimi_k3"], build: kimi_k3::build },
    Family { model_types: &["deepseek_v41", "deepseek_v41_text"], build: deepseek_v41::build },
    Family { model_types: &["mistral4"], build: mistral4::build },
    Family { model_types: &["deepseek_v2"], build: deepseek_v2::build },
    Family { model_types: &["youtu_llm"], build: youtu_llm::build },
    Family { model_types: &["minicpm3"], build: minicpm3::build },
];

/// The family of a `model_type`.
///
/// # Errors
/// When no family implements it; the text lists close names.
pub fn find(model_type: &str) -> Result<&'static Family, ConfigError> {
    FAMILIES
        .iter()
        .find(|f| f.model_types.contains(&model_type))
        .ok_or_else(|| ConfigError::UnknownFamily(unknown(model_type)))
}

fn unknown(model_type: &str) -> String {
    let mut names: Vec<(f64, &str)> = FAMILIES
        .iter()
        .flat_map(|f| f.model_types)
        .map(|&name| (strsim::jaro_winkler(model_type, name), name))
        .filter(|(score, _)| *score > 0.75)
        .collect();
    names.sort_by(|a, b| b.0.total_cmp(&a.0));
    let close: Vec<&str> = names.iter().take(5).map(|n| n.1).collect();
    let hint = if close.is_empty() {
        "`mlxplan models --families` lists those it knows".to_owned()
    } else {
        format!("close names: {}", close.join(", "))
    };
    format!("mlxplan does not know the model_type '{model_type}'; {hint}")
}
