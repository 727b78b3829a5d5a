//! The tensors of Muse Spark's vision tower, which mlx-lm keeps in the model. A text prompt does not use them.

use crate::graph::prelude::*;

/// Declares `vision_tower`, `vision_adapter` and `vision_projection`; `text` is the hidden size of the text model.
///
/// # Errors
/// When a value is out of range.
pub(crate) fn declare(
    c: &Config,
    v: &Config,
    p: &mut ParamBuilder,
    text: u64,
) -> Result<(), ConfigError> {
    let width = v.dim_or("hidden_size", 1536)?;
    let hidden = v.dim_or("intermediate_size", 8960)?;
    let merge = v.dim_or("merge_size", 2)?.min(1024);
    let grid = v.dim_or("pos_emb_height", 32)?;
    if v.dim_or("pos_emb_width", 32)? != grid {
        return Err(v.invalid("pos_emb_width", "the same as pos_emb_height"));
    }
    let layers = match v.dim_or("num_hidden_layers", 50)? {
        n if n <= 4096 => n,
        _ => return Err(v.invalid("num_hidden_layers", "a whole number up to 4096")),
    };
    let patch = v.dim_or("patch_size", 14)?;
    let pixels = patch
        .saturating_mul(patch)
        .saturating_mul(v.dim_or("num_channels", 3)?)
        .saturating_mul(v.dim_or("patch_temporal", 2)?);
    p.scope("vision_tower", |p| {
        Linear::new(p, "patch_embedder.patch_embedding", pixels, width, false);
        let positions = grid.saturating_mul(grid);
        Embedding::new(p, "patch_embedder.position_embedding_table", positions, width);
        LayerNorm::new(p, "ln_pre", width, 1e-5, true);
        for i in 0..layers {
            p.scope(&format!("layers.{i}"), |p| {
                LayerNorm::new(p, "norm1", width, 1e-5, true);
                Linear::new(p, "attn.qkv_proj", width, 3 * width, true);
                Linear::new(p, "attn.proj", width, width, true);
                LayerNorm::new(p, "norm2", width, 1e-5, true);
                Linear::new(p, "mlp.fc1", width, hidden, true);
                Linear::new(p, "mlp.fc2", hidden, width, true);
            });
        }
        LayerNorm::new(p, "ln_post", width, 1e-5, true);
    });
    let out = match c.opt_dim("out_hidden_size")? {
        Some(n) => n,
        None => width.saturating_mul(merge * merge),
    };
    let projector = c.opt_dim("projector_hidden_size")?.unwrap_or(out);
    Linear::new(p, "vision_adapter.fc1", out, projector, false);
    Linear::new(p, "vision_adapter.fc2", projector, projector, false);
    Linear::new(p, "vision_projection", projector, text, false);
    Ok(())
}
