//! The data of a run: measured on this machine, and what it makes of the run.

use super::run::FinetuneRun;
use crate::cli::shared::caches::cached;
use crate::engine::lora::data::{Batch, CHARACTERS_PER_TOKEN, TokenCounter, TrainingData};
use crate::engine::text::Text;
use crate::graph::training::padded_tokens;
use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Lengths of batches that are simulated; others are taken with their neighbors.
const LENGTHS: usize = 6;

/// What counted tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum CountedBy {
    /// The model's own tokenizer and chat template.
    Tokenizer,
    /// Characters: a range of tokens.
    Characters,
}

/// The data of a run.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub(super) struct TrainingDataKeys {
    /// The folder.
    folder: PathBuf,
    /// What its samples are.
    kind: &'static str,
    /// How many there are.
    samples: usize,
    /// What counted their tokens.
    counted_by: CountedBy,
    /// Where the tokenizer is.
    tokenizer: Option<PathBuf>,
    /// Tokens of the longest sample.
    longest_tokens: u32,
    /// Lowest and highest tokens of the longest sample, where they were not counted.
    longest_interval: Option<[u32; 2]>,
    /// Mean tokens of a sample.
    mean_tokens: f64,
    /// Samples that `--max-seq-length` cuts.
    cut_samples: usize,
    /// Batches of an epoch, which are its iterations.
    pub(super) iterations_per_epoch: usize,
    /// Different lengths of batches; MLX compiles the step once for each.
    batch_lengths: usize,
    /// Share of the tokens of the batches that counts in the loss.
    counted_share: f64,
    /// Seconds of an epoch; `null` away from a Mac.
    pub(super) epoch_s: Option<f64>,
}

/// The data as the estimator needs it.
#[derive(Clone, Debug)]
pub(super) struct MeasuredData {
    /// What the answer says.
    pub keys: TrainingDataKeys,
    /// Tokens of a sample in the shortest and the longest that the longest batch may be, where they were not counted.
    pub between: Option<[u32; 2]>,
    /// Lengths of batches, and how many have about so many tokens.
    pub lengths: Vec<(u32, usize)>,
    /// Doubts and traps.
    pub notes: Vec<String>,
}

/// Measures the data of a run, if it has any, and sets what they decide.
pub(super) fn measured(run: &mut FinetuneRun, id: &str) -> Result<Option<MeasuredData>> {
    let Some(folder) = run.data.clone() else { return Ok(None) };
    let (counter, tokenizer, mut notes) = counter(&run.model, id);
    let data = TrainingData::read(&folder, &run.fields, &counter)?;
    let max = run.max_seq_length;
    let batches = data.batches(run.options.batch, max, run.mask_prompt)?;
    let tokens: u64 = batches.iter().map(|b| u64::from(b.tokens)).sum();
    let tokens = tokens * u64::from(run.options.batch);
    let counted: u64 = batches.iter().map(|b| b.counted).sum();
    let lengths = lengths(&batches);
    let longest = batches.iter().map(|b| b.tokens).max().unwrap_or(1);
    let counted_by = match counter {
        TokenCounter::Tokenizer(_) => CountedBy::Tokenizer,
        TokenCounter::Characters(_) => CountedBy::Characters,
    };
    let [fewest, middle, most] = CHARACTERS_PER_TOKEN;
    let scaled = |by: f64| (f64::from(data.longest()) * middle / by).round() as u32;
    let guessed = (counted_by == CountedBy::Characters).then(|| [scaled(most), scaled(fewest)]);
    if guessed.is_some() {
        notes.push(format!(
            "the model's tokenizer is not on this machine: tokens are taken from characters, {middle} each ({fewest} to \
             {most}: source code to plain English), which the interval of the peak holds"
        ));
    }
    notes.extend(traps(run, &data, &batches));
    run.options.tokens = longest;
    run.fill = if tokens == 0 { 1.0 } else { (counted as f64 / tokens as f64).max(f64::EPSILON) };
    run.length_known = true;
    let mut distinct: Vec<u32> = batches.iter().map(|b| b.tokens).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let keys = TrainingDataKeys {
        folder,
        kind: data.kind.name(),
        samples: data.samples(),
        counted_by,
        tokenizer,
        longest_tokens: data.longest(),
        longest_interval: guessed,
        mean_tokens: data.mean(),
        cut_samples: data.cut_at(max),
        iterations_per_epoch: batches.len(),
        batch_lengths: distinct.len(),
        counted_share: run.fill,
        epoch_s: None,
    };
    let between = guessed.map(|ends| ends.map(|tokens| padded_tokens(tokens.max(1), max)));
    Ok(Some(MeasuredData { keys, between, lengths, notes }))
}

/// The model's tokenizer, if it is on this machine, else characters; with where it is, and what is to be said.
fn counter(model: &str, id: &str) -> (TokenCounter, Option<PathBuf>, Vec<String>) {
    let characters = TokenCounter::Characters(CHARACTERS_PER_TOKEN[1]);
    let local = Path::new(model);
    let folder = if local.is_dir() {
        Some(local.to_owned())
    } else {
        let models = cached();
        let mut named = [model, id].into_iter().flat_map(|name| models.find(name));
        named.find(|m| m.path.join("tokenizer.json").is_file()).map(|m| m.path.clone())
    };
    let Some(folder) = folder else { return (characters, None, Vec::new()) };
    match Text::load(&folder) {
        Ok(text) => (TokenCounter::Tokenizer(Box::new(text)), Some(folder), Vec::new()),
        Err(why) => (characters, None, vec![why.to_string()]),
    }
}

/// Batches by length, a few lengths for all.
fn lengths(batches: &[Batch]) -> Vec<(u32, usize)> {
    let mut sorted: Vec<u32> = batches.iter().map(|b| b.tokens).collect();
    sorted.sort_unstable();
    let size = sorted.len().div_ceil(LENGTHS).max(1);
    let mean = |some: &[u32]| {
        let sum: u64 = some.iter().map(|&n| u64::from(n)).sum();
        ((sum as f64 / some.len() as f64).round() as u32, some.len())
    };
    sorted.chunks(size).map(mean).collect()
}

fn samples(count: usize) -> String {
    if count == 1 { "1 sample".to_owned() } else { format!("{count} samples") }
}

/// What mlx_lm.lora does with these data that nobody expects.
fn traps(run: &FinetuneRun, data: &TrainingData, batches: &[Batch]) -> Vec<String> {
    let mut notes = Vec::new();
    let max = run.max_seq_length;
    let cut = data.cut_at(max);
    if cut > 0 {
        notes.push(format!("longer than {max} tokens, and cut there: {}", samples(cut)));
    }
    let batch = run.options.batch as usize;
    let left = data.samples() - batches.len() * batch;
    if left > 0 {
        notes.push(format!(
            "left over at the end, which fill no batch and are never trained on: {}",
            samples(left)
        ));
    }
    let padding = batches.iter().map(|b| u64::from(b.tokens)).sum::<u64>() as f64 * batch as f64
        / (data.mean() * data.samples() as f64);
    if batch > 1 && padding > 1.5 {
        notes.push(format!(
            "batches hold {padding:.1} times as many tokens as the samples: mlx-lm 0.32.2 does not sort samples by length \
             (it sorts by the number of their fields), so a file that is sorted by length trains faster and with a lower \
             mean of memory"
        ));
    }
    let lost = if run.mask_prompt { data.without_loss(max) } else { 0 };
    if lost > 0 {
        notes.push(format!(
            "{lost} samples have a prompt of {max} tokens or more: with --mask-prompt nothing of them is in the loss, and \
             a batch of only such ones makes it nan"
        ));
    }
    notes
}

impl TrainingDataKeys {
    /// The data in words.
    pub(super) fn text(&self) -> String {
        let range =
            self.longest_interval.map_or(String::new(), |[low, high]| format!(" ({low}–{high})"));
        let by = match (self.counted_by, &self.tokenizer) {
            (CountedBy::Tokenizer, Some(path)) => {
                format!("counted with the tokenizer in {}", path.display())
            }
            _ => "from characters".to_owned(),
        };
        format!(
            "{} samples ({}), {by}: longest {}{range} tokens, mean {:.0}; {} iterations an epoch with batches of {} \
             lengths, {:.0} % of their tokens count",
            self.samples,
            self.kind,
            self.longest_tokens,
            self.mean_tokens,
            self.iterations_per_epoch,
            self.batch_lengths,
            100.0 * self.counted_share
        )
    }
}

#[cfg(test)]
mod tests {
    use super::lengths;
    use crate::engine::lora::data::Batch;

    #[test]
    fn a_few_lengths_stand_for_all() {
        let of = |tokens: &[u32]| {
            let batches: Vec<Batch> =
                tokens.iter().map(|&tokens| Batch { tokens, counted: 1 }).collect();
            lengths(&batches)
        };
        assert_eq!(of(&[64, 32, 64]), [(32, 1), (64, 1), (64, 1)]);
        let many: Vec<u32> = (1..=12).map(|n| 32 * n).collect();
        assert_eq!(of(&many).len(), 6);
        assert_eq!(of(&many)[0], (48, 2));
    }
}
