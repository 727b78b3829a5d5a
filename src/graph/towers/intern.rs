//! InternViT, with InternVL's projector over joined patches.

use super::keys::{check_kind, convolution, depth, divisor, nested, norm, side, text_width};
use super::vit::{VitSizes, VitStyle};
use super::{VisionModel, images};
use crate::graph::prelude::*;

pub(in crate::graph) static INTERNVL_CHAT: VisionModel =
    VisionModel::new(internvl_chat).with_images(images::internvl);

fn internvl_chat(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&[
        ("hidden_size", 1024),
        ("num_hidden_layers", 24),
        ("intermediate_size", 4096),
    ]);
    check_kind(&v, &["siglip_vision_model", "intern_vit_6b"])?;
    let width = v.dim("hidden_size")?;
    let patch = side(&v, "patch_size", 14)?;
    let grid = side(&v, "image_size", 448)?
        / divisor(&v.clone().with("patch_size", patch), "patch_size", 14)?;
    let positions = grid.saturating_mul(grid).saturating_add(1);
    let shifted = match v.opt_str("norm_type")? {
        None | Some("layer_norm") => true,
        Some("rms_norm") => false,
        Some(_) => return Err(v.invalid("norm_type", "layer_norm or rms_norm")),
    };
    let style = VitStyle {
        shifted,
        biases: [v.bool_or("qkv_bias", true)?, true],
        scales: Some(["ls1", "ls2"]),
        ..VitStyle::QWEN
    };
    let (normed, layers) = (v.bool_or("qk_normalization", false)?, depth(&v, "num_hidden_layers")?);
    let sizes = VitSizes::new(width, v.dim("intermediate_size")?);
    p.scope("vision_model", |p| {
        p.raw("embeddings.class_embedding", &[1, 1, width]);
        convolution(p, "embeddings.patch_embedding", [3, width], &[patch, patch], true);
        p.raw("embeddings.position_embedding", &[1, positions, width]);
        style.declare(p, "encoder.layers", layers, sizes);
        for i in (0..layers).filter(|_| normed) {
            norm(p, &format!("encoder.layers.{i}.attn.q_norm"), width, false);
            norm(p, &format!("encoder.layers.{i}.attn.k_norm"), width, false);
        }
    });
    let joined = width.saturating_mul(joined_patches(c)?);
    let text = text_width(c, 0)?;
    p.scope("mlp1", |p| {
        norm(p, "0", joined, true);
        Linear::new(p, "1", joined, text, true);
        Linear::new(p, "3", text, text, true);
    });
    Ok(())
}

/// Patches that become one token: the square of the whole part of `1 / downsample_ratio`.
fn joined_patches(c: &Config) -> Result<u64, ConfigError> {
    let ratio = c.number_or("downsample_ratio", 0.5)?;
    if ratio <= 0.0 {
        return Err(c.invalid("downsample_ratio", "a number above 0"));
    }
    let side = (1.0 / ratio) as u64;
    Ok(side.min(1024) * side.min(1024))
}
