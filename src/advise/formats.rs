//! The formats of a model: which is the most precise that fits.

use super::recommend::LADDER;
use crate::estimate::memory::Fits;
use crate::estimate::{Basis, EstimateError, Estimator, OpenedModel, Run};
use crate::hardware::machine::Machine;
use crate::model::{DType, Scheme};
use crate::roofline::Coefficients;

/// A model in every usual format, the most precise first. Empty for files that are quantized already, because what
/// they were before is not known.
pub struct Formats {
    models: Vec<(Scheme, OpenedModel)>,
}

/// The most precise format that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Largest {
    /// This one.
    Fits(Scheme),
    /// None of them.
    None,
    /// The files are quantized already.
    Unknown,
}

impl Formats {
    /// Builds the formats of a model: bf16, and 8, 6, 5, 4 and 3 bits.
    #[must_use]
    pub fn of(subject: &OpenedModel) -> Self {
        let schemes = std::iter::once(Scheme::Float(DType::BF16)).chain(LADDER);
        let model = |scheme| Some((scheme, subject.in_scheme(scheme)?));
        Self { models: schemes.filter_map(model).collect() }
    }

    /// Estimators of all formats.
    #[must_use]
    pub fn estimators<'a>(
        &'a self,
        coefficients: &'a Coefficients,
        run: Run,
    ) -> Vec<(Scheme, Estimator<'a>)> {
        let estimator = |(scheme, model): &'a (Scheme, OpenedModel)| {
            (*scheme, Estimator::new(coefficients, model, run, Basis::Spec))
        };
        self.models.iter().map(estimator).collect()
    }
}

/// The most precise format that fits a machine.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn largest(
    estimators: &[(Scheme, Estimator<'_>)],
    machine: &Machine,
) -> Result<Largest, EstimateError> {
    if estimators.is_empty() {
        return Ok(Largest::Unknown);
    }
    for (scheme, estimator) in estimators {
        // What the weights alone exceed needs no simulation.
        if estimator.weights().bytes > machine.memory.value.0 {
            continue;
        }
        if estimator.memory(machine)?.judgment.fits != Fits::No {
            return Ok(Largest::Fits(*scheme));
        }
    }
    Ok(Largest::None)
}
