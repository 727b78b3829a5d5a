//! SmolLM3: Llama with layers that do not rotate.

use super::llama::{build_with, dims_and_rules, plain_caches};
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let layers = dims_and_rules(c)?.0.layers;
    let interval = c.dim_or("no_rope_layer_interval", 4)? as usize;
    let listed = c.opt_dims("no_rope_layers")?;
    match &listed {
        Some(list) if list.len() != layers => {
            return Err(c.invalid("no_rope_layers", format!("{layers} entries, one per layer")));
        }
        None if interval == 0 => {
            return Err(c.invalid("no_rope_layer_interval", "a whole number of at least 1"));
        }
        _ => {}
    }
    let built = build_with(c, p, |i| match &listed {
        Some(list) => list.get(i) != Some(&0),
        None => (i + 1) % interval != 0,
    })?;
    Ok(plain_caches(built))
}
