//! Published measurements beyond one stream (`data/beyond.csv`, whose columns `data/measurements.README.md` documents).

use super::measurement::{Measurement, ReadError, read};
use serde::Deserialize;
use thiserror::Error;

/// The rows that ship.
pub const SHIPPED_BEYOND: &str = include_str!("../../data/beyond.csv");

/// What a row beyond one stream is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Several sequences, or users, at once.
    Batch,
    /// Products and forward passes of several rows.
    Rows,
    /// Drafts of a smaller model.
    Speculative,
    /// Drafts of the model's own heads, or of a drafter made for it.
    Mtp,
    /// Kept caches of prompts.
    Cache,
    /// Several Macs.
    Distributed,
    /// A server beside the same model without one.
    Server,
    /// Power and heat.
    Power,
}

/// A row: what it shares with those of one stream, and its own columns.
#[derive(Clone, Debug)]
pub struct BeyondRow {
    /// What it shares with rows of one stream. Rates are those of all sequences together.
    pub measured: Measurement,
    /// Its own columns.
    pub beyond: BeyondColumns,
}

/// The columns that rows of one stream lack. Absent figures are `None`, absent words are empty.
#[derive(Clone, Debug, Deserialize)]
pub struct BeyondColumns {
    /// What it is about.
    pub topic: Topic,
    /// The chip as published; empty where it is not stated.
    pub chip: String,
    /// Power in watts.
    pub power_w: Option<f64>,
    /// Generated tokens per second of each.
    pub per_user_tok_s: Option<f64>,
    /// Median time to first token in seconds.
    pub ttft_p50_s: Option<f64>,
    /// Time to first token in seconds that 95 % of requests stay below.
    pub ttft_p95_s: Option<f64>,
    /// Tokens per second without batch, drafts, other Macs or server.
    pub baseline_tok_s: Option<f64>,
    /// The model that drafts.
    pub draft_model: String,
    /// Drafts a round, as published.
    pub draft_tokens: String,
    /// Share of drafts that are accepted, as published.
    pub acceptance: Option<f64>,
    /// Tokens a round.
    pub tokens_per_round: Option<f64>,
    /// What was generated.
    pub workload: String,
    /// Macs together, as published.
    pub nodes: String,
    /// `tensor` or `pipeline`.
    pub parallelism: String,
    /// What joins them.
    pub link: String,
    /// Tokens reused from a kept cache.
    pub cached_tokens: Option<u64>,
    /// Size of the kept cache in bytes.
    pub cache_bytes: Option<f64>,
    /// Seconds to write it.
    pub save_s: Option<f64>,
    /// Seconds to read it.
    pub load_s: Option<f64>,
    /// Time to first token in seconds with the kept cache.
    pub ttft_cached_s: Option<f64>,
    /// Rows of a product or forward pass.
    pub rows_m: Option<u32>,
    /// Inner and outer dimension of a product.
    pub matrix: String,
    /// Milliseconds of a step or product.
    pub step_ms: Option<f64>,
    /// The same as a multiple of that of one row.
    pub ratio_to_one_row: Option<f64>,
    /// Tokens per second over those of the baseline.
    pub speedup: Option<f64>,
    /// Power of the GPU's rail in watts.
    pub gpu_power_w: Option<f64>,
    /// Power of the whole machine in watts.
    pub system_power_w: Option<f64>,
    /// Joules for each generated token.
    pub energy_j_per_token: Option<f64>,
}

/// A file of rows beyond one stream that cannot be read.
#[derive(Debug, Error)]
pub enum BeyondError {
    /// A column of these rows is missing or wrong.
    #[error("{file}: {source}; the file needs the columns of data/beyond.csv")]
    Columns {
        /// The file.
        file: String,
        /// What is wrong.
        source: csv::Error,
    },
    /// A column that they share with those of one stream is missing or wrong.
    #[error(transparent)]
    Measured(#[from] ReadError),
}

/// Reads rows beyond one stream from the text of a file with this name.
///
/// # Errors
/// A column is missing or a field is no number.
pub fn read_beyond(file: &str, text: &str) -> Result<Vec<BeyondRow>, BeyondError> {
    let columns: Vec<BeyondColumns> = csv::Reader::from_reader(text.as_bytes())
        .deserialize()
        .collect::<Result<_, _>>()
        .map_err(|source| BeyondError::Columns { file: file.to_owned(), source })?;
    let measured = read(file, text)?;
    let row = |(measured, beyond)| BeyondRow { measured, beyond };
    Ok(measured.into_iter().zip(columns).map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_row_is_read() {
        let rows = read_beyond("beyond.csv", SHIPPED_BEYOND).unwrap();
        assert!(rows.len() >= 381);
        let batches = rows.iter().filter(|row| row.beyond.topic == Topic::Batch).count();
        assert!(batches >= 67, "{batches}");
        assert_eq!(rows[0].measured.chips, ["m5max-40"]);
    }

    #[test]
    fn a_file_without_its_columns_is_refused_with_its_name() {
        let error = read_beyond("mine.csv", "id,topic\nx,batch\n").unwrap_err().to_string();
        assert!(error.starts_with("mine.csv: ") && error.contains("data/beyond.csv"), "{error}");
    }
}
