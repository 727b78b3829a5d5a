//! Which part of a model a tensor belongs to, told by its name.
//!
//! mlx-lm runs the language model only and drops the rest at load (`sanitize` of each family); conversions by mlx-vlm
//! keep the towers in the file. The names below are those that the families' `sanitize` drop and those of mlx-vlm
//! conversions. Wrappers in front (`model.`, `language_model.`, `thinker.`) are skipped before the comparison. One family
//! of mlx-lm 0.32.2, `muse_spark`, runs its vision tower too; its tower counts as vision here all the same.

use super::tensors::TensorIndex;

/// A part of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModelPart {
    /// The language model: what mlx-lm loads.
    Text,
    /// Vision tower and the projection of its output.
    Vision,
    /// Audio tower, speech generation and their projections.
    Audio,
    /// Layers for multi-token prediction.
    Mtp,
}

/// First path components of a part, beside those that start with `vision_`, `audio_` or `mtp_`.
const VISION: [&str; 9] = [
    "visual",
    "vision",
    "aligner",
    "embed_vision",
    "multi_modal_projector",
    "multimodal_projector",
    "mm_projector",
    "patch_merge_mlp",
    "patch_merger",
];
const AUDIO: [&str; 4] = ["embed_audio", "speech_encoder", "talker", "code2wav"];
const WRAPPERS: [&str; 3] = ["model", "language_model", "thinker"];

/// The part that the tensor `name` belongs to. `layers` is the number of layers of the language model, where known:
/// `model.layers.N` from there on are prediction layers (DeepSeek, GLM).
#[must_use]
pub fn part_of(name: &str, layers: Option<u64>) -> ModelPart {
    let mut components = name.split('.').skip_while(|c| WRAPPERS.contains(c));
    let first = components.next().unwrap_or_default();
    if VISION.contains(&first) || first.starts_with("vision_") || first.starts_with("image_") {
        return ModelPart::Vision;
    }
    if AUDIO.contains(&first) || first.starts_with("audio_") {
        return ModelPart::Audio;
    }
    if first == "mtp" || first.starts_with("mtp_") {
        return ModelPart::Mtp;
    }
    let number = components.next().filter(|_| first == "layers");
    match (number.and_then(|n| n.parse::<u64>().ok()), layers) {
        (Some(layer), Some(count)) if layer >= count => ModelPart::Mtp,
        _ => ModelPart::Text,
    }
}

/// Bytes of each part of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartBytes {
    /// The language model.
    pub text: u64,
    /// Vision tower.
    pub vision: u64,
    /// Audio tower and speech generation.
    pub audio: u64,
    /// Multi-token prediction.
    pub mtp: u64,
}

impl PartBytes {
    /// Sums the tensors of a checkpoint.
    #[must_use]
    pub fn of(tensors: &TensorIndex, layers: Option<u64>) -> Self {
        let mut sums = Self::default();
        for tensor in tensors.tensors() {
            let sum = match part_of(&tensor.name, layers) {
                ModelPart::Text => &mut sums.text,
                ModelPart::Vision => &mut sums.vision,
                ModelPart::Audio => &mut sums.audio,
                ModelPart::Mtp => &mut sums.mtp,
            };
            *sum = sum.saturating_add(tensor.bytes);
        }
        sums
    }

    /// Bytes that mlx-lm drops: everything but the language model.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.vision.saturating_add(self.audio).saturating_add(self.mtp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart_in_every_layout() {
        for (name, part) in [
            ("model.embed_tokens.weight", ModelPart::Text),
            ("lm_head.weight", ModelPart::Text),
            ("language_model.model.layers.3.mlp.gate.weight", ModelPart::Text),
            ("model.language_model.layers.3.mlp.gate.weight", ModelPart::Text),
            ("vision_tower.blocks.0.attn.qkv.weight", ModelPart::Vision),
            ("model.visual.blocks.0.attn.qkv.weight", ModelPart::Vision),
            ("visual.merger.mlp.0.weight", ModelPart::Vision),
            ("multi_modal_projector.linear_1.weight", ModelPart::Vision),
            ("model.embed_vision.embedding_projection.weight", ModelPart::Vision),
            ("model.audio_tower.layers.0.ffn.weight", ModelPart::Audio),
            ("thinker.audio_tower.conv.weight", ModelPart::Audio),
            ("talker.model.layers.0.mlp.weight", ModelPart::Audio),
            ("thinker.model.layers.0.mlp.weight", ModelPart::Text),
            ("mtp.layers.0.mlp.gate_proj.weight", ModelPart::Mtp),
            ("language_model.mtp.fc.weight", ModelPart::Mtp),
            ("model.mtp_block.0.weight", ModelPart::Mtp),
            ("vision_language_adapter.w_in.weight", ModelPart::Vision),
            ("image_newline", ModelPart::Vision),
            ("", ModelPart::Text),
            ("model", ModelPart::Text),
            ("backbone.layers.0.mixer.A_log", ModelPart::Text),
            ("visualisation.weight", ModelPart::Text),
        ] {
            assert_eq!(part_of(name, None), part, "{name}");
        }
    }

    #[test]
    fn layers_behind_the_last_are_prediction_layers() {
        assert_eq!(part_of("model.layers.60.mlp.gate.weight", Some(61)), ModelPart::Text);
        assert_eq!(part_of("model.layers.61.mlp.gate.weight", Some(61)), ModelPart::Mtp);
        assert_eq!(part_of("model.layers.61.mlp.gate.weight", None), ModelPart::Text);
        assert_eq!(part_of("model.layers.x.mlp.gate.weight", Some(1)), ModelPart::Text);
    }
}
