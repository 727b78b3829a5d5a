//! Reads the key `finetune` of a plan: fine-tuning runs, in the words of `mlx_lm.lora`'s options.

use super::lookup::Lookup;
use crate::estimate::{OpenedModel, Program, Run};
use crate::graph::training::{FineTuneType, FineTuning, Optimizer, TrainingPlan, padded_tokens};
use crate::hardware::catalog::document::{DataEntry, Field};
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use std::ops::RangeInclusive;
use toml::de::DeValue;

/// A fine-tuning run and what is asked of it.
#[derive(Debug)]
pub struct PlannedFineTuning {
    /// Name, unique in the plan.
    pub name: String,
    /// The base.
    pub subject: OpenedModel,
    /// The engine and its limits.
    pub run: Run,
    /// What decides memory and time.
    pub training: FineTuning,
    /// Longest sample in tokens; longer ones are cut.
    pub max_seq_length: u32,
    /// Iterations.
    pub iters: u32,
    /// Share of a batch that counts in the reported tokens.
    pub fill: f64,
    /// What must hold.
    pub needs: FineTuningNeeds,
}

/// What must hold for a fine-tuning run, besides that it fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize)]
pub struct FineTuningNeeds {
    /// Tokens in the loss per second, at least.
    pub min_tok_s: Option<f64>,
    /// Hours of the whole run, at most.
    pub max_hours: Option<f64>,
    /// Memory left free under every limit, at least.
    pub headroom: Bytes,
}

#[rustfmt::skip]
const KEYS: [&str; 23] = [
    "name", "model", "quant", "engine", "mlx", "macos", "nax", "fine_tune_type", "rank", "keys", "num_layers", "batch_size",
    "max_seq_length", "longest", "fill", "grad_checkpoint", "grad_accumulation_steps", "optimizer", "iters", "mask_prompt",
    "min_tok_s", "max_hours", "headroom_gb",
];

impl Field for FineTuneType {
    const EXPECTED: &'static str = "\"lora\", \"dora\" or \"full\"";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        let name = value.as_str()?;
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Field for Optimizer {
    const EXPECTED: &'static str = "\"adam\", \"adamw\", \"muon\", \"sgd\" or \"adafactor\"";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        let name = value.as_str()?;
        Self::ALL.into_iter().find(|optimizer| optimizer.name() == name)
    }
}

impl Field for i64 {
    const EXPECTED: &'static str = "a whole number";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        let number = value.as_integer()?;
        Self::from_str_radix(number.as_str(), number.radix()).ok()
    }
}

/// A number that may be left out and has bounds.
fn within<T: Field + PartialOrd + std::fmt::Display>(
    entry: &mut DataEntry<'_>,
    key: &str,
    range: RangeInclusive<T>,
) -> Option<T> {
    entry.has(key).then(|| entry.within(key, None, range))?
}

/// Reads one run.
pub(super) fn read(
    entry: &mut DataEntry<'_>,
    number: usize,
    lookup: &Lookup<'_>,
) -> Option<PlannedFineTuning> {
    entry.only(&KEYS);
    let name: Option<String> = entry.optional("name");
    if let Some(name) = &name {
        entry.set_label(format!("finetune \"{name}\""));
    }
    let max_seq_length = within(entry, "max_seq_length", 2..=131_072).unwrap_or(2048);
    let training = read_training(entry, max_seq_length);
    let iters = within(entry, "iters", 1..=u32::MAX).unwrap_or(1000);
    let fill = within(entry, "fill", 1e-6..=1.0).unwrap_or(1.0);
    let _: Option<bool> = entry.optional("mask_prompt");
    let needs = FineTuningNeeds {
        min_tok_s: within(entry, "min_tok_s", 1e-3..=1e6),
        max_hours: within(entry, "max_hours", 1e-3..=1e6),
        headroom: within(entry, "headroom_gb", 0.0..=100_000.0)
            .map(Bytes::from_gb)
            .unwrap_or_default(),
    };
    let quant: Option<String> = entry.optional("quant");
    let model: String = entry.required("model", None)?;
    let engine = super::engine::read(entry)?;
    if engine.program != Program::MlxLm {
        entry.wrong("engine", "only mlx-lm fine-tunes (mlx_lm.lora)");
        return None;
    }
    let subject = (lookup.model)(engine.program, &model, quant.as_deref());
    let subject = subject.map_err(|message| entry.wrong("model", message)).ok()?;
    if subject.file().gguf.is_some() {
        entry.wrong(
            "model",
            "mlx_lm.lora trains no GGUF files; name it in an MLX format, such as 4bit",
        );
        return None;
    }
    if let Err(e) = TrainingPlan::new(subject.graph.params(), &training) {
        entry.wrong("model", e.to_string());
        return None;
    }
    Some(PlannedFineTuning {
        name: name.unwrap_or_else(|| format!("finetune {number}: {}", subject.id)),
        run: Run::default().with_engine(engine),
        subject,
        training,
        max_seq_length,
        iters,
        fill,
        needs,
    })
}

/// What decides memory and time.
fn read_training(entry: &mut DataEntry<'_>, max_seq_length: u32) -> FineTuning {
    let plain = FineTuning::default();
    let longest = within(entry, "longest", 1..=16_777_216).unwrap_or(max_seq_length);
    let layers: Option<i64> = entry.optional("num_layers");
    FineTuning {
        kind: entry.optional("fine_tune_type").unwrap_or_default(),
        optimizer: entry.optional("optimizer").unwrap_or_default(),
        layers: layers.map_or(plain.layers, |n| u32::try_from(n).ok().filter(|&n| n > 0)),
        rank: within(entry, "rank", 1..=4096).unwrap_or(plain.rank),
        keys: entry.optional("keys"),
        checkpoint: entry.optional("grad_checkpoint").unwrap_or(false),
        accumulation: within(entry, "grad_accumulation_steps", 1..=4096)
            .unwrap_or(plain.accumulation),
        batch: within(entry, "batch_size", 1..=512).unwrap_or(plain.batch),
        tokens: padded_tokens(longest, max_seq_length),
        ..plain
    }
}
