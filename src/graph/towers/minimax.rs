//! The tower of MiniMax M3, a CLIP without positions, with a projector before and one behind the joining of patches.

use super::keys::{depth, nested, norm, text_width};
use super::vit::{VitSizes, VitStyle};
use super::{VisionModel, images};
use crate::graph::prelude::*;

pub(in crate::graph) static MINIMAX_M3: VisionModel =
    VisionModel::new(minimax_m3).with_images(images::minimax_m3).with_f32(|path| {
        path.contains("e_score_correction_bias") || path.ends_with("block_sparse_moe.gate")
    });

fn minimax_m3(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&[
        ("hidden_size", 1280),
        ("intermediate_size", 5120),
        ("num_hidden_layers", 32),
        ("patch_size", 14),
        ("num_channels", 3),
    ]);
    let own = v.opt_object("img_token_compression_config")?.filter(|o| !o.values().is_empty());
    let compression = match own {
        Some(own) => own,
        None => nested(c, "img_token_compression_config")?,
    };
    let frames = compression.dim_or("temporal_patch_size", 2)?;
    let merge = compression.dim_or("spatial_merge_size", 2)?.min(1024);
    let width = v.dim("hidden_size")?;
    let patch = v.dim("patch_size")?;
    let (channels, layers) = (v.dim("num_channels")?, depth(&v, "num_hidden_layers")?);
    let sizes = VitSizes::new(width, v.dim("intermediate_size")?);
    p.scope("vision_tower.vision_model", |p| {
        let shape = [width, channels, frames, patch, patch];
        p.raw("embeddings.patch_embedding.weight", &shape);
        norm(p, "pre_layrnorm", width, true);
        VitStyle::SIGLIP.declare(p, "encoder.layers", layers, sizes);
    });
    let text = text_width(c, 6144)?;
    let features = match c.get("vision_feature_layer") {
        Some(serde_json::Value::Array(layers)) => layers.len() as u64,
        _ => 1,
    };
    let hidden = c.dim_or("projector_hidden_size", 6144)?;
    let bias = c.bool_or("multimodal_projector_bias", true)?;
    p.scope("multi_modal_projector", |p| {
        Linear::new(p, "linear_1", width.saturating_mul(features), hidden, bias);
        Linear::new(p, "linear_2", hidden, text, bias);
    });
    let bias = c.bool_or("patch_merge_bias", true)?;
    p.scope("patch_merge_mlp", |p| {
        Linear::new(p, "linear_1", text.saturating_mul(merge * merge), text, bias);
        Linear::new(p, "linear_2", text, text, bias);
    });
    Ok(())
}
