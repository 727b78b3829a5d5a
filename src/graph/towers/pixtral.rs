//! Pixtral's tower, with the projectors of Pixtral and of Mistral Small 3.1 and later.

use super::keys::{check_kind, convolution, depth, nested, norm, text_width};
use super::vit::{MlpNames, QkvNames, VitSizes, VitStyle};
use super::{VisionModel, images};
use crate::graph::prelude::*;

pub(in crate::graph) static PIXTRAL: VisionModel =
    VisionModel::new(pixtral).with_images(images::pixtral);
/// mlx-vlm leaves the head unpacked, and packs the routers of Mistral Small 4 in 8 bits.
pub(in crate::graph) static MISTRAL3: VisionModel =
    VisionModel::new(mistral3).with_images(images::mistral3).with_rule(|path| {
        if path.contains("lm_head") {
            QuantOverride::Keep
        } else if path.ends_with("mlp.gate") {
            QuantOverride::EightBit
        } else {
            QuantOverride::Default
        }
    });

const STYLE: VitStyle = VitStyle {
    norms: ["attention_norm", "ffn_norm"],
    shifted: false,
    attention: "attention",
    qkv: QkvNames::Apart(["q_proj", "k_proj", "v_proj"]),
    out: "o_proj",
    biases: [false, false],
    mlp: "feed_forward",
    matrices: MlpNames::Gated(["gate_proj", "up_proj", "down_proj"]),
    mlp_biases: false,
    scales: None,
};

fn pixtral(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let width = tower(c, p)?;
    let text = text_width(c, 5120)?;
    p.scope("multi_modal_projector", |p| {
        Linear::new(p, "linear_1", width, text, true);
        Linear::new(p, "linear_2", text, text, true);
    });
    Ok(())
}

fn mistral3(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let width = tower(c, p)?;
    let text = text_width(c, 5120)?;
    let merge = c.dim_or("spatial_merge_size", 2)?.min(1024);
    let bias = c.bool_or("multimodal_projector_bias", false)?;
    let features = match c.get("vision_feature_layer") {
        Some(serde_json::Value::Array(layers)) => layers.len() as u64,
        _ => 1,
    };
    p.scope("multi_modal_projector", |p| {
        norm(p, "norm", width, false);
        let joined = width.saturating_mul(merge * merge);
        Linear::new(p, "patch_merger.merging_layer", joined, width, false);
        Linear::new(p, "linear_1", width.saturating_mul(features), text, bias);
        Linear::new(p, "linear_2", text, text, bias);
    });
    Ok(())
}

/// Declares the tower; returns its width.
fn tower(c: &Config, p: &mut ParamBuilder) -> Result<u64, ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&[
        ("num_hidden_layers", 24),
        ("hidden_size", 1024),
        ("intermediate_size", 4096),
        ("patch_size", 14),
    ]);
    check_kind(&v, &["pixtral", "clip_vision_model"])?;
    let width = v.dim("hidden_size")?;
    let (patch, channels) = (v.dim("patch_size")?, v.dim_or("num_channels", 3)?);
    let sizes = VitSizes::new(width, v.dim("intermediate_size")?);
    let layers = depth(&v, "num_hidden_layers")?;
    p.scope("vision_tower.vision_model", |p| {
        convolution(p, "patch_conv", [channels, width], &[patch, patch], false);
        norm(p, "ln_pre", width, false);
        STYLE.declare(p, "transformer.layers", layers, sizes);
    });
    Ok(width)
}
