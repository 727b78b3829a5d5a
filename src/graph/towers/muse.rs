//! The tower of Muse Glimmer, with an adapter over joined patches and a projection.

use super::keys::{depth, nested, norm, text_width};
use super::vit::{QkvNames, VitSizes, VitStyle};
use super::{VisionModel, images};
use crate::graph::prelude::*;

pub(in crate::graph) static MUSE_GLIMMER: VisionModel =
    VisionModel::new(muse_glimmer).implied().with_images(images::muse);

fn muse_glimmer(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&[
        ("hidden_size", 1536),
        ("intermediate_size", 8960),
        ("num_hidden_layers", 50),
    ]);
    let width = v.dim("hidden_size")?;
    let patch = v.dim_or("patch_size", 14)?;
    let pixels = v.dim_or("patch_temporal", 2)?.saturating_mul(3 * patch.min(1 << 20).pow(2));
    let grid = v.dim_or("pos_emb_height", 32)?.saturating_mul(v.dim_or("pos_emb_width", 32)?);
    let layers = depth(&v, "num_hidden_layers")?;
    let style = VitStyle { qkv: QkvNames::Apart(["q_proj", "k_proj", "v_proj"]), ..VitStyle::QWEN };
    let sizes = VitSizes::new(width, v.dim("intermediate_size")?);
    p.scope("vision_tower", |p| {
        Linear::new(p, "patch_embedder.patch_embedding", pixels, width, false);
        Embedding::new(p, "patch_embedder.position_embedding_table", grid, width);
        norm(p, "ln_pre", width, true);
        style.declare(p, "layers", layers, sizes);
        norm(p, "ln_post", width, true);
    });
    let joined = c.dim_or("out_hidden_size", 6144)?;
    let hidden = c.dim_or("projector_hidden_size", 4096)?;
    Linear::new(p, "vision_adapter.fc1", joined, hidden, false);
    Linear::new(p, "vision_adapter.fc2", hidden, hidden, false);
    Linear::new(p, "vision_projection", hidden, text_width(c, 6656)?, false);
    Ok(())
}
