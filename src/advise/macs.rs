//! Which Macs run a model.

use super::recommend::AdviseError;
use crate::estimate::memory::{Memory, Verdict};
use crate::estimate::speed::{Decode, Prefill, Speed};
use crate::estimate::{Settings, Subject, gpu};
use crate::hardware::catalogue::{Catalogue, Mac, Status};
use crate::hardware::machine::Machine;
use crate::ledger::peak::{Peak, PeakError, peak};
use crate::ledger::replay::Gpu;
use crate::ledger::weights::Weights;
use crate::roofline::{Coefficients, Silicon};
use crate::units::Bytes;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};

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
/// When the catalogue has problems or the model cannot be predicted.
pub fn macs_for(
    catalogue: &Catalogue,
    coefficients: &Coefficients,
    subject: &Subject,
    settings: &Settings,
) -> Result<Vec<MacChoice>, AdviseError> {
    let predict = |error| AdviseError::Predict { model: subject.id.clone(), error };
    let hardware = AdviseError::Hardware;
    let request = settings.request.speed(settings.engine);
    let speed = Speed::of(&subject.graph, &request).map_err(|e| predict(e.into()))?;
    let mut machines = Vec::new();
    let limits = catalogue.limits().map_err(hardware)?;
    // What the weights alone exceed needs no simulation.
    let weights = Bytes(Weights::of(&subject.graph).active_bytes);
    for (mac, chip_id) in catalogue.macs().map_err(hardware)?.iter().flat_map(chips_of) {
        let Some(chip) = catalogue.chip(chip_id).map_err(hardware)? else { continue };
        for config in &mac.configs {
            if !chip.memory_gib.contains(&config.memory_gib) {
                continue;
            }
            if config.status.unwrap_or(mac.status) != Status::OnSale {
                continue;
            }
            let machine = Machine::from_chip(chip, config.memory_gib, limits).with_mac(mac);
            if weights <= machine.gpu_limit.bytes {
                machines.push((mac, config, machine));
            }
        }
    }
    let gpus: HashSet<Gpu> = machines.iter().map(|(_, _, m)| gpu(m).alike()).collect();
    let simulated = |gpu: Gpu| Ok((gpu, peak(&subject.graph, &settings.request.on(gpu))?));
    let peaks: Result<HashMap<Gpu, Peak>, PeakError> =
        gpus.into_iter().collect::<Vec<Gpu>>().into_par_iter().map(simulated).collect();
    let peaks = peaks.map_err(|e| predict(e.into()))?;
    let mut out: Vec<MacChoice> = Vec::new();
    for (mac, config, machine) in machines {
        let Some(peak) = peaks.get(&gpu(&machine).alike()) else { continue };
        let memory = Memory::judge(peak.clone(), &machine, settings.reserve);
        if memory.judgement.verdict > Verdict::Tight {
            continue;
        }
        let target = Silicon::of(&machine);
        out.push(MacChoice {
            decode: speed.decode(coefficients, &target, &request),
            prefill: speed.prefill(coefficients, &target, &request),
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

fn chips_of(mac: &Mac) -> impl Iterator<Item = (&Mac, &str)> {
    std::iter::once(&mac.chip).chain(&mac.other_chips).map(move |chip| (mac, chip.as_str()))
}
