//! Nanbeige 4: Llama's layers, run several times over, each time with caches of their own.

use crate::graph::parts::prelude::*;
use std::sync::Arc;

/// More passes through a layer than any real model has; bounds the work on a hostile configuration.
const MAX_PASSES: u64 = 8192;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let heads = d.sized_heads(c)?;
    for key in ["enable_double_loop_split", "loop_share_kv", "enable_depth_attention"] {
        if c.bool_or(key, false)? {
            return Err(c.invalid(key, "false; mlx-lm does not support it"));
        }
    }
    let loops = match c.get("loop_loss_weights").and_then(serde_json::Value::as_array) {
        Some(weights) if !weights.is_empty() => weights.len() as u64 + 1,
        _ => c.dim_or("num_loops", 1)?,
    };
    if loops == 0 || loops.saturating_mul(d.layers as u64) > MAX_PASSES {
        let expected = format!("from 1 to {} rounds", MAX_PASSES / d.layers as u64);
        return Err(c.invalid("num_loops", expected));
    }
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let tied = c.bool_or("tie_word_embeddings", false)?;
    let rope = RopeModule::read_as(c, heads.dim, 10_000.0, false, d.max_context)?;
    let norm_once = c.bool_or("skip_loop_final_norm", false)?;
    let o = d.outline(HeadKind::tied(tied), eps);
    let mut layers = Vec::with_capacity(d.layers);
    let mut decoder = o.layered(p, &d.full(), |p, _| {
        let rope = Some(rope.clone());
        let attention = Attention::new(p, "self_attn", d.width, heads, biases, rope);
        let mlp = GatedMlp::new(p, "mlp", d.width, d.hidden, mlp_bias);
        let layer = Arc::new(Sandwich::pre_norm(p, d.width, eps, attention, mlp));
        layers.push(Arc::clone(&layer));
        Passage { layer, norm: None }
    });
    let norm: Arc<dyn Norm> = Arc::from(decoder.norm);
    let passages = (0..loops).flat_map(|_| layers.iter().enumerate()).map(|(i, layer)| {
        let ends = !norm_once && i + 1 == layers.len();
        let norm = ends.then(|| Arc::clone(&norm));
        Place::new(MaskRule::Full, Passage { layer: Arc::clone(layer), norm })
    });
    decoder.places = passages.collect();
    decoder.rounds = loops as usize;
    decoder.norm = if norm_once { Box::new(norm) } else { Box::new(NoNorm) };
    Ok(decoder.built())
}

/// One passage through a layer; the last of a round may end with the final norm.
struct Passage {
    layer: Arc<Sandwich>,
    norm: Option<Arc<dyn Norm>>,
}

impl Block for Passage {
    fn forward<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let h = self.layer.forward(x, mask, cache);
        self.norm.as_ref().map_or(h, |norm| norm.forward(h))
    }
}

/// Where every round has ended with the norm already.
struct NoNorm;

impl Norm for NoNorm {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        x
    }
}
