//! MoonViT, the tower of Kimi: images at their own size, positions interpolated from a grid.

use super::keys::{check_kind, convolution, depth, nested, norm, text_width};
use super::vit::{MlpNames, QkvNames, VitSizes, VitStyle};
use super::{VisionModel, images};
use crate::graph::prelude::*;

pub(in crate::graph) static KIMI_VL: VisionModel =
    VisionModel::new(kimi_vl).with_images(images::kimi_vl);
pub(in crate::graph) static KIMI_K25: VisionModel =
    VisionModel::new(kimi_k25).with_images(images::kimi_k25);
/// mlx-vlm casts everything to 16 bits and packs every matrix.
pub(in crate::graph) static KIMI_K3: VisionModel =
    VisionModel::new(kimi_k3).with_images(images::kimi_k3).with_rule(|_| QuantOverride::Default);

const STYLE: VitStyle = VitStyle {
    norms: ["norm0", "norm1"],
    qkv: QkvNames::Joined("wqkv"),
    out: "wo",
    matrices: MlpNames::Plain(["fc0", "fc1"]),
    ..VitStyle::QWEN
};

/// Width of the tower and of the joined patches, behind the declared tower.
struct Moon {
    width: u64,
    joined: u64,
}

fn kimi_vl(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let m = tower(c, p)?;
    let text = text_width(c, 4096)?;
    p.scope("multi_modal_projector", |p| {
        norm(p, "pre_norm", m.width, true);
        Linear::new(p, "linear_1", m.joined, m.joined, true);
        Linear::new(p, "linear_2", m.joined, text, true);
    });
    Ok(())
}

fn kimi_k25(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let m = tower(c, p)?;
    let text = text_width(c, 4096)?;
    p.scope("mm_projector", |p| {
        norm(p, "pre_norm", m.width, true);
        Linear::new(p, "proj.0", m.joined, m.joined, true);
        Linear::new(p, "proj.2", m.joined, text, true);
    });
    Ok(())
}

fn tower(c: &Config, p: &mut ParamBuilder) -> Result<Moon, ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&[
        ("depth", 27),
        ("embed_dim", 1152),
        ("hidden_size", 1152),
        ("intermediate_size", 4304),
    ]);
    check_kind(&v, &["moonvit", "qwen2_vl"])?;
    let (embed, width) = (v.dim("embed_dim")?, v.dim("hidden_size")?);
    let layers = depth(&v, "depth")?;
    let sizes = VitSizes::new(embed, v.dim("intermediate_size")?);
    let (patch, channels) = (v.dim_or("patch_size", 14)?, v.dim_or("num_channels", 3)?);
    let grid = v.dim_or("init_pos_emb_height", 64)?;
    p.scope("vision_tower", |p| {
        convolution(p, "patch_embed.proj", [channels, embed], &[patch, patch], true);
        p.raw("patch_embed.pos_emb.weight", &[grid, grid, embed]);
        STYLE.declare(p, "blocks", layers, sizes);
        norm(p, "final_layernorm", width, true);
    });
    Ok(Moon { width, joined: width.saturating_mul(joined_patches(&v)?) })
}

/// Patches that become one token.
fn joined_patches(v: &Config) -> Result<u64, ConfigError> {
    match v.opt_dims("merge_kernel_size")? {
        Some(sides) => Ok(sides.iter().take(2).fold(1, |n: u64, s| n.saturating_mul(*s))),
        None => {
            let side = v.dim_or("spatial_merge_size", 2)?.min(1024);
            Ok(side * side)
        }
    }
}

fn kimi_k3(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&[
        ("vt_num_hidden_layers", 27),
        ("vt_hidden_size", 1024),
        ("vt_intermediate_size", 4096),
        ("qkv_hidden_size", 1536),
        ("mm_hidden_size", 1024),
    ]);
    check_kind(&v, &["moonvit3d"])?;
    let width = v.dim("vt_hidden_size")?;
    let inner = match v.dim("qkv_hidden_size")? {
        0 => width,
        n => n,
    };
    let sizes = VitSizes { width, inner, hidden: v.dim("vt_intermediate_size")? };
    let attention = v.bool_or("attn_bias", false)?;
    let style = VitStyle {
        shifted: false,
        attention: "",
        biases: [attention, attention],
        mlp_biases: v.bool_or("linear_bias", false)?,
        ..STYLE
    };
    let patch = v.dim_or("patch_size", 14)?;
    let bias = v.bool_or("patch_embed_proj_bias", false)?;
    let grid = [v.dim_or("init_pos_emb_height", 64)?, v.dim_or("init_pos_emb_width", 64)?, width];
    let layers = depth(&v, "vt_num_hidden_layers")?;
    p.scope("vision_tower", |p| {
        convolution(p, "patch_embed.proj", [3, width], &[patch, patch], bias);
        p.raw("patch_embed.pos_emb.weight", &grid);
        style.declare(p, "encoder.blocks", layers, sizes);
        norm(p, "encoder.final_layernorm", width, false);
    });
    let joined = v.dim("mm_hidden_size")?.saturating_mul(joined_patches(&v)?);
    let text = text_width(c, 7168)?;
    p.scope("mm_projector", |p| {
        Linear::new(p, "proj.0", joined, joined, false);
        Linear::new(p, "proj.2", joined, text, false);
        norm(p, "post_norm", text, false);
    });
    Ok(())
}
