//! Which part of a model a tensor belongs to, told by its name.
//!
//! mlx-lm runs the language model only and drops the rest at load (`sanitize` of each family); conversions by mlx-vlm
//! keep the towers in the file. The names below are those that the families' `sanitize` drop and those of mlx-vlm
//! conversions. Wrappers in front (`model.`, `language_model.`, `thinker.`) are skipped before the comparison. One family
//! of mlx-lm 0.32.2, `muse_spark`, runs its vision tower too; its tower counts as vision here all the same.

use super::tensors::TensorIndex;

/// A part of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckpointPart {
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
pub fn part_of(name: &str, layers: Option<u64>) -> CheckpointPart {
    let mut components = name.split('.').skip_while(|c| WRAPPERS.contains(c));
    let first = components.next().unwrap_or_default();
    if VISION.contains(&first) || first.starts_with("vision_") || first.starts_with("image_") {
        return CheckpointPart::Vision;
    }
    if AUDIO.contains(&first) || first.starts_with("audio_") {
        return CheckpointPart::Audio;
    }
    if first == "mtp" || first.starts_with("mtp_") {
        return CheckpointPart::Mtp;
    }
    let number = components.next().filter(|_| first == "layers");
    match (number.and_then(|n| n.parse::<u64>().ok()), layers) {
        (Some(layer), Some(count)) if layer >= count => CheckpointPart::Mtp,
        _ => CheckpointPart::Text,
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
                CheckpointPart::Text => &mut sums.text,
                CheckpointPart::Vision => &mut sums.vision,
                CheckpointPart::Audio => &mut sums.audio,
                CheckpointPart::Mtp => &mut sums.mtp,
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
            ("model.embed_tokens.weight", CheckpointPart::Text),
            ("lm_head.weight", CheckpointPart::Text),
            ("language_model.model.layers.3.mlp.gate.weight", CheckpointPart::Text),
            ("model.language_model.layers.3.mlp.gate.weight", CheckpointPart::Text),
            ("vision_tower.blocks.0.attn.qkv.weight", CheckpointPart::Vision),
            ("model.visual.blocks.0.attn.qkv.weight", CheckpointPart::Vision),
            ("visual.merger.mlp.0.weight", CheckpointPart::Vision),
            ("multi_modal_projector.linear_1.weight", CheckpointPart::Vision),
            ("model.embed_vision.embedding_projection.weight", CheckpointPart::Vision),
            ("model.audio_tower.layers.0.ffn.weight", CheckpointPart::Audio),
            ("thinker.audio_tower.conv.weight", CheckpointPart::Audio),
            ("talker.model.layers.0.mlp.weight", CheckpointPart::Audio),
            ("thinker.model.layers.0.mlp.weight", CheckpointPart::Text),
            ("mtp.layers.0.mlp.gate_proj.weight", CheckpointPart::Mtp),
            ("language_model.mtp.fc.weight", CheckpointPart::Mtp),
            ("model.mtp_block.0.weight", CheckpointPart::Mtp),
            ("vision_language_adapter.w_in.weight", CheckpointPart::Vision),
            ("image_newline", CheckpointPart::Vision),
            ("", CheckpointPart::Text),
            ("model", CheckpointPart::Text),
            ("backbone.layers.0.mixer.A_log", CheckpointPart::Text),
            ("visualisation.weight", CheckpointPart::Text),
        ] {
            assert_eq!(part_of(name, None), part, "{name}");
        }
    }

    #[test]
    fn layers_behind_the_last_are_prediction_layers() {
        assert_eq!(part_of("model.layers.60.mlp.gate.weight", Some(61)), CheckpointPart::Text);
        assert_eq!(part_of("model.layers.61.mlp.gate.weight", Some(61)), CheckpointPart::Mtp);
        assert_eq!(part_of("model.layers.61.mlp.gate.weight", None), CheckpointPart::Text);
        assert_eq!(part_of("model.layers.x.mlp.gate.weight", Some(1)), CheckpointPart::Text);
    }
}
