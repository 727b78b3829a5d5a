//! One file per model family: from a configuration to tensors, caches and forward pass.

mod afmoe;
mod bailing_moe;
mod common;
mod dbrx;
mod deepseek;
mod deepseek_v3;
mod dots1;
mod ernie4_5_moe;
mod exaone_moe;
mod frame;
mod fused;
mod gated_delta;
mod gear;
mod gemma3;
mod glm4_moe;
mod gpt_oss;
mod granitemoe;
mod hunyuan;
mod klear;
mod laguna;
mod lfm2;
mod llama;
mod llama4;
mod longcat;
mod mellum;
mod mimo_v2_flash;
mod minimax;
mod minimax_index;
mod minimax_m3;
mod mixtral;
mod mla;
mod moe;
mod ngram;
mod olmoe;
mod outline;
mod phimoe;
mod qwen2_moe;
mod qwen3;
mod qwen3_moe;
mod qwen3_next;
mod routed;
mod sandwich;
mod scores;
mod spark2_5;
mod step3p5;
mod step3p7;

use super::Built;
use super::params::ParamBuilder;
use crate::model::{Config, ConfigError};

/// A family: the `model_type`s it implements and how it is built.
pub struct Family {
    /// Values of `model_type`, as mlx-lm maps them to this implementation.
    pub model_types: &'static [&'static str],
    /// Declares the tensors and returns caches and forward pass.
    pub build: fn(&Config, &mut ParamBuilder) -> Result<Built, ConfigError>,
    /// `None` when mlx-lm 0.32.2 runs these types. Otherwise it does not, and this is its implementation whose
    /// operations stand in for them; the tensors are those of the model itself.
    pub stand_in: Option<&'static str>,
}

/// All families.
pub const FAMILIES: &[Family] = &[
    Family {
        model_types: &["llama", "mistral", "iquestcoder", "xverse"],
        build: llama::build,
        stand_in: None,
    },
    Family { model_types: &["qwen3"], build: qwen3::build, stand_in: None },
    Family { model_types: &["qwen2_moe"], build: qwen2_moe::build, stand_in: None },
    Family { model_types: &["qwen3_moe"], build: qwen3_moe::build, stand_in: None },
    Family { model_types: &["qwen3_vl_moe"], build: qwen3_moe::build_vision, stand_in: None },
    Family { model_types: &["qwen3_next"], build: qwen3_next::build_next, stand_in: None },
    Family { model_types: &["qwen3_5", "qwen3_5_moe"], build: qwen3_next::build_5, stand_in: None },
    Family { model_types: &["gemma3"], build: gemma3::build_multimodal, stand_in: None },
    Family { model_types: &["gemma3_text"], build: gemma3::build, stand_in: None },
    Family {
        model_types: &["deepseek_v3", "kimi_k2", "joyai_llm_flash"],
        build: deepseek_v3::build,
        stand_in: None,
    },
    Family { model_types: &["mixtral"], build: mixtral::build, stand_in: None },
    Family { model_types: &["phimoe"], build: phimoe::build, stand_in: None },
    Family { model_types: &["olmoe"], build: olmoe::build, stand_in: None },
    Family { model_types: &["gpt_oss"], build: gpt_oss::build, stand_in: None },
    Family { model_types: &["glm4_moe"], build: glm4_moe::build, stand_in: None },
    Family { model_types: &["solar_open"], build: glm4_moe::build_solar, stand_in: None },
    Family { model_types: &["dots1"], build: dots1::build, stand_in: None },
    Family { model_types: &["minimax", "minimax_m2"], build: minimax::build, stand_in: None },
    Family { model_types: &["ernie4_5_moe"], build: ernie4_5_moe::build, stand_in: None },
    Family { model_types: &["granitemoe"], build: granitemoe::build, stand_in: None },
    Family { model_types: &["bailing_moe"], build: bailing_moe::build, stand_in: None },
    Family { model_types: &["afmoe"], build: afmoe::build, stand_in: None },
    Family { model_types: &["mellum"], build: mellum::build, stand_in: None },
    Family { model_types: &["mimo_v2_flash"], build: mimo_v2_flash::build, stand_in: None },
    Family { model_types: &["lfm2"], build: lfm2::build, stand_in: None },
    Family { model_types: &["lfm2_moe"], build: lfm2::build_moe, stand_in: None },
    Family { model_types: &["lfm2-vl"], build: lfm2::build_vision, stand_in: None },
    Family { model_types: &["minimax_m3_vl"], build: minimax_m3::build, stand_in: None },
    Family { model_types: &["step3p5"], build: step3p5::build, stand_in: None },
    Family { model_types: &["hunyuan"], build: hunyuan::build, stand_in: None },
    Family { model_types: &["deepseek"], build: deepseek::build, stand_in: None },
    Family { model_types: &["Klear"], build: klear::build, stand_in: None },
    Family { model_types: &["exaone_moe"], build: exaone_moe::build, stand_in: None },
    Family { model_types: &["laguna"], build: laguna::build, stand_in: None },
    Family { model_types: &["spark2_5"], build: spark2_5::build, stand_in: None },
    Family { model_types: &["dbrx"], build: dbrx::build, stand_in: None },
    Family { model_types: &["gear"], build: gear::build, stand_in: None },
    Family { model_types: &["longcat_flash"], build: longcat::build, stand_in: None },
    Family { model_types: &["longcat_flash_ngram"], build: longcat::build_ngram, stand_in: None },
    Family { model_types: &["step3p7"], build: step3p7::build, stand_in: Some("step3p5") },
    Family {
        model_types: &["hunyuan_v1_moe"],
        build: hunyuan::build_v1,
        stand_in: Some("hunyuan"),
    },
    Family { model_types: &["llama4"], build: llama4::build, stand_in: None },
    Family { model_types: &["llama4_text"], build: llama4::build_text, stand_in: None },
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
