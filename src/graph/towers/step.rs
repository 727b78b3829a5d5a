//! The perception encoder of Step 3.7, with convolutions that quarter the patches twice.

use super::keys::{convolution, depth, divisor, nested, norm};
use super::vit::{MlpNames, QkvNames, VitSizes, VitStyle};
use super::{VisionModel, images};
use crate::graph::prelude::*;

pub(in crate::graph) static STEP3P7: VisionModel =
    VisionModel::new(step3p7).implied().with_images(images::step3p7);

const STYLE: VitStyle = VitStyle {
    norms: ["ln_1", "ln_2"],
    attention: "attn",
    qkv: QkvNames::Joined("in_proj"),
    matrices: MlpNames::Plain(["c_fc", "c_proj"]),
    scales: Some(["ls_1.gamma", "ls_2.gamma"]),
    ..VitStyle::SIGLIP
};

fn step3p7(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&[("width", 1536), ("layers", 47)]);
    let width = v.dim("width")?;
    let patch = divisor(&v, "patch_size", 14)?;
    let grid = v.dim_or("image_size", 728)? / patch;
    let ratio = v.number_or("mlp_ratio", 8960.0 / 1536.0)?;
    let class = match v.opt_bool("ues_cls_token")? {
        Some(class) => class,
        None => v.bool_or("use_cls_token", false)?,
    };
    let [before, after, positions] =
        [("use_ln_pre", true), ("use_ln_post", false), ("use_abs_posemb", true)]
            .map(|(key, default)| v.bool_or(key, default));
    let (before, after, positions) = (before?, after?, positions?);
    let layers = depth(&v, "layers")?;
    let channels = v.dim_or("num_channels", 3)?;
    p.scope("vision_model", |p| {
        convolution(p, "conv1", [channels, width], &[patch, patch], false);
        if before {
            norm(p, "ln_pre", width, true);
        }
        if after {
            norm(p, "ln_post", width, true);
        }
        if class {
            p.raw("class_embedding", &[width]);
        }
        if positions {
            let count = grid.saturating_mul(grid).saturating_add(u64::from(class));
            p.raw("positional_embedding", &[count, width]);
        }
        let hidden = (width as f64 * ratio) as u64;
        STYLE.declare(p, "transformer", layers, VitSizes::new(width, hidden));
        let (twice, four) = (width.saturating_mul(2), width.saturating_mul(4));
        convolution(p, "vit_downsampler1", [width, twice], &[3, 3], true);
        convolution(p, "vit_downsampler2", [twice, four], &[3, 3], true);
    });
    let bias = c.bool_or("projector_bias", false)?;
    let text = nested(c, "text_config")?.dim_or("hidden_size", 4096)?;
    Linear::new(p, "vit_large_projector", width.saturating_mul(4), text, bias);
    Ok(())
}
