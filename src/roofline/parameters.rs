//! Parameters of a fitted law: what is known of each before a measurement, and its fit.
//!
//! A law's parameters are a struct with a field for each. One function per struct declares them ([`Spec`]) in the order
//! of the file and builds the struct from what it gets for each declaration, so that lists of specifications and structs
//! of values cannot fall apart.

use crate::hardware::Tier;
use serde::{Deserialize, Serialize};

/// What a parameter of a law is before any measurement. Its meaning stands at the field that holds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    /// Name in `coefficients.json`.
    pub name: &'static str,
    /// Prior median.
    pub prior: f64,
    /// Standard deviation of the prior on the logarithm; a parameter with 0 is not fitted.
    pub prior_sd: f64,
    /// Lowest plausible value.
    pub low: f64,
    /// Highest plausible value.
    pub high: f64,
}

impl Spec {
    /// A parameter with its prior (median and standard deviation of the logarithm) and plausible range.
    pub(super) const fn new(name: &'static str, prior: [f64; 2], range: [f64; 2]) -> Self {
        let ([prior, prior_sd], [low, high]) = (prior, range);
        Self { name, prior, prior_sd, low, high }
    }
}

/// A value for every chip generation that has rows of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByGeneration {
    /// M1.
    pub m1: f64,
    /// M2.
    pub m2: f64,
    /// M3.
    pub m3: f64,
    /// M4.
    pub m4: f64,
    /// M5 and later, which are taken to be like it.
    pub m5: f64,
}

impl ByGeneration {
    /// The value of a generation: 4 for M4.
    #[must_use]
    pub const fn of(&self, generation: u32) -> f64 {
        match generation {
            0 | 1 => self.m1,
            2 => self.m2,
            3 => self.m3,
            4 => self.m4,
            _ => self.m5,
        }
    }
}

/// A factor for every tier above the base chip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ByTier {
    /// Pro chips.
    pub pro: f64,
    /// Max chips.
    pub max: f64,
    /// Ultra chips.
    pub ultra: f64,
}

impl ByTier {
    /// The factor of a tier: 1 for base chips and those of phones.
    #[must_use]
    pub const fn of(&self, tier: Tier) -> f64 {
        match tier {
            Tier::Phone | Tier::Base => 1.0,
            Tier::Pro => self.pro,
            Tier::Max => self.max,
            Tier::Ultra => self.ultra,
        }
    }
}

/// A fitted parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Name, as in the law's [`Spec`].
    pub name: String,
    /// Value.
    pub value: f64,
    /// Standard deviation of its logarithm.
    pub sd: f64,
    /// Rows that depend on it.
    pub rows: u32,
    /// Clusters (owner and chip) that depend on it.
    pub clusters: u32,
}

/// The fit of one law.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LawFit {
    /// Rows that were fitted.
    pub rows: u32,
    /// Configurations (owner, chip, model, format) among them.
    pub configurations: u32,
    /// Owners among them.
    pub owners: u32,
    /// The parameters, in the order of the law.
    pub parameters: Vec<Parameter>,
    /// Covariance of the logarithms of the parameters: row `i` holds the entries 0 to `i` of the lower triangle.
    pub covariance: Vec<Vec<f64>>,
}

impl LawFit {
    /// The value of a parameter, if the fit has it.
    #[must_use]
    pub fn value_of(&self, name: &str) -> Option<f64> {
        self.parameters.iter().find(|p| p.name == name).map(|p| p.value)
    }

    /// The values in the order of `specs`.
    ///
    /// # Errors
    /// Names what is missing, out of order or out of its plausible range.
    pub fn values(&self, law: &str, specs: &[Spec]) -> Result<Vec<f64>, String> {
        if self.parameters.len() != specs.len() {
            return Err(format!(
                "{law} has {} parameters, not {}",
                self.parameters.len(),
                specs.len()
            ));
        }
        let check = |(p, s): (&Parameter, &Spec)| {
            if p.name != s.name {
                return Err(format!(
                    "{law}: expected the parameter '{}', found '{}'",
                    s.name, p.name
                ));
            }
            if !(s.low..=s.high).contains(&p.value) {
                return Err(format!(
                    "{law}: {} = {} is outside its plausible range {} to {}",
                    s.name, p.value, s.low, s.high
                ));
            }
            Ok(p.value)
        };
        self.parameters.iter().zip(specs).map(check).collect()
    }
}
