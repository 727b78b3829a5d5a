//! The towers of Llama 3.2 Vision and Llama 4.

use super::keys::{check_kind, convolution, depth, divisor, nested, norm, patch_count, text_width};
use super::vit::{VitSizes, VitStyle};
use super::{VisionModel, images};
use crate::graph::prelude::*;

pub(in crate::graph) static LLAMA4: VisionModel =
    VisionModel::new(llama4).with_images(images::llama4);
pub(in crate::graph) static MLLAMA: VisionModel =
    VisionModel::new(mllama).with_images(images::mllama);

fn llama4(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?;
    check_kind(&v, &["llama4", "llama4_vision_model"])?;
    let (width, hidden) = (v.dim("hidden_size")?, v.dim("intermediate_size")?);
    let patch = divisor(&v, "patch_size", 14)?;
    let pixels = v.dim("num_channels")?.saturating_mul(patch.saturating_mul(patch));
    let positions = patch_count(&v, 336, 14)?.saturating_add(1);
    let layers = depth(&v, "num_hidden_layers")?;
    let (inner, out) = (v.dim("projector_input_dim")?, v.dim("projector_output_dim")?);
    p.scope("vision_model", |p| {
        p.raw("class_embedding", &[width]);
        p.raw("positional_embedding_vlm", &[positions, width]);
        Linear::new(p, "patch_embedding.linear", pixels, width, false);
        norm(p, "layernorm_pre", width, true);
        norm(p, "layernorm_post", width, true);
        VitStyle::LLAMA.declare(p, "model.layers", layers, VitSizes::new(width, hidden));
        Linear::new(p, "vision_adapter.mlp.fc1", hidden, inner, false);
        Linear::new(p, "vision_adapter.mlp.fc2", out, out, false);
    });
    let features = v.dim("vision_output_dim")?;
    let text = text_width(c, 0)?;
    Linear::new(p, "multi_modal_projector.linear_1", features, text, false);
    Ok(())
}

fn mllama(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let v = nested(c, "vision_config")?.with_sizes(&[
        ("image_size", 560),
        ("patch_size", 14),
        ("num_channels", 3),
        ("hidden_size", 1280),
        ("intermediate_size", 5120),
        ("num_hidden_layers", 32),
        ("num_global_layers", 8),
        ("max_num_tiles", 4),
        ("max_aspect_ratio_id", 8),
        ("vision_output_dim", 7680),
    ]);
    let width = v.dim("hidden_size")?;
    let patch = divisor(&v, "patch_size", 14)?;
    let positions = patch_count(&v, 560, 14)?.saturating_add(1);
    let (ratios, tiles) = (v.dim("max_aspect_ratio_id")? + 1, v.dim("max_num_tiles")?);
    let sizes = VitSizes::new(width, v.dim("intermediate_size")?);
    let style = VitStyle { biases: [false, false], ..VitStyle::LLAMA };
    let (layers, global) = (depth(&v, "num_hidden_layers")?, depth(&v, "num_global_layers")?);
    let channels = v.dim("num_channels")?;
    p.scope("vision_tower", |p| {
        convolution(p, "patch_embedding", [channels, width], &[patch, patch], false);
        p.raw("class_embedding", &[width]);
        p.raw("gated_positional_embedding.gate", &[1]);
        p.raw("gated_positional_embedding.embedding", &[positions, width]);
        let tiled = tiles.saturating_mul(positions).saturating_mul(width);
        Embedding::new(p, "gated_positional_embedding.tile_embedding", ratios, tiled);
        for name in ["pre_tile_positional_embedding", "post_tile_positional_embedding"] {
            let tile = tiles.saturating_mul(width);
            Embedding::new(p, &format!("{name}.embedding"), ratios, tile);
            p.raw(&format!("{name}.gate"), &[1]);
        }
        norm(p, "layernorm_pre", width, true);
        norm(p, "layernorm_post", width, true);
        style.declare(p, "transformer.layers", layers, sizes);
        style.declare(p, "global_transformer.layers", global, sizes);
        for i in 0..global {
            p.raw(&format!("global_transformer.layers.{i}.gate_attn"), &[1]);
            p.raw(&format!("global_transformer.layers.{i}.gate_ffn"), &[1]);
        }
    });
    let (features, text) = (v.dim("vision_output_dim")?, text_width(c, 4096)?);
    Linear::new(p, "multi_modal_projector", features, text, true);
    Ok(())
}
