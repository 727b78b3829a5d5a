//! Which Macs run a model.

use super::recommend::{AdviseError, Candidate};
use crate::estimate::memory::Fit;
use crate::estimate::{Decode, Estimator, Memory, Prefill, Run, gpu};
use crate::hardware::MacsError;
use crate::hardware::catalog::{Mac, MacConfig, Macs, Status};
use crate::hardware::machine::Machine;
use crate::ledger::peak::PeakError;
use crate::ledger::replay::Gpu;
use crate::roofline::Coefficients;
use crate::units::Bytes;
use rayon::prelude::*;
use std::collections::HashSet;

/// A Mac that runs the model.
#[derive(Clone, Debug)]
pub struct MacChoice {
    /// The machine.
    pub machine: Machine,
    /// Product id.
    pub mac: String,
    /// List price in USD now, where known.
    pub usd_now: Option<u32>,
    /// List price in USD when it was introduced, where known.
    pub usd_launch: Option<u32>,
    /// Peak memory and verdict.
    pub memory: Memory,
    /// Decode speed.
    pub decode: Decode,
    /// Prefill speed.
    pub prefill: Prefill,
}

/// The Macs that are sold, and on which the model fits, the cheapest first; Macs without a known price last. Of several
/// products with the same chip and memory only the cheapest is listed.
///
/// # Errors
/// When the catalog has problems or the model cannot be predicted.
pub fn macs_for(
    catalog: &Macs,
    coefficients: &Coefficients,
    candidate: &Candidate,
    run: &Run,
) -> Result<Vec<MacChoice>, AdviseError> {
    let model = &candidate.model;
    let predict = |error| AdviseError::Predict { model: model.id.clone(), error };
    let estimator = Estimator::new(coefficients, model, *run, candidate.basis.clone());
    // What the weights alone exceed needs no simulation.
    let weights = Bytes(estimator.weights().bytes);
    let mut machines = on_sale(catalog).map_err(AdviseError::Hardware)?;
    machines.retain(|(_, _, machine)| weights <= machine.gpu_limit.bytes);
    simulate(&estimator, &machines).map_err(|e| predict(e.into()))?;
    let mut out: Vec<MacChoice> = Vec::new();
    for (mac, config, machine) in machines {
        let memory = estimator.memory(&machine).map_err(|e| predict(e.into()))?;
        if memory.judgment.verdict > Fit::Tight {
            continue;
        }
        let (decode, prefill) = estimator.speeds(&machine).map_err(predict)?;
        out.push(MacChoice {
            decode,
            prefill,
            mac: mac.id.clone(),
            usd_now: config.usd_now,
            usd_launch: config.usd_launch,
            machine,
            memory,
        });
    }
    out.sort_by_key(|c| (c.usd_now.unwrap_or(u32::MAX), c.machine.id.clone()));
    let mut seen = HashSet::new();
    out.retain(|c| seen.insert(c.machine.id.clone()));
    Ok(out)
}

/// Every configuration on sale of every Mac.
pub(super) fn on_sale(catalog: &Macs) -> Result<Vec<(&Mac, &MacConfig, Machine)>, MacsError> {
    let limits = catalog.limits()?;
    let mut machines = Vec::new();
    for (mac, chip_id) in catalog.macs()?.iter().flat_map(chips_of) {
        let Some(chip) = catalog.chip(chip_id)? else { continue };
        for config in &mac.configs {
            if chip.memory_gib.contains(&config.memory_gib)
                && config.status.unwrap_or(mac.status) == Status::OnSale
            {
                let machine = Machine::from_chip(chip, config.memory_gib, limits).with_mac(mac);
                machines.push((mac, config, machine));
            }
        }
    }
    Ok(machines)
}

/// Simulates the peak on every kind of GPU, on all cores.
fn simulate<T: Sync>(
    estimator: &Estimator<'_>,
    machines: &[(T, &MacConfig, Machine)],
) -> Result<(), PeakError> {
    let mut seen: HashSet<Gpu> = HashSet::new();
    let engine = &estimator.run().engine;
    let mut new = |machine: &Machine| seen.insert(gpu(machine, engine).alike());
    let kinds: Vec<&Machine> = machines.iter().map(|(_, _, m)| m).filter(|m| new(m)).collect();
    kinds.into_par_iter().try_for_each(|machine| estimator.memory(machine).map(drop))
}

fn chips_of(mac: &Mac) -> impl Iterator<Item = (&Mac, &str)> {
    std::iter::once(&mac.chip).chain(&mac.other_chips).map(move |chip| (mac, chip.as_str()))
}
