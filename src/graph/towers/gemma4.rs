//! Gemma 4: a tower with rotated positions and norms around both halves of a block, a conformer for sound; the unified
//! variant has an embedder of patches instead of a tower.

use super::conformer::{ConformerNames, ConformerSizes, clipped, subsampling};
use super::keys::{depth, nested, norm, text_width};
use super::{VisionModel, conformer, images};
use crate::graph::prelude::*;

pub(in crate::graph) static GEMMA4: VisionModel =
    VisionModel::new(gemma4).with_images(images::gemma4);
pub(in crate::graph) static GEMMA4_UNIFIED: VisionModel =
    VisionModel::new(gemma4_unified).with_images(images::gemma4);

fn gemma4(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&[
        ("hidden_size", 768),
        ("intermediate_size", 3072),
        ("num_hidden_layers", 16),
        ("num_attention_heads", 12),
        ("num_key_value_heads", 12),
        ("head_dim", 64),
        ("patch_size", 16),
        ("position_embedding_size", 10_240),
    ]);
    let width = v.dim("hidden_size")?;
    p.scope("vision_tower", |p| tower(&v, p, width))?;
    let text = text_width(c, 1536)?;
    Linear::new(p, "embed_vision.embedding_projection", width, text, false);
    match c.opt_object("audio_config")?.filter(|a| !a.values().is_empty()) {
        Some(a) => audio(&a, p, text),
        None => Ok(()),
    }
}

fn tower(v: &Config, p: &mut ParamBuilder, width: u64) -> Result<(), ConfigError> {
    let patch = v.dim("patch_size")?.min(1 << 20);
    Linear::new(p, "patch_embedder.input_proj", 3 * patch * patch, width, false);
    let positions = v.dim("position_embedding_size")?;
    p.raw("patch_embedder.position_embedding_table", &[2, positions, width]);
    let (layers, clip) = (depth(v, "num_hidden_layers")?, v.bool_or("use_clipped_linears", false)?);
    let dim = v.dim("head_dim")?;
    let query = v.dim("num_attention_heads")?.saturating_mul(dim);
    let kv = v.dim("num_key_value_heads")?.saturating_mul(dim);
    let hidden = v.dim("intermediate_size")?;
    for i in 0..layers {
        p.scope(&format!("encoder.layers.{i}"), |p| {
            p.scope("self_attn", |p| {
                clipped(p, "q_proj", width, query, clip);
                clipped(p, "k_proj", width, kv, clip);
                clipped(p, "v_proj", width, kv, clip);
                clipped(p, "o_proj", query, width, clip);
                norm(p, "q_norm", dim, false);
                norm(p, "k_norm", dim, false);
            });
            clipped(p, "mlp.gate_proj", width, hidden, clip);
            clipped(p, "mlp.up_proj", width, hidden, clip);
            clipped(p, "mlp.down_proj", hidden, width, clip);
            for name in AROUND {
                norm(p, name, width, false);
            }
        });
    }
    if v.bool_or("standardize", false)? {
        p.raw("std_bias", &[width]);
        p.raw("std_scale", &[width]);
    }
    Ok(())
}

/// The norms around attention and MLP.
const AROUND: [&str; 4] = [
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
];

/// Rows of the spectrum before the convolutions.
const MEL: u64 = 128;

fn audio(a: &Config, p: &mut ParamBuilder, text: u64) -> Result<(), ConfigError> {
    let sizes = ConformerSizes {
        width: a.dim_or("hidden_size", 1024)?,
        heads: a.dim_or("num_attention_heads", 8)?,
        kernel: a.dim_or("conv_kernel_size", 5)?,
    };
    let channels = match a.opt_dims("subsampling_conv_channels")?.as_deref() {
        None => [128, 32],
        Some(&[first, second]) => [first, second],
        Some(_) => return Err(a.invalid("subsampling_conv_channels", "two sizes")),
    };
    // An absent size is 1536, one that is null means that there is no projection.
    let out = if a.has("output_proj_dims") { a.opt_dim("output_proj_dims")? } else { Some(1536) };
    let layers = depth(&a.clone().with_sizes(&[("num_hidden_layers", 12)]), "num_hidden_layers")?;
    p.scope("audio_tower", |p| {
        p.scope("subsample_conv_projection", |p| {
            subsampling(p, ["layer0", "layer1"], channels, [[3, 3], [3, 3]]);
            let features = (MEL / 4).saturating_mul(channels[1]);
            Linear::new(p, "input_proj_linear", features, sizes.width, false);
        });
        for i in 0..layers {
            p.scope(&format!("layers.{i}"), |p| {
                conformer::gemma_block(p, &ConformerNames::GEMMA4, sizes);
            });
        }
        if let Some(out) = out {
            Linear::new(p, "output_proj", sizes.width, out, true);
        }
    });
    let features = out.filter(|n| *n > 0).unwrap_or(sizes.width);
    Linear::new(p, "embed_audio.embedding_projection", features, text, false);
    Ok(())
}

fn gemma4_unified(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let text = text_width(c, 3840)?;
    // A configuration that is absent is the default one; one that is null means that there is no such part.
    if !is_null(c, "vision_config") {
        let v = nested(c, "vision_config")?;
        let patch = v.dim_or("model_patch_size", 48)?.min(1 << 15);
        let pixels = patch * patch * 3;
        let width = v.dim_or("mm_embed_dim", 3840)?;
        let positions = v.dim_or("mm_posemb_size", 1120)?;
        p.scope("vision_embedder", |p| {
            norm(p, "patch_ln1", pixels, true);
            Linear::new(p, "patch_dense", pixels, width, true);
            norm(p, "patch_ln2", width, true);
            p.raw("pos_embedding", &[positions, 2, width]);
            norm(p, "pos_norm", width, true);
        });
        let features = v.dim_or("output_proj_dims", 3840)?;
        Linear::new(p, "embed_vision.embedding_projection", features, text, false);
    }
    if !is_null(c, "audio_config") {
        let a = nested(c, "audio_config")?;
        let features = a.dim_or("output_proj_dims", 640)?;
        Linear::new(p, "embed_audio.embedding_projection", features, text, false);
    }
    Ok(())
}

fn is_null(c: &Config, key: &str) -> bool {
    c.has(key) && c.get(key).is_none()
}
