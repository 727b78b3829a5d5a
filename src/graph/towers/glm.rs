//! The tower of GLM-4.1V: blocks with gated MLPs, a convolution that joins patches, and a gated merger.

use super::keys::{check_kind, convolution, depth, nested, norm, patch_count};
use super::vit::{MlpNames, VitSizes, VitStyle};
use super::{VisionModel, images};
use crate::graph::prelude::*;

pub(in crate::graph) static GLM4V: VisionModel = VisionModel::new(glm4v).with_images(images::glm4v);

fn glm4v(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?;
    check_kind(&v, &["glm4v", "glm4v_vision"])?;
    let (width, hidden) = (v.dim("hidden_size")?, v.dim("intermediate_size")?);
    let out = v.dim_or("out_hidden_size", 4096)?;
    let patch = v.dim("patch_size")?;
    let kernel = [v.dim_or("temporal_patch_size", 2)?, patch, patch];
    let merge = v.dim_or("spatial_merge_size", 2)?;
    let positions = patch_count(&v, 336, 14)?;
    let channels = v.dim_or("in_channels", 3)?;
    let layers = depth(&v, "depth")?;
    let style = VitStyle {
        shifted: false,
        biases: [false, false],
        matrices: MlpNames::Gated(["gate_proj", "up_proj", "down_proj"]),
        mlp_biases: false,
        ..VitStyle::QWEN
    };
    p.scope("vision_tower", |p| {
        Embedding::new(p, "embeddings.position_embedding", positions, width);
        convolution(p, "patch_embed.proj", [channels, width], &kernel, true);
        norm(p, "post_conv_layernorm", width, false);
        style.declare(p, "blocks", layers, VitSizes::new(width, out));
        norm(p, "post_layernorm", width, false);
        convolution(p, "downsample", [width, out], &[merge, merge], true);
        p.scope("merger", |p| {
            Linear::new(p, "proj", out, out, false);
            norm(p, "post_projection_norm", out, true);
            Linear::new(p, "gate_proj", out, hidden, false);
            Linear::new(p, "up_proj", out, hidden, false);
            Linear::new(p, "down_proj", hidden, out, false);
        });
    });
    Ok(())
}
