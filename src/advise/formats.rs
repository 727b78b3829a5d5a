//! The formats of a model: which is the most precise that fits.

use super::planner::Planner;
use super::recommend::LADDER;
use crate::estimate::memory::Fits;
use crate::estimate::{PredictError, Request, Subject};
use crate::graph::Graph;
use crate::hardware::machine::Machine;
use crate::model::source::WeightFormat;
use crate::model::{DType, Scheme};
use crate::roofline::Coefficients;
use crate::units::Bytes;

/// A model in every usual format, the most precise first. Empty for files that are quantised already, because what
/// they were before is not known.
pub struct Formats {
    graphs: Vec<(Scheme, Graph)>,
}

/// The most precise format that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Largest {
    /// This one.
    Fits(Scheme),
    /// None of them.
    None,
    /// The files are quantised already.
    Unknown,
}

impl Formats {
    /// Builds the formats of a model: bf16, and 8, 6, 5, 4 and 3 bits.
    #[must_use]
    pub fn of(subject: &Subject) -> Self {
        let quantised =
            subject.source.gguf.is_some() || matches!(subject.source.format, WeightFormat::Mlx(_));
        let config = subject.source.config.as_ref().filter(|_| !quantised);
        let schemes = std::iter::once(Scheme::Float(DType::BF16)).chain(LADDER);
        let graph = |scheme| Some((scheme, Graph::quantised(config?, scheme).ok()?));
        Self { graphs: schemes.filter_map(graph).collect() }
    }

    /// Planners of all formats.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn planners<'a>(
        &'a self,
        coefficients: &'a Coefficients,
        request: Request,
        reserve: Option<Bytes>,
    ) -> Result<Vec<(Scheme, Planner<'a>)>, PredictError> {
        let planner = |(scheme, graph): &'a (Scheme, Graph)| {
            Ok((*scheme, Planner::new(coefficients, graph, request, reserve)?))
        };
        self.graphs.iter().map(planner).collect()
    }
}

/// The most precise format that fits a machine.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn largest(
    planners: &[(Scheme, Planner<'_>)],
    machine: &Machine,
) -> Result<Largest, PredictError> {
    if planners.is_empty() {
        return Ok(Largest::Unknown);
    }
    for (scheme, planner) in planners {
        // What the weights alone exceed needs no simulation.
        if crate::ledger::weights::Weights::of(planner.graph()).bytes > machine.memory.value.0 {
            continue;
        }
        if planner.memory(machine)?.judgement.fits != Fits::No {
            return Ok(Largest::Fits(*scheme));
        }
    }
    Ok(Largest::None)
}
