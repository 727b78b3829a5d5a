//! Rotary position embeddings: `nn.RoPE` and the variants of `mlx_lm/models/rope_utils.py`.

use crate::graph::op::Rope;
use crate::graph::tape::{FrequencyTable, Var};
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

    /// The factors of LongRoPE: one per frequency, or a single one.
    ///
    /// # Errors
    /// When there are none, or something else than numbers.
    pub fn long_factors(&self) -> Result<Vec<f64>, ConfigError> {
        let wrong = || self.0.invalid("long_factor", "a number or a list of numbers");
        match self.0.get("long_factor") {
            Some(serde_json::Value::Array(list)) => {
                list.iter().map(|v| v.as_f64().ok_or_else(wrong)).collect()
            }
            value => Ok(vec![value.and_then(serde_json::Value::as_f64).ok_or_else(wrong)?]),
        }
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
    /// Factor on the rotated features before the rotation; `None` when there is no such step.
    input_scale: Option<f64>,
    /// Base that grows with the number of positions.
    dynamic: Option<Dynamic>,
}

/// Dynamic NTK scaling: the base grows once there are more positions than `max`.
#[derive(Clone, Copy, Debug)]
struct Dynamic {
    factor: f64,
    max: f64,
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
            input_scale: None,
            dynamic: None,
        }
    }

    /// A rope with the given frequency table.
    #[must_use]
    pub fn with_table(dims: u64, table: FrequencyTable) -> Self {
        Self { table: Some(table), ..Self::plain(dims, false, 0.0) }
    }

    /// Positions multiplied by a factor.
    #[must_use]
    pub fn with_position_scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }

    /// `ProportionalRoPE`: only a part of the features turns.
    ///
    /// # Errors
    /// When the part is more than all.
    pub fn proportional(
        dims: u64,
        traditional: bool,
        base: f64,
        part: f64,
        factor: f64,
    ) -> Result<Self, ConfigError> {
        let mut rope = Self::plain(dims, traditional, base);
        if !(0.0..=1.0).contains(&part) {
            return Err(ConfigError::Unsupported(format!(
                "partial_rotary_factor is {part}, but must be from 0 to 1"
            )));
        }
        let rotated = (f64::from(rope.dims) * part) as u32;
        rope.table = Some(FrequencyTable::Proportional { dims: rope.dims, rotated, base, factor });
        Ok(rope)
    }

    /// `SuScaledRoPE`: LongRoPE with a factor per frequency, or one for all.
    ///
    /// # Errors
    /// When there are neither one factor nor as many as frequencies.
    pub fn long(
        dims: u64,
        base: f64,
        max: u64,
        original: f64,
        factors: Vec<f64>,
    ) -> Result<Self, ConfigError> {
        let frequencies = dims.div_ceil(2);
        if factors.len() != 1 && factors.len() as u64 != frequencies {
            return Err(ConfigError::Unsupported(format!(
                "rope_scaling has {} factors, but {dims} rotated features need {frequencies}",
                factors.len()
            )));
        }
        let mut rope = Self::plain(dims, false, base);
        let factor = max as f64 / original;
        let scale = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / original.ln()).sqrt() };
        rope.input_scale = Some(scale);
        rope.table = Some(FrequencyTable::Long { dims: rope.dims, base, factors });
        Ok(rope)
    }

    /// The rotation that `rope_theta`, `rope_traditional` and `rope_scaling` describe.
    ///
    /// # Errors
    /// As [`RopeModule::new`].
    pub fn read(c: &Config, dims: u64, theta: f64, max: Option<u64>) -> Result<Self, ConfigError> {
        Self::read_as(c, dims, theta, c.bool_or("rope_traditional", false)?, max)
    }

    /// The rotation that `rope_theta` and `rope_scaling` describe, of a family that does not choose which features
    /// are paired.
    ///
    /// # Errors
    /// As [`RopeModule::new`].
    pub fn read_as(
        c: &Config,
        dims: u64,
        theta: f64,
        traditional: bool,
        max: Option<u64>,
    ) -> Result<Self, ConfigError> {
        let theta = c.number_or("rope_theta", theta)?;
        let scaling = RopeScaling::read(c, "rope_scaling")?;
        Self::new(dims, theta, traditional, scaling.as_ref(), max)
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
            "default" => {}
            "mrope" => match scaling.values().get("mrope_section") {
                Some(serde_json::Value::Array(list)) if list.len() == 3 => {}
                _ => return Err(scaling.values().invalid("mrope_section", "a list of three")),
            },
            "dynamic" => {
                let Some(max) = max_positions else {
                    return Err(ConfigError::Unsupported(
                        "rope type 'dynamic' needs the key 'max_position_embeddings'".to_owned(),
                    ));
                };
                let factor = scaling.number("factor")?;
                rope.dynamic = Some(Dynamic { factor, max: max.max(1) as f64 });
            }
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
                let max = max_positions.unwrap_or(original as u64);
                rope = Self::long(dims, base, max, original, scaling.long_factors()?)?;
            }
            "proportional" => {
                let part = scaling.values().number_or("partial_rotary_factor", 1.0)?;
                let factor = scaling.values().number_or("factor", 1.0)?;
                return Self::proportional(dims, traditional, base, part, factor);
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
        self.input_scale = (ratio != 1.0).then_some(ratio);
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

    /// With a factor on the rotated features.
    #[must_use]
    pub fn with_input_scale(self, factor: f64) -> Self {
        Self { input_scale: Some(factor), ..self }
    }

    /// The frequency table, if this variant has one.
    #[must_use]
    pub fn table(&self) -> Option<&FrequencyTable> {
        self.table.as_ref()
    }

    /// The rotated `x` whose tokens stand at `scale` times their index from `offset` on; with `inverse` the rotation
    /// is undone. Only for a rope with a table and without a factor on its input.
    pub fn scaled<'t>(&self, x: Var<'t>, offset: u32, scale: f64, inverse: bool) -> Var<'t> {
        let t = x.tape();
        let Some(table) = self.table.as_ref().filter(|_| self.input_scale.is_none()) else {
            return t.fail("this rotary embedding cannot be scaled or undone");
        };
        let mut freqs = t.table(table);
        if inverse {
            freqs = -freqs;
        }
        let (dims, traditional) = (self.dims, self.traditional);
        x.rope(Rope { dims, traditional, base: None, scale, offset }, None, Some(freqs))
    }

    /// The rotated `x [batch, heads, tokens, width]` whose first token stands at `offset`.
    pub fn forward<'t>(&self, x: Var<'t>, offset: u32) -> Var<'t> {
        self.rotate(x, offset, None)
    }

    /// As [`RopeModule::forward`], with the position as an array, as a model passes it that calls `mx.array(offset)`.
    pub fn forward_at<'t>(&self, x: Var<'t>, offset: u32, array: Var<'t>) -> Var<'t> {
        self.rotate(x, offset, Some(array))
    }

    fn rotate<'t>(&self, x: Var<'t>, offset: u32, array: Option<Var<'t>>) -> Var<'t> {
        let mut x = x;
        if let Some(factor) = self.input_scale {
            x = x.multiply_front(self.dims, factor);
        }
        let base = self.base_at(u64::from(offset) + u64::from(x.dim(-2)));
        let rope = Rope {
            dims: self.dims,
            traditional: self.traditional,
            base: self.table.is_none().then_some(base),
            scale: self.scale,
            offset,
        };
        let table = self.table.as_ref().map(|f| x.tape().table(f));
        x.rope(rope, array, table)
    }

    fn base_at(&self, positions: u64) -> f64 {
        let Some(Dynamic { factor, max }) = self.dynamic else {
            return self.base;
        };
        let length = (positions as f64).max(max);
        let dims = f64::from(self.dims);
        self.base * (factor * length / max - (factor - 1.0)).powf(dims / (dims - 2.0))
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
