//! The Macs on which a fine-tuning run fits.

use crate::advise::macs::on_sale;
use crate::estimate::memory::Fit;
use crate::estimate::training::peaks;
use crate::estimate::{Estimator, TrainingEstimate, gpu};
use crate::graph::training::FineTuning;
use crate::hardware::catalog::Macs;
use crate::hardware::machine::Machine;
use crate::ledger::replay::Gpu;
use crate::ledger::training::{TrainingError, TrainingLedger};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};

/// A Mac on which a run fits.
#[derive(Clone, Debug)]
pub struct TrainingMac {
    /// The machine.
    pub machine: Machine,
    /// Product id.
    pub mac: String,
    /// List price in USD now, where known.
    pub usd_now: Option<u32>,
    /// What the run takes on it.
    pub estimate: TrainingEstimate,
}

/// Why no Mac can be named.
#[derive(Debug, thiserror::Error)]
pub enum TrainingMacsError {
    /// The run is refused.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// The catalog has problems.
    #[error(transparent)]
    Hardware(crate::hardware::MacsError),
}

/// The Macs on sale on which a run fits, the cheapest first; Macs without a known price last.
///
/// # Errors
/// When mlx-lm refuses the run, or the catalog has problems.
pub fn macs_for_training(
    catalog: &Macs,
    estimator: &Estimator<'_>,
    run: &FineTuning,
) -> Result<Vec<TrainingMac>, TrainingMacsError> {
    let on_sale = on_sale(catalog).map_err(TrainingMacsError::Hardware)?;
    let engine = &estimator.run().engine;
    let kind = |machine: &Machine| gpu(machine, engine).alike();
    let kinds: HashSet<Gpu> = on_sale.iter().map(|(_, _, machine)| kind(machine)).collect();
    let found = kinds.into_par_iter().map(|gpu| Ok((gpu, peaks(estimator.graph(), run, gpu)?)));
    let known: HashMap<Gpu, (TrainingLedger, u64)> = found.collect::<Result<_, TrainingError>>()?;
    let mut out: Vec<TrainingMac> = Vec::new();
    for (mac, config, machine) in on_sale {
        let Some(peak) = known.get(&kind(&machine)) else { continue };
        let estimate = estimator.judged(&machine, run, peak.clone());
        if estimate.judgment.verdict < Fit::Uncertain {
            let usd_now = config.usd_now;
            out.push(TrainingMac { machine, mac: mac.id.clone(), usd_now, estimate });
        }
    }
    out.sort_by_key(|c| (c.usd_now.unwrap_or(u32::MAX), c.machine.id.clone()));
    let mut seen = HashSet::new();
    out.retain(|c| seen.insert(c.machine.id.clone()));
    Ok(out)
}
