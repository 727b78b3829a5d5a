//! Phi-3.5 Vision (CLIP within the text model) and Phi-4 multimodal (SigLIP 2 and a conformer).

use super::keys::{convolution, depth, divisor, nested};
use super::siglip::{encoder, patch_matrix};
use super::{VisionModel, images};
use super::{clip, conformer};
use crate::graph::prelude::*;

pub(in crate::graph) static PHI3_V: VisionModel =
    VisionModel::new(phi3_v).implied().with_images(images::phi3_v);
/// Its own predicate keeps what the general one does not name.
pub(in crate::graph) static PHI4_MM: VisionModel =
    VisionModel::new(phi4_mm).implied().with_rule(conformer::phi4_rule);

/// Features of the large CLIP, and of the four patches that are joined.
const CLIP: u64 = 1024;

fn phi3_v(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let text = c.dim_or("hidden_size", 2048)?;
    p.scope("model.vision_embed_tokens", |p| {
        p.scope("img_processor.vision_model", |p| clip::large(c, p))?;
        p.raw("glb_GN", &[1, 1, CLIP * 4]);
        p.raw("sub_GN", &[1, 1, 1, CLIP * 4]);
        Linear::new(p, "img_projection.0", CLIP * 4, text, true);
        Linear::new(p, "img_projection.2", text, text, true);
        Ok(())
    })
}

fn phi4_mm(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&[
        ("hidden_size", 1152),
        ("intermediate_size", 4304),
        ("num_hidden_layers", 27),
        ("patch_size", 14),
        ("image_size", 448),
        ("num_channels", 3),
    ]);
    let side = v.dim("image_size")? / divisor(&v, "patch_size", 14)?;
    let layers = depth(&v, "num_hidden_layers")?;
    p.scope("vision_tower.vision_tower", |p| {
        patch_matrix(&v, p)?;
        let positions = side.saturating_mul(side);
        Embedding::new(p, "embeddings.position_embedding", positions, v.dim("hidden_size")?);
        encoder(&v, p, layers)
    })?;
    let text = c.dim_or("hidden_size", 3072)?;
    Linear::new(p, "mm_projector.0", c.dim_or("mm_hidden_size", 1152)?, text, true);
    Linear::new(p, "mm_projector.2", text, text, true);
    audio(c, p, text)
}

fn audio(c: &Config, p: &mut ParamBuilder, text: u64) -> Result<(), ConfigError> {
    let processor = nested(c, "audio_processor")?;
    let a = nested(&processor, "config")?.with_sizes(&[("num_blocks", 24)]);
    let width = a.dim_or("attention_dim", 1024)?;
    let mel = a.dim_or("input_size", 80)?;
    let channels = a.dim_or("conv_channels", 1024)?;
    let heads = a.dim_or("attention_heads", 16)?;
    let buckets = a.dim_or("t5_bias_max_distance", 500)?.saturating_mul(2);
    let halvings = u64::from(divisor(&a, "time_reduction", 8)?.ilog2());
    let blocks = depth(&a, "num_blocks")?;
    let sizes = conformer::PhiSizes::read(&a, width)?;
    p.scope("audio_encoder", |p| {
        p.raw("encoder_embedding.global_mean", &[mel]);
        p.raw("encoder_embedding.global_invstd", &[mel]);
        convolution(p, "embed.conv_0", [1, channels], &[3, 3], true);
        for i in 0..halvings.saturating_sub(1) {
            convolution(p, &format!("embed.dw_pw_layers.{i}.dw"), [1, channels], &[3, 3], true);
            let one = [channels, channels];
            convolution(p, &format!("embed.dw_pw_layers.{i}.pw"), one, &[1, 1], true);
        }
        let rows = (0..halvings).fold(mel, |n, _| n.saturating_sub(1) / 2 + 1);
        Linear::new(p, "embed.out", channels.saturating_mul(rows), width, true);
        Embedding::new(p, "relative_attention_bias_layer.bias_values", buckets, heads);
        for i in 0..blocks {
            p.scope(&format!("encoders.{i}"), |p| conformer::phi_block(p, sizes));
        }
    });
    for branch in ["speech", "vision"] {
        p.scope(&format!("audio_projection.{branch}"), |p| {
            Linear::new(p, "proj_0", width, text, true);
            Linear::new(p, "proj_2", text, text, true);
        });
    }
    Ok(())
}
