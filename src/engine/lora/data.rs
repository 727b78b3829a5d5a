//! A folder of training data as `mlx_lm.lora` makes batches of it.

use super::config::SampleFields;
use super::length::{SampleError, SampleLength};
use crate::files;
use crate::graph::training::padded_tokens;
use rayon::prelude::*;
use serde_json::{Map, Value};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

pub use super::length::{CHARACTERS_PER_TOKEN, SampleKind, TokenCounter};

/// The samples that are trained on.
const FILE: &str = "train.jsonl";
/// Longest file and longest line that are read, in bytes.
const MAX_BYTES: u64 = 8 << 30;
const MAX_LINE: u64 = 64 << 20;
/// Lines that are counted at a time.
const LINES: usize = 4096;

/// Why data cannot be trained on.
#[derive(Debug, thiserror::Error)]
pub enum TrainingDataError {
    /// The file cannot be read.
    #[error("{path}: {reason}; mlx_lm.lora wants a folder with {FILE}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A sample that it cannot use.
    #[error("{path}: line {line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Fewer samples than a batch has.
    #[error(
        "{path}: {samples} samples are fewer than a batch of {batch}, which mlx_lm.lora refuses; choose a smaller \
         --batch-size"
    )]
    TooFew {
        /// The file.
        path: PathBuf,
        /// Samples that are there.
        samples: usize,
        /// Samples that a batch wants.
        batch: u32,
    },
}

/// What is to be trained on.
#[derive(Clone, Debug)]
pub struct TrainingData {
    path: PathBuf,
    /// The kind of its samples.
    pub kind: SampleKind,
    samples: Vec<Sample>,
}

/// A sample: its length, and how many fields it has, by which mlx-lm sorts them (`CacheDataset.itemlen` takes the length
/// of the object, not of its tokens; mlx-lm 0.32.2).
#[derive(Clone, Copy, Debug)]
struct Sample {
    length: SampleLength,
    fields: usize,
}

/// A batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Tokens of each sample that the model sees, padding included.
    pub tokens: u32,
    /// Tokens of all its samples that count in the loss.
    pub counted: u64,
}

impl TrainingData {
    /// Reads and measures the samples of a folder.
    ///
    /// # Errors
    /// When the file is missing, or a line is no sample that mlx_lm.lora can use.
    pub fn read(
        folder: &Path,
        fields: &SampleFields,
        counter: &TokenCounter,
    ) -> Result<Self, TrainingDataError> {
        let path = folder.join(FILE);
        let wrong = |reason: String| TrainingDataError::File { path: path.clone(), reason };
        let file = files::open(&path).map_err(|e| wrong(e.to_string()))?;
        if file.metadata().map_err(|e| wrong(e.to_string()))?.len() > MAX_BYTES {
            return Err(wrong(format!("it is longer than {} GiB", MAX_BYTES >> 30)));
        }
        let mut lines = BufReader::new(file.take(MAX_BYTES));
        let (mut kind, mut samples, mut first) = (None, Vec::new(), 1);
        loop {
            let some = next_lines(&mut lines).map_err(|e| wrong(e.to_string()))?;
            if some.is_empty() {
                break;
            }
            let at = |line: usize, reason: String| TrainingDataError::Line {
                path: path.clone(),
                line: first + line,
                reason,
            };
            let objects = some.par_iter().enumerate().map(|(i, line)| {
                let object = serde_json::from_slice::<Map<String, Value>>(line);
                object.map_err(|e| at(i, format!("no JSON object: {e}")))
            });
            let objects: Vec<Map<String, Value>> = objects.collect::<Result<_, _>>()?;
            let of_first = objects.first().and_then(|object| SampleKind::of(object, fields));
            let unknown = || at(0, unknown_kind(fields));
            let known = kind.or(of_first).ok_or_else(unknown)?;
            kind = Some(known);
            let measured = objects.par_iter().enumerate().map(|(i, object)| {
                let length = counter.length(known, object, fields);
                let length = length.map_err(|e: SampleError| at(i, e.to_string()))?;
                Ok(Sample { length, fields: object.len() })
            });
            samples.extend(measured.collect::<Result<Vec<_>, TrainingDataError>>()?);
            first += some.len();
        }
        let kind = kind.ok_or_else(|| wrong("it holds no sample".to_owned()))?;
        samples.sort_by_key(|sample| sample.fields);
        Ok(Self { path, kind, samples })
    }

    /// How many samples there are.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples.len()
    }

    /// Tokens of the longest sample, before anything is cut.
    #[must_use]
    pub fn longest(&self) -> u32 {
        self.samples.iter().map(|s| s.length.tokens).max().unwrap_or(0)
    }

    /// Mean tokens of a sample, before anything is cut.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let sum: u64 = self.samples.iter().map(|s| u64::from(s.length.tokens)).sum();
        sum as f64 / self.samples.len().max(1) as f64
    }

    /// Samples that are cut at a length.
    #[must_use]
    pub fn cut_at(&self, max_seq_length: u32) -> usize {
        self.samples.iter().filter(|s| s.length.tokens > max_seq_length).count()
    }

    /// Samples that have no token in the loss, where prompts are left out of it.
    #[must_use]
    pub fn without_loss(&self, max_seq_length: u32) -> usize {
        self.samples.iter().filter(|s| s.length.prompt >= max_seq_length).count()
    }

    /// The batches of an epoch: samples in the order of the file, those that do not fill a batch left out.
    ///
    /// # Errors
    /// When there are fewer samples than a batch has.
    pub fn batches(
        &self,
        batch: u32,
        max_seq_length: u32,
        mask_prompt: bool,
    ) -> Result<Vec<Batch>, TrainingDataError> {
        let whole = self.samples.chunks_exact(batch.max(1) as usize);
        let of = |samples: &[Sample]| {
            let longest = samples.iter().map(|s| s.length.tokens).max().unwrap_or(0);
            let tokens = padded_tokens(longest.max(1), max_seq_length);
            let counted = |s: &Sample| {
                let end = s.length.tokens.min(tokens);
                let start = if mask_prompt { s.length.prompt.max(1) } else { 1 };
                u64::from((end + 1).saturating_sub(start))
            };
            Batch { tokens, counted: samples.iter().map(counted).sum() }
        };
        let batches: Vec<Batch> = whole.map(of).collect();
        if batches.is_empty() {
            let (path, samples) = (self.path.clone(), self.samples.len());
            return Err(TrainingDataError::TooFew { path, samples, batch });
        }
        Ok(batches)
    }
}

fn unknown_kind(fields: &SampleFields) -> String {
    let SampleFields { prompt, completion, text, chat } = fields;
    format!(
        "neither \"{prompt}\" and \"{completion}\", nor \"{chat}\", nor \"{text}\": mlx_lm.lora does not support other \
         samples"
    )
}

/// The next lines that are not empty at the end of the file.
fn next_lines(lines: &mut impl BufRead) -> std::io::Result<Vec<Vec<u8>>> {
    let mut some = Vec::new();
    while some.len() < LINES {
        let mut line = Vec::new();
        let read = lines.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        if read as u64 > MAX_LINE {
            let reason = format!("a line is longer than {} MiB", MAX_LINE >> 20);
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, reason));
        }
        some.push(line);
    }
    Ok(some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Result<TrainingData, String> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(FILE), lines).expect("written");
        let counter = TokenCounter::Characters(1.0);
        TrainingData::read(folder.path(), &SampleFields::default(), &counter)
            .map_err(|e| e.to_string())
    }

    fn text(characters: usize) -> String {
        format!("{{\"text\": \"{}\"}}\n", "x".repeat(characters))
    }

    #[test]
    fn batches_are_those_of_the_file_in_its_order() {
        // With the token that ends a text: 10, 40, 100, 20, 5 tokens; the last one fills no batch.
        let lines: String = [9, 39, 99, 19, 4].into_iter().map(text).collect();
        let data = read(&lines).expect("samples");
        assert_eq!((data.kind, data.samples(), data.longest()), (SampleKind::Text, 5, 100));
        assert_eq!(data.mean(), 35.0);
        let batches = data.batches(2, 2048, false).expect("batches");
        assert_eq!(
            batches,
            [Batch { tokens: 64, counted: 50 }, Batch { tokens: 128, counted: 120 }]
        );
        let cut = data.batches(2, 64, false).expect("batches");
        assert_eq!(cut[1], Batch { tokens: 63, counted: 83 });
        assert_eq!(data.cut_at(64), 1);
        assert!(data.batches(8, 2048, false).expect_err("few").to_string().contains("5 samples"));
    }

    #[test]
    fn prompts_are_left_out_of_the_loss() {
        let data = read("{\"prompt\": \"abcdef\", \"completion\": \"abc\"}\n").expect("a sample");
        // 10 tokens of the prompt and 7 of the answer, with what a template puts around them.
        let all = data.batches(1, 2048, false).expect("batches");
        let masked = data.batches(1, 2048, true).expect("batches");
        assert_eq!((all[0].counted, masked[0].counted), (17, 8));
    }

    #[test]
    fn wrong_lines_are_named() {
        for (lines, part) in [
            ("", "no sample"),
            ("{\"words\": 1}\n", "line 1: neither \"prompt\""),
            ("{\"text\": \"a\"}\n{\"text\": 1}\n", "line 2: the field \"text\""),
            ("{\"text\": \"a\"}\n\n", "line 2: no JSON object"),
            ("{\"messages\": []}\n", "line 1: the field \"messages\""),
        ] {
            let error = read(lines).expect_err("refused");
            assert!(error.contains(part), "{lines:?}: {error}");
        }
    }
}
