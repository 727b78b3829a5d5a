//! SigLIP towers: Gemma 3, PaliGemma, Idefics3, SmolVLM and LFM2-VL, each with its projector.

use super::keys::{check_kind, convolution, depth, divisor, nested, norm, patch_count, text_width};
use super::vit::{VitSizes, VitStyle};
use super::{VisionModel, images};
use crate::graph::prelude::*;

pub(in crate::graph) static GEMMA3: VisionModel =
    VisionModel::new(gemma3).with_images(images::gemma3);
pub(in crate::graph) static PALIGEMMA: VisionModel =
    VisionModel::new(paligemma).with_images(images::paligemma);
pub(in crate::graph) static IDEFICS3: VisionModel =
    VisionModel::new(idefics3).with_images(images::idefics3);
pub(in crate::graph) static SMOLVLM: VisionModel =
    VisionModel::new(smolvlm).with_images(images::idefics3);
pub(in crate::graph) static LFM2_VL: VisionModel =
    VisionModel::new(lfm2_vl).with_images(images::lfm2_vl);

fn gemma3(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?;
    check_kind(&v, &["siglip_vision_model", "gemma3", "gemma3_vision"])?;
    let (width, text) = (v.dim("hidden_size")?, text_width(c, 0)?);
    p.scope("vision_tower.vision_model", |p| tower(&v, p, 224))?;
    p.scope("multi_modal_projector", |p| {
        p.raw("mm_input_projection_weight", &[width, text]);
        p.raw("mm_soft_emb_norm.weight", &[width]);
    });
    Ok(())
}

fn paligemma(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let nested = nested(c, "vision_config")?;
    check_kind(&nested, &["siglip_vision_model"])?;
    let v = LARGE.iter().try_fold(nested, |v, &(key, default)| {
        let value = v.dim_or(key, c.dim_or(key, default)?)?;
        Ok::<_, ConfigError>(v.with(key, value))
    })?;
    p.scope("vision_tower.vision_model", |p| tower(&v, p, 224))?;
    let out = v.dim("projection_dim")?;
    Linear::new(p, "multi_modal_projector.linear", v.dim("hidden_size")?, out, true);
    Ok(())
}

/// What PaliGemma's tower is made of where neither the nested nor the outer configuration says.
const LARGE: [(&str, u64); 7] = [
    ("num_hidden_layers", 27),
    ("hidden_size", 1152),
    ("intermediate_size", 4304),
    ("patch_size", 14),
    ("projection_dim", 2048),
    ("image_size", 224),
    ("num_channels", 3),
];

const IDEFICS: [&str; 4] = ["siglip_vision_model", "idefics3", "idefics3_vision", "smolvlm_vision"];

fn idefics3(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?;
    let v = v.with_sizes(&[("num_hidden_layers", 12), ("intermediate_size", 3072)]);
    connected(c, &v, p, text_width(c, 0)?, 224)
}

fn smolvlm(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&[("hidden_size", 1152)]);
    let width = v.dim("hidden_size")?;
    let hidden = match width {
        768 => 3072,
        1152 => 4304,
        n => n.saturating_mul(4),
    };
    let layers = if width <= 768 { 12 } else { 27 };
    let v = v.with_sizes(&[
        ("patch_size", 14),
        ("num_hidden_layers", layers),
        ("intermediate_size", hidden),
    ]);
    connected(c, &v, p, text_width(c, 4096)?, 384)
}

fn connected(
    c: &Config,
    v: &Config,
    p: &mut ParamBuilder,
    text: u64,
    image: u64,
) -> Result<(), ConfigError> {
    check_kind(v, &IDEFICS)?;
    p.scope("vision_model", |p| tower(v, p, image))?;
    let factor = c.dim_or("scale_factor", 2)?.min(1024);
    let joined = v.dim("hidden_size")?.saturating_mul(factor * factor);
    Linear::new(p, "connector.modality_projection.proj", joined, text, false);
    Ok(())
}

/// The tower of square images under the names that all share; `image` is the default of their side.
fn tower(v: &Config, p: &mut ParamBuilder, image: u64) -> Result<(), ConfigError> {
    let width = v.dim("hidden_size")?;
    let patch = divisor(v, "patch_size", 14)?;
    let channels = v.dim_or("num_channels", 3)?;
    convolution(p, "embeddings.patch_embedding", [channels, width], &[patch, patch], true);
    Embedding::new(p, "embeddings.position_embedding", patch_count(v, image, 14)?, width);
    let layers = depth(v, "num_hidden_layers")?;
    encoder(v, p, layers)
}

/// Blocks and the norm behind them.
pub(super) fn encoder(v: &Config, p: &mut ParamBuilder, layers: u64) -> Result<(), ConfigError> {
    let width = v.dim("hidden_size")?;
    let sizes = VitSizes::new(width, v.dim("intermediate_size")?);
    VitStyle::SIGLIP.declare(p, "encoder.layers", layers, sizes);
    norm(p, "post_layernorm", width, true);
    Ok(())
}

fn lfm2_vl(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&[
        ("hidden_size", 768),
        ("intermediate_size", 3072),
        ("num_hidden_layers", 12),
        ("num_patches", 256),
        ("patch_size", 16),
        ("num_channels", 3),
    ]);
    check_kind(&v, &["lfm2_vl", "siglip2_vision_model"])?;
    let width = v.dim("hidden_size")?;
    let layers = kept_layers(c, depth(&v, "num_hidden_layers")?)?;
    p.scope("vision_tower", |p| {
        patch_matrix(&v, p)?;
        Embedding::new(p, "embeddings.position_embedding", v.dim("num_patches")?, width);
        encoder(&v, p, layers)
    })?;
    let factor = c.dim_or("downsample_factor", 2)?.min(1024);
    let joined = width.saturating_mul(factor * factor);
    let hidden = c.dim_or("projector_hidden_size", 2560)?;
    let bias = c.bool_or("projector_bias", true)?;
    let normed = c.bool_or("projector_use_layernorm", true)?;
    let text = text_width(c, 1024)?;
    p.scope("multi_modal_projector", |p| {
        if normed {
            norm(p, "layer_norm", joined, true);
        }
        Linear::new(p, "linear_1", joined, hidden, bias);
        Linear::new(p, "linear_2", hidden, text, bias);
    });
    Ok(())
}

/// Patches that come flat: a matrix instead of a convolution.
pub(super) fn patch_matrix(v: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let patch = v.dim("patch_size")?;
    let pixels = v.dim("num_channels")?.saturating_mul(patch.saturating_mul(patch));
    Linear::new(p, "embeddings.patch_embedding", pixels, v.dim("hidden_size")?, true);
    Ok(())
}

/// Layers up to `vision_feature_layer`, which counts from the end where it is negative.
fn kept_layers(c: &Config, layers: u64) -> Result<u64, ConfigError> {
    let last = c.number_or("vision_feature_layer", -1.0)?;
    if last == -1.0 {
        return Ok(layers);
    }
    let end = last + 1.0;
    let end = if end < 0.0 { layers as f64 + end } else { end };
    Ok(end.clamp(0.0, layers as f64) as u64)
}
