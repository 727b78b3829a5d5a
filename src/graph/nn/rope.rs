//! Rotary position embeddings: `nn.RoPE` and the variants of `mlx_lm/models/rope_utils.py`.

use crate::graph::op::{Binary, Rope};
use crate::graph::tape::{FrequencyTable, Tape, Var};
use crate::model::{Config, ConfigError};

/// The `rope_scaling` (or `rope_parameters`) block of a configuration.
#[derive(Clone, Debug)]
pub struct RopeScaling(Config);

impl RopeScaling {
    /// The block under `key`, if there is one.
    ///
    /// # Errors
    /// When the value is no object.
    pub fn read(config: &Config, key: &str) -> Result<Option<Self>, ConfigError> {
        Ok(config.opt_object(key)?.map(Self))
    }

    /// A block that the family makes itself.
    #[must_use]
    pub fn of(values: Config) -> Self {
        Self(values)
    }

    /// Name of the variant; `default` when the block names none.
    ///
    /// # Errors
    /// When the name is no string.
    pub fn kind(&self) -> Result<&str, ConfigError> {
        match self.0.opt_str("type")? {
            Some(kind) => Ok(kind),
            None => Ok(self.0.opt_str("rope_type")?.unwrap_or("default")),
        }
    }

    /// The block itself.
    #[must_use]
    pub fn values(&self) -> &Config {
        &self.0
    }

    fn number(&self, key: &str) -> Result<f64, ConfigError> {
        match self.0.opt_number(key)? {
            Some(x) => Ok(x),
            None => Err(ConfigError::Unsupported(format!("rope_scaling lacks the key '{key}'"))),
        }
    }
}

/// A rotary embedding as a layer holds it.
#[derive(Clone, Debug)]
pub struct RopeModule {
    dims: u32,
    traditional: bool,
    base: f64,
    /// Scale of the positions.
    scale: f64,
    table: Option<FrequencyTable>,
    /// Factor on the rotated features before the rotation.
    input_scale: f64,
}

impl RopeModule {
    /// `nn.RoPE(dims, traditional, base)`.
    #[must_use]
    pub fn plain(dims: u64, traditional: bool, base: f64) -> Self {
        Self {
            dims: u32::try_from(dims).unwrap_or(0),
            traditional,
            base,
            scale: 1.0,
            table: None,
            input_scale: 1.0,
        }
    }

    /// `initialize_rope`: the variant that a scaling block asks for.
    ///
    /// # Errors
    /// When mlx-lm does not know the variant or a value is missing.
    pub fn new(
        dims: u64,
        base: f64,
        traditional: bool,
        scaling: Option<&RopeScaling>,
        max_positions: Option<u64>,
    ) -> Result<Self, ConfigError> {
        let mut rope = Self::plain(dims, traditional, base);
        let Some(scaling) = scaling else {
            return Ok(rope);
        };
        match scaling.kind()? {
            "default" | "mrope" | "dynamic" => {}
            "linear" => rope.scale = 1.0 / scaling.number("factor")?,
            "llama3" => {
                let c = scaling.values();
                rope.table = Some(FrequencyTable::Llama3 {
                    dims: rope.dims,
                    base,
                    factor: scaling.number("factor")?,
                    low: c.number_or("low_freq_factor", 1.0)?,
                    high: c.number_or("high_freq_factor", 4.0)?,
                    original: c.number_or("original_max_position_embeddings", 8192.0)?,
                });
            }
            "yarn" | "deepseek_yarn" | "telechat3-yarn" => rope.set_yarn(scaling)?,
            "longrope" => {
                let original = scaling.number("original_max_position_embeddings")?;
                return Ok(Self::long(dims, base, scaling, max_positions, original));
            }
            "proportional" => {
                let part = scaling.values().number_or("partial_rotary_factor", 1.0)?;
                rope.table = Some(FrequencyTable::Proportional {
                    dims: rope.dims,
                    rotated: (f64::from(rope.dims) * part) as u32,
                    base,
                    factor: scaling.values().number_or("factor", 1.0)?,
                });
            }
            other => {
                return Err(ConfigError::Unsupported(format!(
                    "mlx-lm does not know the rope type '{other}'"
                )));
            }
        }
        Ok(rope)
    }

    /// YaRN, whatever type the block names.
    ///
    /// # Errors
    /// When a value of the block is missing or of the wrong kind.
    pub fn yarn(
        dims: u64,
        base: f64,
        traditional: bool,
        scaling: &RopeScaling,
    ) -> Result<Self, ConfigError> {
        let mut rope = Self::plain(dims, traditional, base);
        rope.set_yarn(scaling)?;
        Ok(rope)
    }

    fn set_yarn(&mut self, scaling: &RopeScaling) -> Result<(), ConfigError> {
        let c = scaling.values();
        let factor = scaling.number("factor")?;
        let mscale = |m: f64| {
            if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 }
        };
        let ratio =
            mscale(c.number_or("mscale", 1.0)?) / mscale(c.number_or("mscale_all_dim", 0.0)?);
        self.input_scale = ratio;
        self.table = Some(FrequencyTable::Yarn {
            dims: self.dims,
            base: self.base,
            factor,
            original: c.number_or("original_max_position_embeddings", 4096.0)?,
            beta_fast: c.number_or("beta_fast", 32.0)?,
            beta_slow: c.number_or("beta_slow", 1.0)?,
        });
        Ok(())
    }

    /// LongRoPE for a model made for `max` positions, trained on `original`.
    #[must_use]
    pub fn long(
        dims: u64,
        base: f64,
        scaling: &RopeScaling,
        max: Option<u64>,
        original: f64,
    ) -> Self {
        let mut rope = Self::plain(dims, false, base);
        let factors = match scaling.values().get("long_factor") {
            Some(serde_json::Value::Array(list)) => {
                list.iter().map(|v| v.as_f64().unwrap_or(1.0)).collect()
            }
            Some(v) => vec![v.as_f64().unwrap_or(1.0)],
            None => vec![1.0],
        };
        let factor = max.map_or(1.0, |m| m as f64 / original);
        rope.input_scale =
            if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
        rope.table = Some(FrequencyTable::Long { dims: rope.dims, base, factors });
        // The factor is applied even when it is 1, so the copy it costs is there in every case.
        if rope.input_scale == 1.0 {
            rope.input_scale = f64::from_bits(1.0f64.to_bits() + 1);
        }
        rope
    }

    /// The frequency table, if this variant has one.
    #[must_use]
    pub fn table(&self) -> Option<&FrequencyTable> {
        self.table.as_ref()
    }

    /// The rotated `x` whose tokens stand at `scale` times their index from `offset` on; with `inverse` the rotation
    /// is undone. Only for a rope with a table and without a factor on its input.
    pub fn scaled(&self, t: &mut Tape<'_>, x: Var, offset: u32, scale: f64, inverse: bool) -> Var {
        let Some(table) = self.table.as_ref().filter(|_| self.input_scale == 1.0) else {
            return t.fail("this rotary embedding cannot be scaled or undone");
        };
        let mut freqs = t.table(table);
        if inverse {
            freqs = t.neg(freqs);
        }
        let (dims, traditional) = (self.dims, self.traditional);
        t.rope(x, Rope { dims, traditional, base: None, scale, offset }, Some(freqs))
    }

    /// The rotated `x [batch, heads, tokens, width]` whose first token stands at `offset`.
    pub fn forward(&self, t: &mut Tape<'_>, x: Var, offset: u32) -> Var {
        let mut x = x;
        if self.input_scale != 1.0 {
            x = t.scale_front(x, self.dims, self.input_scale);
        }
        let rope = Rope {
            dims: self.dims,
            traditional: self.traditional,
            base: self.table.is_none().then_some(self.base),
            scale: self.scale,
            offset,
        };
        let table = self.table.as_ref().map(|f| t.table(f));
        t.rope(x, rope, table)
    }
}

/// `apply_yarn_mscale`: the attention scale with `mscale_all_dim` folded in.
///
/// # Errors
/// When a value of the block is of the wrong kind.
pub fn yarn_attention_scale(scale: f64, scaling: Option<&RopeScaling>) -> Result<f64, ConfigError> {
    let Some(scaling) = scaling else {
        return Ok(scale);
    };
    let all = scaling.values().number_or("mscale_all_dim", 0.0)?;
    let factor = scaling.values().number_or("factor", 1.0)?;
    if scaling.kind()? == "default" || all == 0.0 || factor <= 1.0 {
        return Ok(scale);
    }
    let s = 0.1 * all * factor.ln() + 1.0;
    Ok(scale * s * s)
}

impl Tape<'_> {
    /// `x.at[..., :dims].multiply(factor)`.
    fn scale_front(&mut self, x: Var, dims: u32, factor: f64) -> Var {
        let front = self.slice(x, -1, 0, dims);
        let scaled = self.binary(Binary::Multiply, front, factor);
        self.slice_update(x, scaled, -1, 0)
    }
}
