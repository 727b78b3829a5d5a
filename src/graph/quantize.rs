//! Which matrices `mlx_lm.convert` packs, and how.
//!
//! Rules: `quantize_model` of `mlx_lm/utils.py`, `mixed_quant_predicate_builder` of `mlx_lm/convert.py`, the
//! families' own `quant_predicate`, and the layout of the published gpt-oss conversions for `mxfp4_q8`.

use super::QuantOverride;
use super::params::{Module, ModuleKind, Parameters};
use crate::model::quant::Recipe;
use crate::model::{Mode, Packing, Scheme};
use thiserror::Error;

/// Why mlx-lm cannot convert a model to a scheme.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuantizeError {
    /// A matrix must be packed in groups that do not divide its rows.
    #[error(
        "mlx-lm cannot convert this model to {scheme}: {path} has {columns} columns, no multiple of {group}"
    )]
    Columns {
        /// The scheme asked for.
        scheme: Scheme,
        /// The module.
        path: String,
        /// Its columns.
        columns: u32,
        /// The group size it would need.
        group: u32,
    },
    /// A module that mlx-lm fails to pack.
    #[error("mlx-lm cannot convert this model to {scheme}: it fails on {path}")]
    Impossible {
        /// The scheme asked for.
        scheme: Scheme,
        /// The module.
        path: String,
    },
    /// A mixed recipe on a model without the layers it looks for.
    #[error("mlx-lm cannot convert this model to {scheme}: {reason}")]
    Recipe {
        /// The scheme asked for.
        scheme: Scheme,
        /// What the recipe misses.
        reason: String,
    },
}

/// Packs the matrices of a model; `rule` says how the model's own predicate treats a module.
pub(super) fn apply(
    params: &mut Parameters,
    rule: impl Fn(&str) -> QuantOverride,
    layers: u64,
    scheme: Scheme,
) -> Result<(), QuantizeError> {
    let Some(global) = scheme.packing() else {
        return Ok(());
    };
    let recipe = match scheme {
        Scheme::Mixed(recipe, group) => Some(Mixed::new(params, recipe, group, layers, scheme)?),
        _ => None,
    };
    for module in params.modules_mut() {
        if !module.packable() {
            continue;
        }
        let rule = rule(&module.path);
        let columns = module.shape.dim(-1);
        if columns % global.group != 0 {
            let narrow = rule == QuantOverride::GroupOf32 && columns % 32 == 0;
            if narrow && global.mode == Mode::Affine && recipe.is_none() {
                module.packing = Some(Packing::affine(global.bits, 32));
            }
            continue;
        }
        if rule == QuantOverride::Impossible {
            return Err(QuantizeError::Impossible { scheme, path: module.path.clone() });
        }
        let packing = match &recipe {
            Some(_) if rule == QuantOverride::Skipped => None,
            Some(mixed) => Some(mixed.packing(&module.path)?),
            None if scheme == Scheme::Mxfp4Q8 && rule != QuantOverride::Skipped => {
                Some(gpt_oss_packing(module))
            }
            None => match rule {
                QuantOverride::Default | QuantOverride::GroupOf32 => Some(global),
                QuantOverride::EightBit => Some(Packing::affine(8, 64)),
                QuantOverride::Keep | QuantOverride::Skipped | QuantOverride::Impossible => None,
            },
        };
        if let Some(p) = packing
            && module.shape.dim(-1) % p.group != 0
        {
            return Err(QuantizeError::Columns {
                scheme,
                path: module.path.clone(),
                columns: module.shape.dim(-1),
                group: p.group,
            });
        }
        module.packing = packing;
    }
    Ok(())
}

fn gpt_oss_packing(module: &Module) -> Packing {
    match module.kind {
        ModuleKind::SwitchLinear | ModuleKind::GroupedLinear => Packing::MXFP4,
        _ => Packing::affine(8, 64),
    }
}

/// A mixed recipe bound to a model.
struct Mixed {
    recipe: Recipe,
    group: u32,
    layers: u64,
    /// Position of the layer number among the parts of a module path.
    layer_at: usize,
    scheme: Scheme,
}

impl Mixed {
    fn new(
        params: &Parameters,
        recipe: Recipe,
        group: u32,
        layers: u64,
        scheme: Scheme,
    ) -> Result<Self, QuantizeError> {
        let down = params.modules().iter().find(|m| m.path.contains("down_proj"));
        let Some(down) = down else {
            let reason = "it has no down_proj layers".to_owned();
            return Err(QuantizeError::Recipe { scheme, reason });
        };
        let parts: Vec<&str> = down.path.split('.').collect();
        let layer_at = parts.iter().position(|p| is_number(p)).unwrap_or(parts.len() - 1);
        Ok(Self { recipe, group, layers, layer_at, scheme })
    }

    fn packing(&self, path: &str) -> Result<Packing, QuantizeError> {
        let index = match path.split('.').nth(self.layer_at) {
            None => 0,
            Some(part) => part.parse::<i64>().map_err(|_| QuantizeError::Recipe {
                scheme: self.scheme,
                reason: format!("it looks for a layer number in '{part}' of {path}"),
            })?,
        };
        let layers = self.layers as i64;
        let eighth = layers / 8;
        let more = index < eighth || index >= 7 * layers / 8 || (index - eighth).rem_euclid(3) == 2;
        let has = |name| path.contains(name);
        let value = has("v_proj") || has("v_a_proj") || has("v_b_proj");
        let high = (more && (value || has("down_proj"))) || has("lm_head");
        let bits = if high { self.recipe.high } else { self.recipe.low };
        Ok(Packing::affine(bits, self.group))
    }
}

fn is_number(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())
}
