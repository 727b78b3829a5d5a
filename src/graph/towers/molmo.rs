//! The tower of Molmo 2: attention pools patches, from features of two layers, into tokens.

use super::keys::{depth, nested};
use super::vit::{MlpNames, QkvNames, VitSizes, VitStyle};
use super::{VisionModel, images};
use crate::graph::prelude::*;

pub(in crate::graph) static MOLMO2: VisionModel =
    VisionModel::new(molmo2).implied().with_images(images::molmo2);

/// Layers of the tower that checkpoints hold, though configurations name more.
const MOST_LAYERS: u64 = 25;

const STYLE: VitStyle = VitStyle {
    norms: ["attention_norm", "ffn_norm"],
    attention: "attention",
    qkv: QkvNames::Apart(["wq", "wk", "wv"]),
    out: "wo",
    mlp: "feed_forward",
    matrices: MlpNames::Plain(["w1", "w2"]),
    ..VitStyle::SIGLIP
};

fn molmo2(c: &Config, p: &mut ParamBuilder) -> Result<(), ConfigError> {
    let outer = c.opt_object("vision_config")?.filter(|v| !v.values().is_empty());
    let outer = outer.as_ref().unwrap_or(c);
    let v = nested(outer, "vit_config")?.with_sizes(&[
        ("hidden_size", 1152),
        ("intermediate_size", 4304),
        ("num_hidden_layers", MOST_LAYERS),
    ]);
    let a = nested(outer, "adapter_config")?;
    let width = v.dim("hidden_size")?;
    let patch = v.dim_or("image_patch_size", 14)?.min(1 << 20);
    let heads = [v.dim_or("num_attention_heads", 16)?, v.dim_or("num_key_value_heads", 16)?];
    let dim = v.dim_or("head_dim", 72)?;
    let layers = depth(&v, "num_hidden_layers")?.min(MOST_LAYERS);
    let hidden = v.dim("intermediate_size")?;
    let positions = v.dim_or("image_num_pos", 729)?;
    p.scope("vision_tower.image_vit", |p| {
        p.raw("positional_embedding", &[positions, width]);
        Linear::new(p, "patch_embedding", patch * patch * 3, width, true);
        for i in 0..layers {
            p.scope(&format!("transformer.{i}"), |p| block(p, width, hidden, heads, dim));
        }
    });
    adapter(&a, p, width)
}

fn block(p: &mut ParamBuilder, width: u64, hidden: u64, [query, kv]: [u64; 2], dim: u64) {
    let inner = query.saturating_mul(dim);
    if query == kv {
        return STYLE.block(p, VitSizes { width, inner, hidden });
    }
    super::keys::norm(p, "attention_norm", width, true);
    p.scope("attention", |p| pooling(p, width, width, [inner, kv.saturating_mul(dim)]));
    super::keys::norm(p, "ffn_norm", width, true);
    Linear::new(p, "feed_forward.w1", width, hidden, true);
    Linear::new(p, "feed_forward.w2", hidden, width, true);
}

/// Attention from `inputs` features to `out`, with fewer heads for keys and values than for queries.
fn pooling(p: &mut ParamBuilder, inputs: u64, out: u64, [query, kv]: [u64; 2]) {
    Linear::new(p, "wq", inputs, query, true);
    Linear::new(p, "wk", inputs, kv, true);
    Linear::new(p, "wv", inputs, kv, true);
    Linear::new(p, "wo", query, out, true);
}

fn adapter(a: &Config, p: &mut ParamBuilder, width: u64) -> Result<(), ConfigError> {
    let taps = match a.get("vit_layers") {
        Some(serde_json::Value::Array(layers)) => layers.len() as u64,
        _ => 2,
    };
    let dim = a.dim_or("head_dim", 72)?;
    let inner = [a.dim_or("num_attention_heads", 16)?, a.dim_or("num_key_value_heads", 16)?]
        .map(|heads| heads.saturating_mul(dim));
    let out = a.dim_or("hidden_size", 1152)?;
    let hidden = a.dim_or("intermediate_size", 9728)?;
    let text = a.dim_or("text_hidden_size", 2560)?;
    p.scope("vision_tower", |p| {
        let inputs = width.saturating_mul(taps);
        p.scope("image_pooling_2d", |p| pooling(p, inputs, out, inner));
        p.scope("image_projector", |p| {
            Linear::new(p, "w1", out, hidden, false);
            Linear::new(p, "w2", hidden, text, false);
            Linear::new(p, "w3", out, hidden, false);
        });
    });
    Ok(())
}
