//! What makes a fine-tuning run fit, and how far it can go: every effect is computed.

use super::macs::on_sale;
use crate::estimate::memory::Fit;
use crate::estimate::training::peaks;
use crate::estimate::{Estimator, OpenedModel, TrainingEstimate, gpu};
use crate::graph::cache::CacheKind;
use crate::graph::training::{FineTuneType, FineTuning, Optimizer};
use crate::hardware::catalog::Macs;
use crate::hardware::machine::Machine;
use crate::ledger::replay::Gpu;
use crate::ledger::training::{TrainingError, TrainingLedger};
use crate::model::Scheme;
use crate::units::Bytes;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// A change to a fine-tuning run and what it does.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct TrainingChange {
    /// The options that make it.
    pub change: String,
    /// What it costs, in words.
    pub costs: &'static str,
    /// Peak with the change.
    pub peak_bytes: Bytes,
    /// How much lower it is.
    pub gains_bytes: i64,
    /// Seconds of an update with the change over those without: of as many samples.
    pub time_factor: f64,
    /// Whether it fits then.
    pub fits: Fit,
}

/// Adapters of only these matrices.
const QUERIES_AND_VALUES: [&str; 2] = ["self_attn.q_proj", "self_attn.v_proj"];
/// Longest samples that are tried.
const SHORTER: [u32; 2] = [1024, 512];
/// Numbers of blocks that are tried.
const FEWER: [u32; 2] = [8, 4];

/// The changes worth trying, in order of advice.
fn candidates(run: &FineTuning, layers: u64) -> Vec<(String, &'static str, FineTuning)> {
    let mut all: Vec<(String, &'static str, FineTuning)> = Vec::new();
    let mut add = |text: String, costs, changed: FineTuning| all.push((text, costs, changed));
    if !run.checkpoint {
        let changed = FineTuning { checkpoint: true, ..run.clone() };
        add("--grad-checkpoint".to_owned(), "blocks are computed twice", changed);
    }
    if run.batch > 1 {
        let steps = run.batch * run.accumulation;
        let changed = FineTuning { batch: 1, accumulation: steps, ..run.clone() };
        let text = format!("--batch-size 1 --grad-accumulation-steps {steps}");
        add(text.clone(), "nothing: the same update", changed.clone());
        if !run.checkpoint {
            let both = FineTuning { checkpoint: true, ..changed };
            add(format!("--grad-checkpoint {text}"), "blocks are computed twice", both);
        }
    }
    for longest in SHORTER.into_iter().filter(|&n| n - 1 < run.tokens) {
        let changed = FineTuning { tokens: longest - 1, ..run.clone() };
        add(format!("--max-seq-length {longest}"), "longer samples are cut", changed);
    }
    let trained = u64::from(run.layers.unwrap_or(u32::MAX)).min(layers);
    for fewer in FEWER.into_iter().filter(|&n| u64::from(n) < trained) {
        let changed = FineTuning { layers: Some(fewer), ..run.clone() };
        add(format!("--num-layers {fewer}"), "fewer blocks learn", changed);
    }
    if run.kind != FineTuneType::Full && run.keys.is_none() {
        let keys = QUERIES_AND_VALUES.map(str::to_owned).to_vec();
        let changed = FineTuning { keys: Some(keys), ..run.clone() };
        let text = format!("keys: [{}] in -c config.yaml", QUERIES_AND_VALUES.join(", "));
        add(text, "fewer matrices learn", changed);
    }
    if run.kind == FineTuneType::Dora {
        let changed = FineTuning { kind: FineTuneType::Lora, ..run.clone() };
        add("--fine-tune-type lora".to_owned(), "no learned magnitudes", changed);
    }
    if run.kind == FineTuneType::Full && run.optimizer != Optimizer::Adafactor {
        let changed = FineTuning { optimizer: Optimizer::Adafactor, ..run.clone() };
        add("--optimizer adafactor".to_owned(), "another optimizer", changed);
    }
    all
}

/// The changes that lower the peak, in order of advice: what costs least in quality first. Changes that mlx-lm refuses
/// are left out.
#[must_use]
pub fn changes(
    estimator: &Estimator<'_>,
    model: &OpenedModel,
    machine: &Machine,
    run: &FineTuning,
    now: &TrainingEstimate,
) -> Vec<TrainingChange> {
    let layers = estimator.graph().layers();
    let sample =
        |r: &FineTuning, e: &TrainingEstimate| e.speed.seconds_per_iteration / f64::from(r.batch);
    let tried = candidates(run, layers).into_par_iter().filter_map(|(change, costs, changed)| {
        let then = estimator.fine_tuning(machine, &changed).ok()?;
        let gains = now.ledger.peak_bytes as i64 - then.ledger.peak_bytes as i64;
        (gains > 0).then(|| TrainingChange {
            change,
            costs,
            peak_bytes: Bytes(then.ledger.peak_bytes),
            gains_bytes: gains,
            time_factor: sample(&changed, &then) / sample(run, now),
            fits: then.judgment.verdict,
        })
    });
    let mut found: Vec<TrainingChange> = tried.collect();
    found.extend(quantized(estimator, model, (machine, run, now)));
    found
}

/// A base in 4 bit instead of 16.
fn quantized(
    estimator: &Estimator<'_>,
    model: &OpenedModel,
    (machine, run, now): (&Machine, &FineTuning, &TrainingEstimate),
) -> Option<TrainingChange> {
    let plain = matches!(estimator.graph().uniform_scheme(), Some(Scheme::Float(_)));
    if !plain || run.kind == FineTuneType::Full {
        return None;
    }
    let packed = model.requantized(Scheme::DEFAULT)?;
    let other = estimator.of_other(&packed);
    let then = other.fine_tuning(machine, run).ok()?;
    let gains = now.ledger.peak_bytes as i64 - then.ledger.peak_bytes as i64;
    Some(TrainingChange {
        change: "a base quantized to 4 bit (mlx_lm.convert -q)".to_owned(),
        costs: "precision of the base (QLoRA)",
        peak_bytes: Bytes(then.ledger.peak_bytes),
        gains_bytes: gains,
        time_factor: then.speed.seconds_per_iteration / now.speed.seconds_per_iteration,
        fits: then.judgment.verdict,
    })
}

/// How far a run can be taken on a machine, each by itself, with the interval's upper end under the limit.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct LargestRun {
    /// The largest batch with samples of this length; `null` where not even one sample fits.
    pub batch: Option<u32>,
    /// The longest samples with this batch, in tokens; `null` where not even the shortest fit.
    pub tokens: Option<u32>,
}

/// Largest batch that is looked for.
const MOST_SAMPLES: u32 = 64;
/// Longest samples that are looked for, in units of 32 tokens.
const MOST_BLOCKS: u32 = 512;
/// Tokens of a unit.
const BLOCK: u32 = 32;

/// The largest batch and length that fit; `None` for models with recurrent layers, whose training runs token by token.
///
/// # Errors
/// When mlx-lm refuses the run.
pub fn largest(
    estimator: &Estimator<'_>,
    machine: &Machine,
    run: &FineTuning,
) -> Result<Option<LargestRun>, TrainingError> {
    let recurrent = |kind: &CacheKind| matches!(kind, CacheKind::Arrays(_));
    if estimator.graph().cache_kinds().iter().any(recurrent) {
        return Ok(None);
    }
    let fits = |run: FineTuning| -> Result<bool, TrainingError> {
        Ok(estimator.fine_tuning(machine, &run)?.judgment.verdict < Fit::Uncertain)
    };
    let (batch, tokens) = rayon::join(
        || last(MOST_SAMPLES, |batch| fits(FineTuning { batch, ..run.clone() })),
        || last(MOST_BLOCKS, |n| fits(FineTuning { tokens: n * BLOCK, ..run.clone() })),
    );
    Ok(Some(LargestRun { batch: batch?, tokens: tokens?.map(|n| n * BLOCK) }))
}

/// The last number up to `most` for which a falling condition holds.
fn last<E>(most: u32, holds: impl Fn(u32) -> Result<bool, E>) -> Result<Option<u32>, E> {
    if !holds(1)? {
        return Ok(None);
    }
    let (mut low, mut high) = (1, 2);
    while high <= most && holds(high)? {
        (low, high) = (high, high * 2);
    }
    high = high.min(most + 1);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if holds(middle)? { low = middle } else { high = middle }
    }
    Ok(Some(low))
}

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

#[cfg(test)]
mod tests {
    use super::last;

    #[test]
    fn the_last_number_is_found() {
        let upto = |n: u32| last::<()>(64, |i| Ok(i <= n));
        for n in [1, 2, 3, 7, 8, 40, 63, 64] {
            assert_eq!(upto(n), Ok(Some(n)));
        }
        assert_eq!(upto(0), Ok(None));
        assert_eq!(upto(1000), Ok(Some(64)));
    }
}
