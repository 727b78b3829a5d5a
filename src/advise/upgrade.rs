//! What changes between the Mac one has and another.

use super::popular::{between, opened};
use crate::estimate::memory::Fits;
use crate::estimate::{Basis, EstimateError, Estimator, Figures, OpenError, Run, Sources};
use crate::hardware::machine::Machine;
use crate::model::catalog::Models;
use crate::roofline::Coefficients;
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use thiserror::Error;

/// How many times faster one machine is than another.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Faster {
    /// Decode rate over decode rate.
    pub decode: f64,
    /// 90 % interval of it, as if the errors of both were independent.
    pub decode_interval_90: [f64; 2],
    /// Time to first token of the old over that of the new.
    pub ttft: f64,
}

/// Compares the speeds of one model on two machines.
#[must_use]
pub fn faster(from: &Figures, to: &Figures) -> Faster {
    let decode = to.decode.tokens_per_s / from.decode.tokens_per_s;
    let log = |f: &Figures, end: usize| (f.decode.interval_90[end] / f.decode.tokens_per_s).ln();
    let low = log(to, 0).hypot(log(from, 1));
    let high = log(to, 1).hypot(log(from, 0));
    Faster {
        decode,
        decode_interval_90: [decode * (-low).exp(), decode * high.exp()],
        ttft: from.prefill.ttft_s / to.prefill.ttft_s,
    }
}

/// A model that fits only the new machine.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct NewModel {
    /// Its repository.
    pub id: String,
    /// Its format.
    pub quant: String,
    /// Peak memory of the run on the new machine.
    pub peak_bytes: Bytes,
}

/// Why the new models are not known.
#[derive(Debug, Error)]
pub enum UpgradeError {
    /// A model cannot be opened.
    #[error(transparent)]
    OpenedModel(#[from] OpenError),
    /// A model cannot be predicted.
    #[error(transparent)]
    Predict(#[from] EstimateError),
}

/// The most popular models of the catalog that fit the new machine and not the old one, at 4 bits, or as they are
/// published where that is quantized already.
///
/// # Errors
/// When an entry of the catalog is wrong.
pub fn new_models(
    catalog: &Models,
    sources: &Sources<'_, '_>,
    (from, to): (&Machine, &Machine),
    (coefficients, run): (&Coefficients, &Run),
    most: usize,
) -> Result<Vec<NewModel>, UpgradeError> {
    let [small, large] = [from, to].map(|machine| machine.gpu_limit.bytes.0);
    let mut out = Vec::new();
    for model in between(catalog, small, large) {
        if out.len() >= most {
            break;
        }
        let subject = opened(model, sources, run.engine.program)?;
        let estimator = Estimator::new(coefficients, &subject, *run, Basis::Spec);
        let on = |machine| estimator.memory(machine).map_err(EstimateError::from);
        let (before, after) = (on(from)?, on(to)?);
        if before.judgment.fits == Fits::No && after.judgment.fits != Fits::No {
            let peak_bytes = Bytes(after.peak.peak_bytes);
            let quant = estimator.quant();
            out.push(NewModel { id: subject.id.clone(), quant, peak_bytes });
        }
    }
    Ok(out)
}
