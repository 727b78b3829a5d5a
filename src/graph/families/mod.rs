//! One file per model family: from a configuration to tensors, caches and forward pass.

mod afm7;
mod apertus;
mod baichuan_m1;
mod bitnet;
mod blocks;
mod cohere;
mod common;
mod deepseek_v3;
mod exaone;
mod exaone4;
mod frame;
mod gated_delta;
mod gemma;
mod gemma3;
mod gemma3n;
mod gemma4;
mod glm4;
mod gpt;
mod gqa;
mod granite;
mod hunyuan_dense;
mod internlm2;
mod iquestloop;
mod layernorm;
mod lille;
mod llama;
mod ministral3;
mod mla;
mod mlp;
mod moe;
mod muse_glimmer;
mod nanbeige;
mod nanochat;
mod nemotron;
mod nemotron_nas;
mod olmo;
mod olmo2;
mod openelm;
mod phi;
mod phi3;
mod phi3small;
mod plamo;
mod qwen;
mod qwen2;
mod qwen3;
mod qwen3_moe;
mod qwen3_next;
mod shell;
mod talkie;

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
    Family { model_types: &["smollm3"], build: llama::build_smollm3 },
    Family { model_types: &["mistral3", "llava"], build: llama::build_mistral3 },
    Family { model_types: &["pixtral"], build: llama::build_pixtral },
    Family { model_types: &["ministral3"], build: ministral3::build },
    Family { model_types: &["qwen"], build: qwen::build },
    Family { model_types: &["qwen2"], build: qwen2::build },
    Family { model_types: &["qwen2_vl", "qwen2_5_vl"], build: qwen2::build_vl },
    Family { model_types: &["mimo"], build: qwen2::build_mimo },
    Family { model_types: &["qwen3"], build: qwen3::build },
    Family { model_types: &["qwen3_vl"], build: qwen3::build_vl },
    Family { model_types: &["qwen3_moe"], build: qwen3_moe::build },
    Family { model_types: &["qwen3_next"], build: qwen3_next::build_next },
    Family { model_types: &["qwen3_5", "qwen3_5_moe"], build: qwen3_next::build_5 },
    Family { model_types: &["gemma"], build: gemma::build },
    Family { model_types: &["gemma2"], build: gemma::build_2 },
    Family { model_types: &["gemma3"], build: gemma3::build_multimodal },
    Family { model_types: &["gemma3_text"], build: gemma3::build },
    Family { model_types: &["gemma3n"], build: gemma3n::build },
    Family { model_types: &["gemma4", "gemma4_unified"], build: gemma4::build_multimodal },
    Family { model_types: &["gemma4_text"], build: gemma4::build },
    Family { model_types: &["phi"], build: phi::build },
    Family { model_types: &["phixtral", "phi-msft"], build: phi::build_phixtral },
    Family { model_types: &["phi3"], build: phi3::build },
    Family { model_types: &["phi3small"], build: phi3small::build },
    Family { model_types: &["olmo"], build: olmo::build },
    Family { model_types: &["olmo2"], build: olmo2::build },
    Family { model_types: &["olmo3"], build: olmo2::build_3 },
    Family { model_types: &["granite"], build: granite::build },
    Family { model_types: &["glm"], build: glm4::build },
    Family { model_types: &["glm4"], build: glm4::build_4 },
    Family { model_types: &["seed_oss"], build: gqa::build_seed_oss },
    Family { model_types: &["internlm3"], build: gqa::build_internlm3 },
    Family { model_types: &["ernie4_5"], build: gqa::build_ernie },
    Family { model_types: &["helium"], build: gqa::build_helium },
    Family { model_types: &["telechat3"], build: gqa::build_telechat3 },
    Family { model_types: &["exaone4"], build: exaone4::build },
    Family { model_types: &["apertus"], build: apertus::build },
    Family { model_types: &["starcoder2"], build: layernorm::build_starcoder2 },
    Family { model_types: &["stablelm"], build: layernorm::build_stablelm },
    Family { model_types: &["cohere"], build: cohere::build },
    Family { model_types: &["cohere2"], build: cohere::build_2 },
    Family { model_types: &["hunyuan_v1_dense"], build: hunyuan_dense::build },
    Family { model_types: &["muse_glimmer"], build: muse_glimmer::build },
    Family { model_types: &["nemotron-nas"], build: nemotron_nas::build },
    Family { model_types: &["nemotron"], build: nemotron::build },
    Family { model_types: &["minicpm"], build: granite::build_minicpm },
    Family { model_types: &["exaone"], build: exaone::build },
    Family { model_types: &["internlm2"], build: internlm2::build },
    Family { model_types: &["gpt2"], build: gpt::build_2 },
    Family { model_types: &["gpt_bigcode"], build: gpt::build_bigcode },
    Family { model_types: &["gpt_neox"], build: gpt::build_neox },
    Family { model_types: &["gptj"], build: gpt::build_j },
    Family { model_types: &["openelm"], build: openelm::build },
    Family { model_types: &["nanochat"], build: nanochat::build },
    Family { model_types: &["plamo"], build: plamo::build },
    Family { model_types: &["lille-130m"], build: lille::build },
    Family { model_types: &["baichuan_m1"], build: baichuan_m1::build },
    Family { model_types: &["nanbeige"], build: nanbeige::build },
    Family { model_types: &["talkie"], build: talkie::build },
    Family { model_types: &["bitnet"], build: bitnet::build },
    Family { model_types: &["iquestloopcoder"], build: iquestloop::build },
    Family { model_types: &["afm7"], build: afm7::build },
    Family {
        model_types: &["deepseek_v3", "kimi_k2", "joyai_llm_flash"],
        build: deepseek_v3::build,
    },
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
