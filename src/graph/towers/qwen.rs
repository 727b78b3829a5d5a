//! The towers of Qwen2-VL, Qwen2.5-VL, Qwen3-VL and Qwen3.5: patches over two frames, blocks, and a merger that joins
//! neighbors into one token.

use super::keys::{check_kind, convolution, depth, nested, norm};
use super::vit::{MlpNames, VitSizes, VitStyle};
use super::{VisionModel, images};
use crate::graph::prelude::*;

pub(in crate::graph) static QWEN2_VL: VisionModel =
    VisionModel::new(qwen2_vl).with_images(images::qwen2);
pub(in crate::graph) static QWEN2_5_VL: VisionModel =
    VisionModel::new(qwen2_5_vl).with_images(images::qwen2);
pub(in crate::graph) static QWEN3_VL: VisionModel =
    VisionModel::new(qwen3_vl).with_images(images::qwen3);
/// mlx-vlm packs the routers like all other matrices.
pub(in crate::graph) static QWEN3_VL_MOE: VisionModel =
    VisionModel::new(qwen3_vl).with_images(images::qwen3).with_rule(|_| QuantOverride::Default);
pub(in crate::graph) static QWEN3_5: VisionModel =
    VisionModel::new(qwen3_5).with_images(images::qwen3).with_f32(|path| path.ends_with("A_log"));

/// Patches that the mergers of Qwen2 join, whatever the configuration says.
const JOINED: u64 = 4;

fn qwen2_vl(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&[("embed_dim", 1280), ("hidden_size", 1536)]);
    check_kind(&v, &["qwen2_vl"])?;
    let width = v.dim("embed_dim")?;
    let hidden = (width as f64 * v.number_or("mlp_ratio", 4.0)?) as u64;
    let sizes = VitSizes::new(width, hidden);
    p.scope("vision_tower", |p| {
        blocks(&v, p, false, sizes, VitStyle::QWEN)?;
        norm(p, "merger.ln_q", width, true);
        merger(p, width, v.dim("hidden_size")?);
        Ok(())
    })
}

fn qwen2_5_vl(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = sized(nested(c, "vision_config")?);
    check_kind(&v, &["qwen2_5_vl"])?;
    let width = v.dim("hidden_size")?;
    let style = VitStyle {
        shifted: false,
        matrices: MlpNames::Gated(["gate_proj", "up_proj", "down_proj"]),
        ..VitStyle::QWEN
    };
    p.scope("vision_tower", |p| {
        blocks(&v, p, false, VitSizes::new(width, v.dim("intermediate_size")?), style)?;
        norm(p, "merger.ln_q", width, false);
        merger(p, width, v.dim("out_hidden_size")?);
        Ok(())
    })
}

fn qwen3_5(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?;
    if v.opt_dims("deepstack_visual_indexes")?.is_some_and(|list| !list.is_empty()) {
        return Err(v.invalid("deepstack_visual_indexes", "an empty list, as mlx-vlm wants here"));
    }
    qwen3_vl(c, p)
}

fn qwen3_vl(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = sized(nested(c, "vision_config")?);
    let width = v.dim("hidden_size")?;
    let out = v.dim("out_hidden_size")?;
    let merge = v.dim_or("spatial_merge_size", 2)?.min(1024);
    let joined = width.saturating_mul(merge * merge);
    let taps = v.opt_dims("deepstack_visual_indexes")?.unwrap_or_default().len();
    let positions = v.dim_or("num_position_embeddings", 2304)?;
    let style =
        VitStyle { matrices: MlpNames::Plain(["linear_fc1", "linear_fc2"]), ..VitStyle::QWEN };
    p.scope("vision_tower", |p| {
        Embedding::new(p, "pos_embed", positions, width);
        blocks(&v, p, true, VitSizes::new(width, v.dim("intermediate_size")?), style)?;
        let merger = |p: &mut ParamBuilder, name: &str, normed: u64| {
            p.scope(name, |p| {
                norm(p, "norm", normed, true);
                Linear::new(p, "linear_fc1", joined, joined, true);
                Linear::new(p, "linear_fc2", joined, out, true);
            });
        };
        merger(p, "merger", width);
        for i in 0..taps.min(4096) {
            merger(p, &format!("deepstack_merger_list.{i}"), joined);
        }
        Ok(())
    })
}

/// The sizes that mlx-vlm takes where a configuration of Qwen2.5 or later names none.
fn sized(v: Config) -> Config {
    v.with_sizes(&[("hidden_size", 1280), ("intermediate_size", 3420), ("out_hidden_size", 1536)])
}

fn blocks(
    v: &Config,
    p: &mut ParamBuilder,
    bias: bool,
    sizes: VitSizes,
    style: VitStyle,
) -> Result<(), ConfigError> {
    let v = v.clone().with_sizes(&[("depth", 32)]);
    let patch = v.dim_or("patch_size", 14)?;
    let kernel = [v.dim_or("temporal_patch_size", 2)?, patch, patch];
    let channels = v.dim_or("in_channels", 3)?;
    convolution(p, "patch_embed.proj", [channels, sizes.width], &kernel, bias);
    style.declare(p, "blocks", depth(&v, "depth")?, sizes);
    Ok(())
}

fn merger(p: &mut ParamBuilder, width: u64, out: u64) {
    let joined = width.saturating_mul(JOINED);
    Linear::new(p, "merger.mlp.0", joined, joined, true);
    Linear::new(p, "merger.mlp.2", joined, out, true);
}
