//! Named parameters of a fitted law, their priors, plausible ranges and covariance.

use serde::{Deserialize, Serialize};

/// What a parameter of a law is before any measurement.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Name in `coefficients.json`.
    pub name: &'static str,
    /// Prior median.
    pub prior: f64,
    /// Standard deviation of the prior on the logarithm.
    pub prior_sd: f64,
    /// Lowest plausible value.
    pub low: f64,
    /// Highest plausible value.
    pub high: f64,
    /// Physical meaning, with the unit.
    pub meaning: &'static str,
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
