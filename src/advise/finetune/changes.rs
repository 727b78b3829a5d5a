//! What makes a fine-tuning run fit: every effect is computed.

use crate::estimate::memory::Fit;
use crate::estimate::{Estimator, OpenedModel, TrainingEstimate};
use crate::graph::training::{FineTuneType, FineTuning, Optimizer};
use crate::hardware::machine::Machine;
use crate::model::Scheme;
use crate::units::Bytes;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

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

/// A change that is worth trying.
#[derive(Clone, Debug)]
pub struct TrainingCandidate {
    /// The options that make it.
    pub flags: String,
    /// The same as keys of a plan.
    pub keys: String,
    /// What it costs, in words.
    pub costs: &'static str,
    /// The run with it.
    pub run: FineTuning,
}

const TWICE: &str = "blocks are computed twice";

/// The changes worth trying, in order of advice, of a model with so many blocks.
#[must_use]
pub fn candidates(run: &FineTuning, layers: u64) -> Vec<TrainingCandidate> {
    let mut all: Vec<TrainingCandidate> = Vec::new();
    let mut add = |flags: &str, keys: &str, costs, run: FineTuning| {
        all.push(TrainingCandidate { flags: flags.to_owned(), keys: keys.to_owned(), costs, run });
    };
    if !run.checkpoint {
        let changed = FineTuning { checkpoint: true, ..run.clone() };
        add("--grad-checkpoint", "grad_checkpoint = true", TWICE, changed);
    }
    if run.batch > 1 {
        let steps = run.batch * run.accumulation;
        let changed = FineTuning { batch: 1, accumulation: steps, ..run.clone() };
        let flags = format!("--batch-size 1 --grad-accumulation-steps {steps}");
        let keys = format!("batch_size = 1, grad_accumulation_steps = {steps}");
        add(&flags, &keys, "nothing: the same update", changed.clone());
        if !run.checkpoint {
            let both = FineTuning { checkpoint: true, ..changed };
            let (flags, keys) =
                (format!("--grad-checkpoint {flags}"), format!("grad_checkpoint = true, {keys}"));
            add(&flags, &keys, TWICE, both);
        }
    }
    for longest in SHORTER.into_iter().filter(|&n| n - 1 < run.tokens) {
        let changed = FineTuning { tokens: longest - 1, ..run.clone() };
        let (flags, keys) =
            (format!("--max-seq-length {longest}"), format!("max_seq_length = {longest}"));
        add(&flags, &keys, "longer samples are cut", changed);
    }
    let trained = u64::from(run.layers.unwrap_or(u32::MAX)).min(layers);
    for fewer in FEWER.into_iter().filter(|&n| u64::from(n) < trained) {
        let changed = FineTuning { layers: Some(fewer), ..run.clone() };
        let (flags, keys) = (format!("--num-layers {fewer}"), format!("num_layers = {fewer}"));
        add(&flags, &keys, "fewer blocks learn", changed);
    }
    if run.kind != FineTuneType::Full && run.keys.is_none() {
        let keys = QUERIES_AND_VALUES.map(str::to_owned).to_vec();
        let changed = FineTuning { keys: Some(keys), ..run.clone() };
        let flags = format!("keys: [{}] in -c config.yaml", QUERIES_AND_VALUES.join(", "));
        let quoted = QUERIES_AND_VALUES.map(|key| format!("\"{key}\"")).join(", ");
        add(&flags, &format!("keys = [{quoted}]"), "fewer matrices learn", changed);
    }
    if run.kind == FineTuneType::Dora {
        let changed = FineTuning { kind: FineTuneType::Lora, ..run.clone() };
        let keys = "fine_tune_type = \"lora\"";
        add("--fine-tune-type lora", keys, "no learned magnitudes", changed);
    }
    if run.kind == FineTuneType::Full && run.optimizer != Optimizer::Adafactor {
        let changed = FineTuning { optimizer: Optimizer::Adafactor, ..run.clone() };
        let keys = "optimizer = \"adafactor\"";
        add("--optimizer adafactor", keys, "another optimizer", changed);
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
    let tried = candidates(run, layers).into_par_iter().filter_map(|candidate| {
        let TrainingCandidate { flags, costs, run: changed, .. } = candidate;
        let then = estimator.fine_tuning(machine, &changed).ok()?;
        let gains = now.ledger.peak_bytes as i64 - then.ledger.peak_bytes as i64;
        (gains > 0).then(|| TrainingChange {
            change: flags,
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
