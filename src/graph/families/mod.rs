//! One file per model family: from a configuration to tensors, caches and forward pass.

mod afm7;
mod afmoe;
mod apertus;
mod baichuan_m1;
mod bailing_hybrid;
mod bailing_linear;
mod bailing_moe;
mod bailing_v3;
mod bitnet;
mod cohere;
mod dbrx;
mod deepseek;
mod deepseek_v2;
mod deepseek_v3;
mod deepseek_v32;
mod deepseek_v4;
mod deepseek_v41;
mod dots1;
mod ernie4_5;
mod ernie4_5_moe;
mod exaone;
mod exaone4;
mod exaone_moe;
mod falcon_h1;
mod gear;
mod gemma;
mod gemma3;
mod gemma3n;
mod gemma4;
mod glm4;
mod glm4_moe;
mod glm5_next;
mod gpt2;
mod gpt_bigcode;
mod gpt_neox;
mod gpt_oss;
mod gptj;
mod granite;
mod granitemoe;
mod granitemoehybrid;
mod helium;
mod hunyuan;
mod hunyuan_dense;
mod hy_v3;
mod hy_v4;
mod internlm2;
mod internlm3;
mod iquestloop;
mod jamba;
mod kimi_k3;
mod kimi_linear;
mod klear;
mod laguna;
mod lfm2;
mod lille;
mod llama;
mod llama4;
mod longcat;
mod mamba;
mod mamba2;
mod mellum;
mod mimo_v2_flash;
mod minicpm3;
mod minimax;
mod minimax_m3;
mod ministral3;
mod mistral3;
mod mistral4;
mod mixtral;
mod mllama;
mod mlx_vlm_text;
mod molmo2;
mod muse_glimmer;
mod muse_spark;
mod nanbeige;
mod nanochat;
mod nemotron;
mod nemotron_h;
mod nemotron_nas;
mod olmo;
mod olmo2;
mod olmo_hybrid;
mod olmoe;
mod openelm;
mod phi;
mod phi3;
mod phi3small;
mod phimoe;
mod pixtral;
mod plamo;
mod plamo2;
mod plamo3;
mod prism_hadamard;
mod qwen;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod qwen3_moe;
mod qwen3_next;
mod qwen4_exp;
mod recurrent_gemma;
mod rwkv7;
mod seed_oss;
mod smollm3;
mod spark2_5;
mod stablelm;
mod starcoder2;
mod step3p5;
mod step3p7;
mod talkie;
mod telechat3;
mod vision_text;
mod youtu_llm;

pub use super::traits::{GgufTraits, Reads};

use super::Built;
use super::params::ParamBuilder;
use crate::graph::parallel::{self, Division};
use crate::graph::towers::{self, VisionModel};
use crate::model::{Config, ConfigError, Scheme};
use crate::versions::mlx_lm;

/// Builds a model.
type Build = fn(&Config, &mut ParamBuilder) -> Result<Built, ConfigError>;

/// A family: the `model_type`s it implements and how it is built.
pub struct Family {
    /// Values of `model_type`, as mlx-lm maps them to this implementation.
    pub model_types: &'static [&'static str],
    /// Declares the tensors and returns caches and forward pass.
    pub build: Build,
    /// For types that mlx-lm cannot run: one sentence that says so and what the graph is built on.
    pub not_in_mlx_lm: Option<&'static str>,
    /// The scheme that the original checkpoints are published in, where that is no plain float.
    pub native_scheme: Option<Scheme>,
    /// How mlx-vlm builds it, where it has towers.
    pub seen: Option<&'static VisionModel>,
    /// How mlx-vlm builds the text model where it does not as mlx-lm does.
    pub text_seen: Option<Build>,
    /// Formats of originals that the family's `sanitize` reads, besides plain floats.
    pub reads: &'static [Reads],
    /// Whether the model has a head of its own just when the files hold one, whatever the configuration says.
    pub head_by_files: bool,
    /// What llama.cpp's tools make of it.
    pub gguf: GgufTraits,
    /// How mlx-lm divides it among several Macs.
    pub parallel: &'static Division,
}

impl Family {
    const fn of(model_types: &'static [&'static str], build: Build) -> Self {
        Self {
            model_types,
            build,
            not_in_mlx_lm: None,
            native_scheme: None,
            seen: None,
            text_seen: None,
            reads: &[],
            head_by_files: false,
            gguf: GgufTraits::NONE,
            parallel: &parallel::ALONE,
        }
    }

    /// Divided among several Macs so.
    const fn divided(mut self, parallel: &'static Division) -> Self {
        self.parallel = parallel;
        self
    }

    const fn plain_in_gguf(mut self) -> Self {
        self.gguf.plain_mixes = true;
        self
    }

    const fn heads_by_layer_in_gguf(mut self) -> Self {
        self.gguf.heads_by_layer = true;
        self
    }

    const fn seventy_billion_in_gguf(mut self) -> Self {
        self.gguf.seventy_billion = true;
        self
    }

    const fn beyond(model_types: &'static [&'static str], build: Build, why: &'static str) -> Self {
        Self { not_in_mlx_lm: Some(why), ..Self::of(model_types, build) }
    }

    /// A type that only mlx-vlm has.
    const fn of_mlx_vlm(
        model_types: &'static [&'static str],
        build: Build,
        seen: &'static VisionModel,
    ) -> Self {
        Self::beyond(
            model_types,
            build,
            concat!(
                "mlx-lm ",
                mlx_lm!(),
                " cannot run this type, mlx-vlm can; without towers, the figures are \
                 those of the language model alone"
            ),
        )
        .seen_by(seen)
    }

    /// With formats of originals that it reads.
    const fn reading(self, reads: &'static [Reads]) -> Self {
        Self { reads, ..self }
    }

    /// With a head of its own where the files hold one.
    const fn headed_by_files(self) -> Self {
        Self { head_by_files: true, ..self }
    }

    /// With the towers that mlx-vlm adds.
    const fn seen_by(self, seen: &'static VisionModel) -> Self {
        Self { seen: Some(seen), ..self }
    }

    /// With a text model of mlx-vlm's own.
    const fn seen_with_text(self, text: Build) -> Self {
        Self { text_seen: Some(text), ..self }
    }
}

/// All families.
pub const FAMILIES: &[Family] = &[
    Family::of(&["llama", "mistral", "iquestcoder", "xverse"], llama::build)
        .divided(&parallel::BLOCKS_ONLY)
        .plain_in_gguf()
        .seventy_billion_in_gguf(),
    Family::of(&["qwen3"], qwen3::build).divided(&parallel::BLOCKS_ONLY).plain_in_gguf(),
    Family::of(&["qwen3_moe"], qwen3_moe::build).divided(&parallel::BOTH),
    Family::of(&["qwen3_next"], qwen3_next::build_next).divided(&parallel::PIPELINE),
    Family::of(&["qwen3_5", "qwen3_5_moe"], qwen3_next::build_5)
        .divided(&parallel::GATED_DELTA)
        .seen_by(&towers::QWEN3_5),
    Family::of(&["gemma3"], gemma3::build_multimodal)
        .headed_by_files()
        .seen_by(&towers::GEMMA3)
        // mlx-vlm gives the text part an output head of its own.
        .seen_with_text(gemma3::build_with_head)
        .plain_in_gguf(),
    Family::of(&["gemma3_text"], gemma3::build).headed_by_files().plain_in_gguf(),
    Family::of(&["deepseek_v3", "kimi_k2", "joyai_llm_flash"], deepseek_v3::build)
        .divided(&parallel::LATENT_BOTH)
        .reading(&[Reads::Fp8, Reads::Int4]),
    Family::of(&["glm4_moe_lite"], deepseek_v3::build_glm_lite).divided(&parallel::LATENT_BOTH),
    Family::of(&["kimi_k25"], deepseek_v3::build_wrapped)
        .divided(&parallel::LATENT_BOTH)
        .reading(&[Reads::Fp8, Reads::Int4])
        .seen_by(&towers::KIMI_K25),
    Family::of(&["kimi_vl"], deepseek_v3::build_wrapped)
        .reading(&[Reads::Fp8, Reads::Int4])
        .seen_by(&towers::KIMI_VL),
    Family::of(&["deepseek_v32"], deepseek_v32::build)
        .divided(&parallel::LATENT_BOTH)
        .reading(&[Reads::Fp8]),
    Family::of(&["glm_moe_dsa"], deepseek_v32::build_glm)
        .divided(&parallel::LATENT_BOTH)
        .reading(&[Reads::Fp8]),
    Family::of(&["nemotron_h"], nemotron_h::build).heads_by_layer_in_gguf(),
    Family::of(&["granitemoehybrid"], granitemoehybrid::build).heads_by_layer_in_gguf(),
    Family::of(&["mamba2"], mamba2::build),
    Family::of(&["mamba", "falcon_mamba"], mamba::build),
    Family::of(&["falcon_h1"], falcon_h1::build),
    Family::of(&["kimi_linear"], kimi_linear::build).heads_by_layer_in_gguf(),
    Family::of(&["kimi_k3"], kimi_k3::build)
        .divided(&parallel::KIMI)
        .reading(&[Reads::Mxfp4])
        .seen_by(&towers::KIMI_K3),
    Family::of(&["deepseek_v41", "deepseek_v41_text"], deepseek_v41::build)
        .divided(&parallel::GROUPED),
    Family {
        not_in_mlx_lm: Some(deepseek_v4::NOT_IN_MLX_LM),
        ..Family::of(&["deepseek_v4"], deepseek_v4::build)
    },
    Family::of(&["jamba"], jamba::build).heads_by_layer_in_gguf(),
    Family::of(&["olmo_hybrid"], olmo_hybrid::build),
    Family::of(&["plamo2"], plamo2::build).heads_by_layer_in_gguf(),
    Family::of(&["plamo3"], plamo3::build),
    Family::of(&["rwkv7"], rwkv7::build),
    Family::of(&["recurrent_gemma"], recurrent_gemma::build),
    Family::of(&["prism_hadamard_qwen35"], prism_hadamard::build),
    Family::of(&["mistral4"], mistral4::build)
        .divided(&parallel::LATENT_BOTH)
        .reading(&[Reads::Fp8, Reads::Int4]),
    Family::of(&["deepseek_v2"], deepseek_v2::build).divided(&parallel::EXPANDED_LATENT),
    Family::of(&["youtu_llm"], youtu_llm::build),
    Family::of(&["minicpm3"], minicpm3::build),
    Family::of(&["qwen2_moe"], qwen2_moe::build).plain_in_gguf(),
    Family::of(&["qwen3_vl_moe"], qwen3_moe::build_vision).seen_by(&towers::QWEN3_VL_MOE),
    Family::of(&["mixtral"], mixtral::build).plain_in_gguf(),
    Family::of(&["phimoe"], phimoe::build),
    Family::of(&["olmoe"], olmoe::build),
    Family {
        // Experts in mxfp4, which mlx-lm keeps.
        native_scheme: Some(Scheme::Mxfp4Q8),
        ..Family::of(&["gpt_oss"], gpt_oss::build)
            .divided(&parallel::WITH_SINKS)
            .reading(&[Reads::Mxfp4])
            .plain_in_gguf()
    },
    Family::of(&["glm4_moe"], glm4_moe::build).divided(&parallel::BOTH),
    Family::of(&["solar_open"], glm4_moe::build_solar).divided(&parallel::BOTH),
    Family::of(&["dots1"], dots1::build),
    Family::of(&["minimax", "minimax_m2"], minimax::build)
        .divided(&parallel::WITH_WIDE_NORMS)
        .reading(&[Reads::Fp8]),
    Family::of(&["ernie4_5_moe"], ernie4_5_moe::build),
    Family::of(&["granitemoe"], granitemoe::build),
    Family::of(&["bailing_moe"], bailing_moe::build),
    Family::of(&["bailing_moe_linear"], bailing_linear::build),
    Family::of(&["bailing_hybrid"], bailing_hybrid::build).divided(&parallel::PIPELINE),
    Family::of(&["bailing_moe_v3"], bailing_v3::build),
    Family::of(&["afmoe"], afmoe::build),
    Family::of(&["mellum"], mellum::build),
    Family::of(&["mimo_v2_flash"], mimo_v2_flash::build).reading(&[Reads::Fp8]),
    Family::beyond(&["mimo_v2"], mlx_vlm_text::mimo_v2, mlx_vlm_text::ONLY_THERE)
        .reading(&[Reads::Fp8]),
    Family::beyond(&["k2_horizon"], mlx_vlm_text::k2_horizon, mlx_vlm_text::ONLY_THERE),
    Family::of(&["lfm2"], lfm2::build).heads_by_layer_in_gguf(),
    Family::of(&["lfm2_moe"], lfm2::build_moe).heads_by_layer_in_gguf(),
    Family::of(&["lfm2-vl"], lfm2::build_vision).seen_by(&towers::LFM2_VL),
    Family::of(&["minimax_m3_vl"], minimax_m3::build)
        .divided(&parallel::WITH_SPARSE_INDEX)
        .reading(&[Reads::Mxfp8])
        .seen_by(&towers::MINIMAX_M3),
    Family::of(&["step3p5"], step3p5::build).divided(&parallel::WITH_HEAD_GATE),
    Family::of(&["hunyuan"], hunyuan::build),
    Family::of(&["deepseek"], deepseek::build),
    Family::of(&["Klear"], klear::build),
    Family::of(&["exaone_moe"], exaone_moe::build).divided(&parallel::BLOCKS_ONLY),
    Family::of(&["laguna"], laguna::build),
    Family::of(&["spark2_5"], spark2_5::build),
    Family::of(&["dbrx"], dbrx::build),
    Family::of(&["gear"], gear::build),
    Family::of(&["muse_spark"], muse_spark::build)
        .divided(&parallel::FUSED_ATTENTION)
        .reading(&[Reads::Nvfp4]),
    Family::of(&["longcat_flash"], longcat::build).divided(&parallel::LATENT_ONLY),
    Family::of(&["longcat_flash_ngram"], longcat::build_ngram).divided(&parallel::LATENT_ONLY),
    Family::of(&["llama4"], llama4::build).seen_by(&towers::LLAMA4),
    Family::of(&["llama4_text"], llama4::build_text),
    Family::beyond(
        &["step3p7"],
        step3p7::build,
        concat!(
            "mlx-lm ",
            mlx_lm!(),
            " cannot run this type; the figures are those of its tensors under mlx-lm's step3p5"
        ),
    )
    .seen_by(&towers::STEP3P7)
    .seen_with_text(step3p7::build_under_mlx_vlm),
    Family::beyond(
        &["hunyuan_v1_moe"],
        hunyuan::build_v1,
        concat!(
            "mlx-lm ",
            mlx_lm!(),
            " cannot run this type; the figures are those of its tensors under mlx-lm's hunyuan"
        ),
    ),
    Family::of(&["smollm3"], smollm3::build).plain_in_gguf(),
    Family::of(&["mistral3"], mistral3::build).seen_by(&towers::MISTRAL3),
    Family::of(&["llava"], mistral3::build).seen_by(&towers::LLAVA),
    Family::of(&["pixtral"], pixtral::build).seen_by(&towers::PIXTRAL),
    Family::of(&["ministral3"], ministral3::build).divided(&parallel::BOTH).reading(&[Reads::Fp8]),
    Family::of(&["qwen"], qwen::build),
    Family::of(&["qwen2"], qwen2::build)
        .divided(&parallel::BOTH)
        .plain_in_gguf()
        .seventy_billion_in_gguf(),
    Family::of(&["qwen2_vl"], qwen2::build_vl).seen_by(&towers::QWEN2_VL),
    Family::of(&["qwen2_5_vl"], qwen2::build_vl).seen_by(&towers::QWEN2_5_VL),
    Family::of(&["mimo"], qwen2::build_mimo),
    Family::of(&["qwen3_vl"], qwen3::build_vl).seen_by(&towers::QWEN3_VL),
    Family::of(&["gemma"], gemma::build).plain_in_gguf(),
    Family { gguf: gemma::GGUF_2, ..Family::of(&["gemma2"], gemma::build_2) },
    Family::of(&["gemma3n"], gemma3n::build).seen_by(&towers::GEMMA3N),
    Family::of(&["gemma4"], gemma4::build_multimodal).seen_by(&towers::GEMMA4),
    Family::of(&["gemma4_unified"], gemma4::build_multimodal).seen_by(&towers::GEMMA4_UNIFIED),
    Family::of(&["gemma4_text"], gemma4::build),
    Family::of(&["phi"], phi::build).plain_in_gguf(),
    Family::of(&["phixtral", "phi-msft"], phi::build_phixtral),
    Family::of(&["phi3"], phi3::build).plain_in_gguf(),
    Family::of(&["phi3small"], phi3small::build),
    Family::of(&["olmo"], olmo::build),
    Family::of(&["olmo2"], olmo2::build).plain_in_gguf(),
    Family::of(&["olmo3"], olmo2::build_3),
    Family::of(&["granite"], granite::build),
    Family::of(&["glm"], glm4::build),
    Family::of(&["glm4"], glm4::build_4),
    Family::of(&["seed_oss"], seed_oss::build),
    Family::of(&["internlm3"], internlm3::build),
    Family::of(&["ernie4_5"], ernie4_5::build),
    Family::of(&["helium"], helium::build),
    Family::of(&["telechat3"], telechat3::build),
    Family::of(&["exaone4"], exaone4::build),
    Family::of(&["apertus"], apertus::build),
    Family::of(&["starcoder2"], starcoder2::build).plain_in_gguf(),
    Family::of(&["stablelm"], stablelm::build),
    Family::of(&["cohere"], cohere::build).plain_in_gguf(),
    Family::of(&["cohere2"], cohere::build_2).plain_in_gguf(),
    Family::of(&["hunyuan_v1_dense"], hunyuan_dense::build),
    Family::of(&["muse_glimmer"], muse_glimmer::build).seen_by(&towers::MUSE_GLIMMER),
    Family::of(&["nemotron-nas"], nemotron_nas::build),
    Family::of(&["nemotron"], nemotron::build),
    Family::of(&["minicpm"], granite::build_minicpm),
    Family::of(&["exaone"], exaone::build),
    Family::of(&["internlm2"], internlm2::build),
    Family::of(&["gpt2"], gpt2::build),
    Family::of(&["gpt_bigcode"], gpt_bigcode::build),
    Family::of(&["gpt_neox"], gpt_neox::build),
    Family::of(&["gptj"], gptj::build),
    Family::of(&["openelm"], openelm::build),
    Family::of(&["nanochat"], nanochat::build),
    Family::of(&["plamo"], plamo::build),
    Family::of(&["lille-130m"], lille::build),
    Family::of(&["baichuan_m1"], baichuan_m1::build),
    Family::of(&["nanbeige"], nanbeige::build),
    Family::of(&["talkie"], talkie::build),
    Family::of(&["bitnet"], bitnet::build),
    Family::of(&["iquestloopcoder"], iquestloop::build).divided(&parallel::WITH_LOOP_GATES),
    Family::of(&["afm7"], afm7::build),
    Family::beyond(&["glm5_next"], glm5_next::build, mlx_vlm_text::ONLY_THERE),
    Family::beyond(&["qwen4_exp", "qwen4_exp_text"], qwen4_exp::build, mlx_vlm_text::ONLY_THERE),
    Family::beyond(&["hy_v4"], hy_v4::build, mlx_vlm_text::ONLY_THERE),
    Family::beyond(&["hy_v3"], hy_v3::build, hy_v3::NOWHERE),
    Family::beyond(&["apertus1p5", "apertus1p5_text"], apertus::build_1p5, apertus::NOWHERE),
    Family::of_mlx_vlm(&["idefics3"], vision_text::idefics3, &towers::IDEFICS3),
    Family::of_mlx_vlm(&["smolvlm"], vision_text::smolvlm, &towers::SMOLVLM),
    Family::of_mlx_vlm(&["paligemma"], vision_text::paligemma, &towers::PALIGEMMA),
    Family::of_mlx_vlm(&["llava_next"], vision_text::llava_next, &towers::LLAVA_NEXT),
    Family::of_mlx_vlm(&["internvl_chat"], vision_text::internvl, &towers::INTERNVL_CHAT),
    Family::of_mlx_vlm(&["glm4v"], vision_text::glm4v, &towers::GLM4V),
    Family::of_mlx_vlm(&["phi3_v"], vision_text::phi3_v, &towers::PHI3_V),
    Family::of_mlx_vlm(&["phi4mm"], vision_text::phi4mm, &towers::PHI4_MM),
    Family::of_mlx_vlm(&["unlimited-ocr"], vision_text::unlimited_ocr, &towers::UNLIMITED_OCR),
    Family::of_mlx_vlm(&["mllama"], mllama::build, &towers::MLLAMA),
    Family::of_mlx_vlm(&["molmo2"], molmo2::build, &towers::MOLMO2),
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

/// The family of the language model of a configuration: the inner one where a wrapper names one.
fn of_text(config: &Config) -> Option<&'static Family> {
    let text = config.opt_object("text_config").ok().flatten();
    let inner = text.as_ref().and_then(|t| t.model_type().ok()).and_then(|t| find(t).ok());
    inner.or_else(|| find(config.model_type().ok()?).ok())
}

/// Formats of originals that the family of a configuration reads: the wrapper's own, else those of the model inside.
#[must_use]
pub fn reads(config: &Config) -> &'static [Reads] {
    let outer = config.model_type().ok().and_then(|t| find(t).ok()).map_or(&[][..], |f| f.reads);
    if outer.is_empty() { of_text(config).map_or(&[], |family| family.reads) } else { outer }
}

/// Whether the family of a configuration has a head of its own just when the files hold one.
#[must_use]
pub fn takes_stored_head(config: &Config) -> bool {
    of_text(config).is_some_and(|family| family.head_by_files)
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
