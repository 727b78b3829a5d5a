//! CLIP towers: LLaVA and LLaVA-NeXT, which take SigLIP in the same frame.

use super::keys::{check_kind, convolution, depth, divisor, nested, norm, patch_count, text_width};
use super::siglip::encoder;
use super::{VisionModel, images};
use crate::graph::prelude::*;

pub(in crate::graph) static LLAVA: VisionModel = VisionModel::new(llava).with_images(images::llava);
pub(in crate::graph) static LLAVA_NEXT: VisionModel = VisionModel::new(llava_next);

/// The sizes that mlx-vlm takes where a configuration names none.
const LARGE: [(&str, u64); 6] = [
    ("num_hidden_layers", 24),
    ("hidden_size", 1024),
    ("intermediate_size", 4096),
    ("image_size", 336),
    ("patch_size", 14),
    ("num_channels", 3),
];

fn llava(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&LARGE);
    check_kind(&v, &["clip_vision_model", "siglip_vision_model"])?;
    p.scope("vision_tower.vision_model", |p| tower(&v, p))?;
    let (width, text) = (v.dim("hidden_size")?, text_width(c, 4096)?);
    p.scope("multi_modal_projector", |p| {
        Linear::new(p, "linear_1", width, text, true);
        Linear::new(p, "linear_2", text, text, true);
    });
    Ok(())
}

fn llava_next(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    llava(c, p)?;
    p.raw("image_newline", &[text_width(c, 4096)?]);
    Ok(())
}

/// The tower of CLIP, or of SigLIP where the configuration says so.
fn tower(v: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let siglip = v.opt_str("model_type")? == Some("siglip_vision_model");
    embeddings(v, p, siglip)?;
    if !siglip {
        norm(p, "pre_layrnorm", v.dim("hidden_size")?, true);
    }
    encoder(v, p, depth(v, "num_hidden_layers")?)
}

/// The large tower for images of 336 by 336 pixels.
pub(super) fn large(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    tower(&c.clone().emptied().with_sizes(&LARGE), p)
}

/// Patches, positions and, but for SigLIP, a token of the class.
pub(super) fn embeddings(
    v: &Config,
    p: &mut ParamBuilder,
    siglip: bool,
) -> Result<(), ConfigError> {
    let width = v.dim("hidden_size")?;
    let patch = divisor(v, "patch_size", 14)?;
    let positions = patch_count(v, 336, 14)?.saturating_add(u64::from(!siglip));
    let channels = v.dim_or("num_channels", 3)?;
    p.scope("embeddings", |p| {
        if !siglip {
            p.raw("class_embedding", &[width]);
        }
        convolution(p, "patch_embedding", [channels, width], &[patch, patch], siglip);
        Embedding::new(p, "position_embedding", positions, width);
    });
    Ok(())
}
