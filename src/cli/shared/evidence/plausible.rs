//! Whether a machine can have run a model as a file of runs says.

use super::Wanted;
use crate::audit::fastest_decode;
use crate::estimate::widening::Of;
use crate::estimate::{Basis, Estimator, OwnRun};
use crate::hardware::spec;
use crate::ledger::weights::Weights;
use crate::roofline::{Coefficients, Silicon};
use anyhow::Result;

/// Longest prompt of any run, tokens.
const LONGEST: u32 = 16_777_216;
/// Parameters that no token is multiplied with are at most three of four (an embedding that is much of a small model), so
/// that a prompt is never read faster than this times the arithmetic peak over all active ones.
const BESIDE: f64 = 4.0;
/// A run that is so many times slower than memory or arithmetic allow was none of this model.
const SLOWEST: f64 = 10_000.0;

/// What a model can do.
pub(super) struct PossibleRates<'w> {
    wanted: &'w Wanted<'w>,
    estimator: Estimator<'w>,
    active_parameters: f64,
}

impl<'w> PossibleRates<'w> {
    /// Of what is predicted.
    ///
    /// # Errors
    /// When the coefficients cannot be read.
    pub fn of(wanted: &'w Wanted<'w>) -> Result<Self> {
        let coefficients = Coefficients::embedded()?;
        let active = Weights::of(&wanted.model.graph).active_parameters.max(1);
        Ok(Self {
            wanted,
            estimator: Estimator::new(coefficients, wanted.model, *wanted.run, Basis::Spec),
            active_parameters: active as f64,
        })
    }

    /// What is wrong with a run; nothing where it can be, or where its machine is not in the catalog.
    pub fn problem(&self, run: &OwnRun) -> Option<String> {
        let tokens = run.work.context_tokens;
        if tokens > LONGEST {
            return Some(format!("no prompt has {tokens} tokens"));
        }
        let (most, rate, of) = (self.fastest(run)?, run.rate, run.of.name());
        if rate > most {
            return Some(format!(
                "{of} at {rate:.4e} tok/s is more than the machine can do, {most:.4e}"
            ));
        }
        (rate < most / SLOWEST).then(|| format!("{of} at {rate:.4e} tok/s is no run of this model"))
    }

    /// Tokens per second that memory (decode) or arithmetic (prefill) allow.
    fn fastest(&self, run: &OwnRun) -> Option<f64> {
        let machine = format!("{}/{}", run.chip, run.memory_gib);
        let macs = &self.wanted.context.catalogs.macs;
        let silicon = Silicon::of(&spec::resolve(&machine, macs).ok()?);
        let work = run.work;
        match run.of {
            Of::Decode => {
                let features = self.estimator.speed().ok()?.features();
                let tokens = (work.context_tokens, work.generate_tokens, work.batch);
                Some(fastest_decode(features, &silicon, tokens))
            }
            Of::Prefill | Of::Training => {
                Some(BESIDE * silicon.peak_flops() / (2.0 * self.active_parameters))
            }
        }
    }
}
