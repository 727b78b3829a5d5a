//! Which part of a model a tensor belongs to, by its name under mlx-vlm.

use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;

/// A part of a model that answers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelPart {
    /// The language model with its head.
    Language,
    /// The vision tower with a merger inside it.
    Vision,
    /// The audio tower.
    Audio,
    /// What maps the features of a tower to the language model.
    Projector,
    /// Layers that draft tokens.
    Draft,
    /// Anything else that is stored.
    Other,
}

/// Modules at the top that are projectors.
const PROJECTORS: [&str; 14] = [
    "projector",
    "connector",
    "embed_vision",
    "embed_audio",
    "aligner",
    "resampler",
    "merge_mlp",
    "newline",
    "separator",
    "mlp1",
    "perceiver",
    "vl_",
    "sub_GN",
    "glb_GN",
];
const AUDIO: [&str; 4] = ["audio", "speech", "apm", "conformer"];
/// Modules at the top that are the language model, in mlx-vlm's and in mlx-lm's naming.
const LANGUAGE: [&str; 9] = [
    "language_model",
    "lm_head",
    "text_model",
    "model",
    "transformer",
    "backbone",
    "embed_tokens",
    "layers",
    "norm",
];

impl ModelPart {
    /// All parts, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Language, Self::Vision, Self::Audio, Self::Projector, Self::Draft, Self::Other];

    /// The part of the module or tensor at `path` of a graph.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let mut components = path.split('.');
        let top = components.next().unwrap_or_default();
        let second = components.next().unwrap_or_default();
        let tower = ["vision", "visual", "audio"].iter().any(|t| second.starts_with(t));
        if LANGUAGE.contains(&top) && !(top == "model" && tower) {
            return Self::Language;
        }
        if PROJECTORS.iter().any(|name| top.contains(name)) {
            return Self::Projector;
        }
        if AUDIO.iter().any(|name| path.contains(name)) {
            return Self::Audio;
        }
        let names = ["vision", "visual", "sam_model", "image"];
        if names.iter().any(|name| path.contains(name)) { Self::Vision } else { Self::Language }
    }

    /// Its name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Language => "language",
            Self::Vision => "vision",
            Self::Audio => "audio",
            Self::Projector => "projector",
            Self::Draft => "draft",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for ModelPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_belong_to_the_part_that_their_top_names() {
        for (path, part) in [
            ("language_model.model.layers.3.mlp.gate_proj", ModelPart::Language),
            ("model.layers.3.mlp.gate_proj", ModelPart::Language),
            ("lm_head", ModelPart::Language),
            ("backbone.layers.0.mixer.A_log", ModelPart::Language),
            ("vision_tower.blocks.0.attn.qkv", ModelPart::Vision),
            ("vision_tower.merger.mlp.0", ModelPart::Vision),
            ("vision_adapter.fc1", ModelPart::Vision),
            ("model.vision_embed_tokens.sub_GN", ModelPart::Vision),
            ("sam_model.blocks.0.attn.qkv", ModelPart::Vision),
            ("multi_modal_projector.linear_1", ModelPart::Projector),
            ("mm_projector.proj.0", ModelPart::Projector),
            ("vit_large_projector", ModelPart::Projector),
            ("audio_projection.speech.proj_0", ModelPart::Audio),
            ("image_newline", ModelPart::Projector),
            ("mlp1.1", ModelPart::Projector),
            ("embed_audio.embedding_projection", ModelPart::Projector),
            ("audio_tower.layers.0.norm_out.weight", ModelPart::Audio),
        ] {
            assert_eq!(ModelPart::of(path), part, "{path}");
        }
    }
}
