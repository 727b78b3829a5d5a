//! Tables that exist before the first token: rope frequencies.

use super::{Source, Tape, Var, push_new};
use crate::graph::params::ModuleId;
use crate::graph::shape::Shape;
use crate::model::DType;
use std::f64::consts::PI;

/// Frequencies (wavelengths over 2π) of a rotary embedding, as `mlx_lm/models/rope_utils.py` computes them.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum FrequencyTable {
    /// The usual frequencies, or their negatives (which turn the other way).
    Plain { dims: u32, base: f64, negative: bool },
    /// Not frequencies: the negative decay rates of the heads of lightning attention, those of ALiBi times a factor.
    Decay { heads: u32, factor: f64 },
    /// Llama 3: long wavelengths are stretched, medium ones blended.
    Llama3 { dims: u32, base: f64, factor: f64, low: f64, high: f64, original: f64 },
    /// YaRN: a ramp between stretched and original frequencies.
    Yarn { dims: u32, base: f64, factor: f64, original: f64, beta_fast: f64, beta_slow: f64 },
    /// LongRoPE: a factor per frequency.
    Long { dims: u32, base: f64, factors: Vec<f64> },
    /// Gemma 4: only the first `rotated` features turn.
    Proportional { dims: u32, rotated: u32, base: f64, factor: f64 },
    /// Given numbers: lookup tables and lists of indices.
    Given { values: Vec<f64>, dtype: DType },
}

impl FrequencyTable {
    /// Number of frequencies.
    #[must_use]
    pub fn len(&self) -> u32 {
        match self {
            Self::Decay { heads, .. } => *heads,
            Self::Given { values, .. } => u32::try_from(values.len()).unwrap_or(u32::MAX),
            Self::Plain { dims, .. }
            | Self::Llama3 { dims, .. }
            | Self::Yarn { dims, .. }
            | Self::Long { dims, .. }
            | Self::Proportional { dims, .. } => dims.div_ceil(2),
        }
    }

    /// Whether the table is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frequencies in the order of the features.
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        let n = self.len();
        let plain = |i: u32, dims: u32, base: f64| base.powf(f64::from(2 * i) / f64::from(dims));
        (0..n)
            .map(|i| match self {
                Self::Plain { dims, base, negative } => {
                    let f = plain(i, *dims, *base);
                    if *negative { -f } else { f }
                }
                Self::Given { values, .. } => values.get(i as usize).copied().unwrap_or(0.0),
                Self::Decay { heads, factor } => -alibi_slope(i, *heads) * factor,
                Self::Llama3 { dims, base, factor, low, high, original } => {
                    let f = plain(i, *dims, *base);
                    let wavelength = 2.0 * PI * f;
                    if wavelength > original / low {
                        f * factor
                    } else if wavelength > original / high {
                        let smooth = (original / wavelength - low) / (high - low);
                        f / ((1.0 - smooth) / factor + smooth)
                    } else {
                        f
                    }
                }
                Self::Yarn { dims, base, factor, original, beta_fast, beta_slow } => {
                    let turn = |rotations: f64| {
                        f64::from(*dims) * (original / (rotations * 2.0 * PI)).ln()
                            / (2.0 * base.ln())
                    };
                    let low = turn(*beta_fast).floor().max(0.0);
                    let mut high = turn(*beta_slow).ceil().min(f64::from(*dims) - 1.0);
                    if low == high {
                        high += 0.001;
                    }
                    let keep = 1.0 - ((f64::from(i) - low) / (high - low)).clamp(0.0, 1.0);
                    let extra = plain(i, *dims, *base);
                    let inter = factor * extra;
                    (inter * extra) / (inter * keep + extra * (1.0 - keep))
                }
                Self::Long { dims, base, factors } => {
                    let k = if factors.len() == 1 { 0 } else { i as usize };
                    factors.get(k).copied().unwrap_or(1.0) * plain(i, *dims, *base)
                }
                Self::Proportional { dims, rotated, base, factor } => {
                    if i < rotated.div_ceil(2) {
                        factor * plain(i, *dims, *base)
                    } else {
                        f64::INFINITY
                    }
                }
            })
            .collect()
    }
}

/// Slope of head `i` of `n` (`_get_slopes` of `bailing_moe_linear.py`): powers of two, and where `n` is no power of two
/// those of every other head of the next one.
fn alibi_slope(i: u32, n: u32) -> f64 {
    let powers = |i: u32, n: u32| {
        let start = (-(3.0 - f64::from(n).log2()).exp2()).exp2();
        start.powi(i32::try_from(i + 1).unwrap_or(i32::MAX))
    };
    let whole = if n.is_power_of_two() { n } else { n.max(2).next_power_of_two() / 2 };
    if i < whole { powers(i, whole) } else { powers(2 * (i - whole), 2 * whole) }
}

/// A vector that the first call computes from tensors and that stays in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Derived {
    /// In float32: the vector `norm` times the only row of the matrix `row`.
    ScaledRow {
        /// A vector.
        norm: ModuleId,
        /// A matrix of one row.
        row: ModuleId,
    },
    /// A vector plus a number, in the type of the vector.
    Shifted {
        /// The vector.
        weight: ModuleId,
        /// The number.
        by: f64,
    },
}

impl Derived {
    /// The modules whose tensors it is computed from.
    #[must_use]
    pub fn modules(&self) -> Vec<ModuleId> {
        match *self {
            Self::ScaledRow { norm, row } => vec![norm, row],
            Self::Shifted { weight, .. } => vec![weight],
        }
    }
}

impl<'t> Tape<'t> {
    /// A derived vector as an input.
    pub fn derived(&'t self, derived: Derived) -> Var<'t> {
        let index = push_new(&mut self.trace.borrow_mut().derived, derived);
        let (of, dtype) = match derived {
            Derived::ScaledRow { norm, .. } => (norm, DType::F32),
            Derived::Shifted { weight, .. } => (weight, self.params.module(weight).dtype),
        };
        let shape = self.params.module(of).shape;
        self.value(shape, dtype, Source::Derived(index))
    }

    /// A frequency table as an input.
    pub fn table(&'t self, table: &FrequencyTable) -> Var<'t> {
        self.table_shaped(table, Shape::new(&[table.len()]))
    }

    /// The same with the shape in which the model holds it.
    pub fn table_shaped(&'t self, table: &FrequencyTable, shape: Shape) -> Var<'t> {
        let index = push_new(&mut self.trace.borrow_mut().tables, table.clone());
        let dtype = match table {
            FrequencyTable::Given { dtype, .. } => *dtype,
            _ => DType::F32,
        };
        self.value(shape, dtype, Source::Table(index))
    }
}
