//! The `quantization` object of a `config.json`.
//!
//! mlx-lm writes it (`utils.py:quantize_model`) and reads it back (`load_model`): `bits`, `group_size` and `mode`
//! for the whole model, and module paths with an object or a truth value of their own. A missing mode is affine, a
//! `null` or missing group size is the default of the mode, and an override without a mode is affine even where
//! the whole model uses another one.

use crate::model::config::{Config, ConfigError};
use crate::model::quant::{Mode, Packing, Scheme};
use serde_json::Value;
use std::collections::BTreeMap;

/// What the block says about one module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// Quantized with its own packing.
    Packed(Packing),
    /// Quantized like the rest of the model (`true`).
    Default,
    /// Not quantized (`false`).
    Plain,
}

/// The parsed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantBlock {
    /// Packing of every module without an entry of its own.
    pub default: Packing,
    /// Entries by module path, as mlx-lm names modules.
    pub overrides: BTreeMap<String, Override>,
}

/// In which format a checkpoint's weights are, judged by its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    /// Floating-point weights without quantization.
    Plain,
    /// Quantized by MLX; the headers say how in detail.
    Mlx(QuantBlock),
    /// Quantized by something else, named by `quantization_config.quant_method`: `fp8`, `mxfp4`, `awq`, …
    Foreign(String),
}

/// Keys of the block that describe it rather than a module.
const OWN_KEYS: [&str; 3] = ["bits", "group_size", "mode"];

impl WeightFormat {
    /// Reads the block from a configuration: `quantization`, else `quantization_config`, else the one in `text_config`.
    ///
    /// # Errors
    /// When a block has values that MLX does not know.
    pub fn of(config: &Config) -> Result<Self, ConfigError> {
        if let Some(block) = config.opt_object("quantization")? {
            return QuantBlock::parse(&block).map(Self::Mlx);
        }
        let text = config.opt_object("text_config")?;
        for holder in [Some(config), text.as_ref()].into_iter().flatten() {
            if let Some(block) = holder.opt_object("quantization_config")? {
                return match block.opt_str("quant_method")? {
                    Some(method) => Ok(Self::Foreign(method.to_owned())),
                    None if block.has("bits") => QuantBlock::parse(&block).map(Self::Mlx),
                    None => Ok(Self::Foreign("unknown".to_owned())),
                };
            }
        }
        Ok(Self::Plain)
    }
}

impl QuantBlock {
    /// Parses the block itself.
    ///
    /// # Errors
    /// When bits, group size and mode are none that MLX has.
    pub fn parse(block: &Config) -> Result<Self, ConfigError> {
        let default = packing(block)?;
        let mut overrides = BTreeMap::new();
        for (path, value) in block.values() {
            if OWN_KEYS.contains(&path.as_str()) {
                continue;
            }
            let entry = match value {
                Value::Bool(true) => Override::Default,
                Value::Bool(false) => Override::Plain,
                Value::Object(_) => match block.opt_object(path)? {
                    Some(own) => Override::Packed(packing(&own)?),
                    None => continue,
                },
                // Strings and numbers are remarks of a converter ("linear_class", "quant_method").
                _ => continue,
            };
            overrides.insert(path.clone(), entry);
        }
        Ok(Self { default, overrides })
    }

    /// What the block says about the module at `path`, or `None` when it is not quantized.
    #[must_use]
    pub fn packing_of(&self, path: &str) -> Option<Packing> {
        match self.overrides.get(path) {
            Some(Override::Packed(packing)) => Some(*packing),
            Some(Override::Plain) => None,
            Some(Override::Default) | None => Some(self.default),
        }
    }
}

fn packing(block: &Config) -> Result<Packing, ConfigError> {
    let mode = block.opt_str("mode")?.unwrap_or("affine");
    let fixed = [Packing::MXFP4, Packing::NVFP4, Packing::MXFP8];
    let default = match fixed.into_iter().find(|p| p.mode.name() == mode) {
        Some(packing) => packing,
        None if mode == Mode::Affine.name() => Packing::affine(4, 64),
        None => return Err(block.invalid("mode", "affine, mxfp4, nvfp4 or mxfp8")),
    };
    let bits = block.dim_or("bits", u64::from(default.bits))?;
    let group = block.dim_or("group_size", u64::from(default.group))?;
    let is = |a: u32, b: u64| u64::from(a) == b;
    if default.mode != Mode::Affine {
        if !is(default.bits, bits) {
            return Err(block.invalid("bits", format!("{} for the mode {mode}", default.bits)));
        }
        if !is(default.group, group) {
            return Err(
                block.invalid("group_size", format!("{} for the mode {mode}", default.group))
            );
        }
        return Ok(default);
    }
    let bits = Scheme::AFFINE_BITS.into_iter().find(|b| is(*b, bits));
    let group = Scheme::AFFINE_GROUPS.into_iter().find(|g| is(*g, group));
    Ok(Packing::affine(
        bits.ok_or_else(|| block.invalid("bits", "2, 3, 4, 5, 6 or 8"))?,
        group.ok_or_else(|| block.invalid("group_size", "32, 64 or 128"))?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(text: &str) -> Result<WeightFormat, ConfigError> {
        WeightFormat::of(&Config::parse(text).expect("valid JSON"))
    }

    fn block(text: &str) -> QuantBlock {
        match format(&format!(r#"{{"quantization":{text}}}"#)).expect("a valid block") {
            WeightFormat::Mlx(block) => block,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn overrides_and_defaults_follow_mlx_lm() {
        let b = block(
            r#"{"group_size":32,"bits":4,"mode":"mxfp4","linear_class":"x",
                "model.layers.0.mlp.gate":{"group_size":64,"bits":8},
                "model.layers.1.mlp.gate":{"group_size":null,"bits":8},
                "lm_head":false,"model.embed_tokens":true}"#,
        );
        assert_eq!(b.default, Packing::MXFP4);
        assert_eq!(b.packing_of("model.layers.0.mlp.gate"), Some(Packing::affine(8, 64)));
        assert_eq!(b.packing_of("model.layers.1.mlp.gate"), Some(Packing::affine(8, 64)));
        assert_eq!(b.packing_of("lm_head"), None);
        assert_eq!(b.packing_of("model.embed_tokens"), Some(Packing::MXFP4));
        assert_eq!(b.packing_of("anything.else"), Some(Packing::MXFP4));
        assert_eq!(b.overrides.len(), 4);
    }

    #[test]
    fn a_null_group_is_the_default_of_the_mode() {
        assert_eq!(block(r#"{"bits":3,"group_size":null}"#).default, Packing::affine(3, 64));
        assert_eq!(block(r#"{"mode":"nvfp4"}"#).default, Packing::NVFP4);
    }

    #[test]
    fn packings_that_mlx_does_not_have_are_refused() {
        for (text, expected) in [
            (r#"{"bits":7}"#, "key 'quantization.bits': expected 2, 3, 4, 5, 6 or 8, found 7"),
            (r#"{"bits":4,"group_size":48}"#, "quantization.group_size"),
            (r#"{"bits":8,"mode":"mxfp4"}"#, "expected 4 for the mode mxfp4"),
            (r#"{"bits":4,"mode":"int"}"#, "quantization.mode"),
            (r#"{"bits":4,"lm_head":{"bits":9}}"#, "quantization.lm_head.bits"),
        ] {
            let error = format(&format!(r#"{{"quantization":{text}}}"#)).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_format_is_found_in_all_its_places() {
        assert_eq!(format("{}"), Ok(WeightFormat::Plain));
        let foreign = |name: &str| Ok(WeightFormat::Foreign(name.to_owned()));
        assert_eq!(
            format(r#"{"quantization_config":{"quant_method":"fp8","fmt":"e4m3"}}"#),
            foreign("fp8")
        );
        assert_eq!(
            format(r#"{"text_config":{"quantization_config":{"quant_method":"awq"}}}"#),
            foreign("awq")
        );
        let old = format(r#"{"quantization_config":{"bits":4,"group_size":64}}"#).unwrap();
        assert!(matches!(old, WeightFormat::Mlx(b) if b.default == Packing::affine(4, 64)));
        assert!(format(r#"{"quantization":3}"#).is_err());
    }
}
