//! What mlx-vlm makes of a model beyond its text: vision and audio towers with their projectors, and what it does
//! otherwise than mlx-lm with the text part. Tensors and rules are those of mlx-vlm 0.7.10 (`mlx_vlm/models/*`).
//!
//! A file holds the towers of one origin. They are declared behind the text model into the same list of tensors, so that
//! every reading of a graph sees what the engine loads.

mod clip;
mod conformer;
mod deepseek_ocr;
mod gemma3n;
mod gemma4;
mod glm;
pub mod images;
mod intern;
mod keys;
mod llama;
mod minimax;
mod molmo;
mod moonvit;
mod muse;
mod part;
mod phi;
mod pixtral;
mod qwen;
mod siglip;
mod step;
mod vit;

pub use part::ModelPart;

pub(in crate::graph) use clip::{LLAVA, LLAVA_NEXT};
pub(in crate::graph) use deepseek_ocr::UNLIMITED_OCR;
pub(in crate::graph) use gemma3n::GEMMA3N;
pub(in crate::graph) use gemma4::{GEMMA4, GEMMA4_UNIFIED};
pub(in crate::graph) use glm::GLM4V;
pub(in crate::graph) use intern::INTERNVL_CHAT;
pub(in crate::graph) use llama::{LLAMA4, MLLAMA};
pub(in crate::graph) use minimax::MINIMAX_M3;
pub(in crate::graph) use molmo::MOLMO2;
pub(in crate::graph) use moonvit::{KIMI_K3, KIMI_K25, KIMI_VL};
pub(in crate::graph) use muse::MUSE_GLIMMER;
pub(in crate::graph) use phi::{PHI3_V, PHI4_MM};
pub(in crate::graph) use pixtral::{MISTRAL3, PIXTRAL};
pub(in crate::graph) use qwen::{QWEN2_5_VL, QWEN2_VL, QWEN3_5, QWEN3_VL, QWEN3_VL_MOE};
pub(in crate::graph) use siglip::{GEMMA3, IDEFICS3, LFM2_VL, PALIGEMMA, SMOLVLM};
pub(in crate::graph) use step::STEP3P7;

use super::QuantOverride;
use super::params::ParamBuilder;
use crate::model::{Config, ConfigError};
use images::ImageRule;

/// Whose model code an engine runs, which decides what it loads of a model with towers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Loader {
    /// mlx-lm's: the language model only.
    #[default]
    MlxLm,
    /// mlx-vlm's: the language model, towers and projectors.
    MlxVlm,
}

/// A model type under mlx-vlm.
pub struct VisionModel {
    /// Declares the towers and their projectors.
    pub(in crate::graph) towers: fn(&Config, &mut ParamBuilder) -> Result<(), ConfigError>,
    /// mlx-vlm's `quant_predicate` where it differs from mlx-lm's.
    pub(in crate::graph) rule: Option<fn(&str) -> QuantOverride>,
    /// Tensors that stay float32 in a 16-bit model (`cast_predicate`).
    pub(in crate::graph) keeps_f32: fn(&str) -> bool,
    /// Whether every model of the type has the towers, though its configuration does not name them.
    pub(in crate::graph) implied: bool,
    /// How many tokens an image becomes, where the rule of the processor is known.
    pub(in crate::graph) images: Option<ImageRule>,
}

impl VisionModel {
    /// Towers beside a text model that both libraries build alike.
    const fn new(towers: fn(&Config, &mut ParamBuilder) -> Result<(), ConfigError>) -> Self {
        Self { towers, rule: None, keeps_f32: |_| false, implied: false, images: None }
    }

    /// With mlx-vlm's own `quant_predicate`.
    const fn with_rule(self, rule: fn(&str) -> QuantOverride) -> Self {
        Self { rule: Some(rule), ..self }
    }

    /// With towers that the configuration need not name.
    const fn implied(self) -> Self {
        Self { implied: true, ..self }
    }

    /// With the rule of its image processor.
    const fn with_images(self, rule: ImageRule) -> Self {
        Self { images: Some(rule), ..self }
    }

    /// With tensors that stay float32.
    const fn with_f32(self, keeps_f32: fn(&str) -> bool) -> Self {
        Self { keeps_f32, ..self }
    }
}

/// Parts of a path that keep a module out of a conversion (`skip_multimodal_module` in `mlx_vlm/utils.py`).
const UNPACKED: [&str; 10] = [
    "vision",
    "aligner",
    "vl_connector",
    "sam_model",
    "audio_model",
    "audio_tower",
    "code_predictor",
    "img_projector",
    "multi_modal_projector",
    "patch_merge_mlp",
];

/// Whether `mlx_vlm.convert` leaves the module at `path` unpacked, whatever the model's own rule says.
#[must_use]
pub fn stays_unpacked(path: &str) -> bool {
    UNPACKED.iter().any(|part| path.contains(part))
}
