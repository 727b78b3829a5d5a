//! The encoder of DeepSeek-OCR, which Unlimited-OCR takes over: SAM with windows, then CLIP over its features.

use super::VisionModel;
use super::clip::embeddings;
use super::keys::{check_kind, convolution, depth, nested, norm};
use super::vit::{MlpNames, QkvNames, VitSizes, VitStyle};
use crate::graph::prelude::*;

pub(in crate::graph) static UNLIMITED_OCR: VisionModel = VisionModel::new(unlimited_ocr);

/// SAM ViT-B, whose sizes no configuration changes.
mod sam {
    pub(super) const WIDTH: u64 = 768;
    pub(super) const HIDDEN: u64 = 3072;
    pub(super) const HEAD: u64 = 64;
    pub(super) const LAYERS: u64 = 12;
    pub(super) const GRID: u64 = 64;
    pub(super) const WINDOW: u64 = 14;
    pub(super) const GLOBAL: [u64; 4] = [2, 5, 8, 11];
    pub(super) const NECK: u64 = 256;
}

fn unlimited_ocr(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&[
        ("layers", 24),
        ("hidden_size", 1024),
        ("intermediate_size", 4096),
        ("patch_size", 14),
        ("num_channels", 3),
    ]);
    check_kind(&v, &["vision"])?;
    let width = v.dim("hidden_size")?;
    let layers = depth(&v, "layers")?;
    let style = VitStyle { qkv: QkvNames::Joined("qkv_proj"), ..VitStyle::SIGLIP };
    let sizes = VitSizes::new(width, v.dim("intermediate_size")?);
    p.scope("vision_model", |p| {
        embeddings(&v.clone().with("image_size", 224), p, false)?;
        norm(p, "pre_layrnorm", width, true);
        style.declare(p, "transformer.layers", layers, sizes);
        Ok::<_, ConfigError>(())
    })?;
    p.scope("sam_model", segment_anything);
    let projector = nested(c, "projector_config")?;
    let out = projector.dim_or("n_embed", 1280)?;
    declare_projector(&projector, p, out)?;
    p.raw("image_newline", &[out]);
    p.raw("view_separator", &[out]);
    Ok(())
}

fn segment_anything(p: &mut ParamBuilder) {
    let style = VitStyle { matrices: MlpNames::Plain(["lin1", "lin2"]), ..VitStyle::QWEN };
    convolution(p, "patch_embed.proj", [3, sam::WIDTH], &[16, 16], true);
    p.raw("pos_embed", &[1, sam::GRID, sam::GRID, sam::WIDTH]);
    style.declare(p, "blocks", sam::LAYERS, VitSizes::new(sam::WIDTH, sam::HIDDEN));
    for i in 0..sam::LAYERS {
        let side = if sam::GLOBAL.contains(&i) { sam::GRID } else { sam::WINDOW };
        for axis in ["h", "w"] {
            let name = format!("blocks.{i}.attn.rel_pos_{axis}");
            p.raw(&name, &[2 * side - 1, sam::HEAD]);
        }
    }
    convolution(p, "neck.0", [sam::WIDTH, sam::NECK], &[1, 1], false);
    norm(p, "neck.1", sam::NECK, true);
    convolution(p, "neck.2", [sam::NECK, sam::NECK], &[3, 3], false);
    norm(p, "neck.3", sam::NECK, true);
    convolution(p, "net_2", [256, 512], &[3, 3], false);
    convolution(p, "net_3", [512, 1024], &[3, 3], false);
}

fn declare_projector(c: &Config, p: &mut ParamBuilder, out: u64) -> Result<(), ConfigError> {
    let inputs = c.dim_or("input_dim", 2048)?;
    match c.opt_str("projector_type")?.unwrap_or("linear") {
        "linear" => {
            Linear::new(p, "projector.layers", inputs, out, true);
        }
        "downsample_mlp_gelu" => {
            let ratio = c.dim_or("downsample_ratio", 2)?.min(1024);
            let hidden = out.saturating_mul(c.dim_or("mlp_ratio", 1)?);
            let steps = c.dim_or("depth", 2)?.clamp(2, 64);
            let first = inputs.saturating_mul(ratio * ratio);
            Linear::new(p, "projector.layers.0", first, hidden, true);
            for i in 1..steps - 1 {
                Linear::new(p, &format!("projector.layers.{}", 2 * i), hidden, hidden, true);
            }
            let last = format!("projector.layers.{}", 2 * (steps - 1));
            Linear::new(p, &last, hidden, out, true);
        }
        _ => return Err(c.invalid("projector_type", "linear or downsample_mlp_gelu")),
    }
    Ok(())
}
