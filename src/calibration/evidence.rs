//! Predictions against runs on this machine: stored as they are made, cited by later predictions.
//!
//! The file holds one JSON object a line. A line is written in one call, and lines that cannot be read are left out, so
//! that an interrupted run loses nothing but the row it was at.

use super::{Fidelity, Host};
use crate::data_dir;
use crate::files;
use crate::stats::{Z80, Z90, median, quantile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Version of the rows.
pub const VERSION: u32 = 1;
/// Longest file that is read, bytes: some 50 000 rows.
const MAX_BYTES: u64 = 32 << 20;

/// What was predicted and measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceMetric {
    /// Tokens per second of single steps.
    Decode,
    /// Tokens per second of a prompt.
    Prefill,
}

/// A prediction and the run that followed.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct LiveComparison {
    /// See [`VERSION`].
    pub version: u32,
    /// Seconds since 1970.
    pub unix_s: u64,
    /// The machine.
    pub machine: Host,
    /// Version of MLX.
    pub mlx: String,
    /// Clock of the measurement.
    pub clock: String,
    /// Ladder of the suite, or `model` for one that the user named.
    pub set: String,
    /// Model.
    pub model: String,
    /// Format of its weights.
    pub quant: String,
    /// Whether the weights are random ones.
    pub random_weights: bool,
    /// Tokens in the cache (decode), or of the prompt (prefill).
    pub context_tokens: u32,
    /// What was measured.
    pub metric: EvidenceMetric,
    /// How it was predicted.
    pub fidelity: Fidelity,
    /// Predicted tokens per second.
    pub predicted: f64,
    /// Standard deviation of the logarithm of the prediction that its timings explain.
    pub timing_log_error: f64,
    /// 80 % interval of the prediction.
    pub interval_80: [f64; 2],
    /// 90 % interval of the prediction.
    pub interval_90: [f64; 2],
    /// Measured tokens per second: median of rounds.
    pub measured: f64,
    /// `predicted / measured - 1`.
    pub error: f64,
    /// Whether the 90 % interval held the measurement.
    pub held_90: bool,
    /// How far two measurements of the same lay apart, the rounds of both taking turns.
    pub noise: f64,
    /// Tokens per second by the wall clock.
    pub wall_tokens_per_s: f64,
    /// Rounds.
    pub rounds: u32,
    /// MLX's peak memory in the run.
    pub mlx_peak_bytes: Option<u64>,
    /// Memory of the process after the run, as the system counts it.
    pub process_bytes: Option<u64>,
    /// When the profile was made that the prediction used.
    pub profile_unix_s: Option<u64>,
}

/// A predicted rate with its intervals.
#[derive(Clone, Copy, Debug)]
pub struct PredictedRate {
    /// Tokens per second.
    pub rate: f64,
    /// 80 % interval.
    pub interval_80: [f64; 2],
    /// 90 % interval.
    pub interval_90: [f64; 2],
}

impl PredictedRate {
    /// From a rate and the standard deviation of its logarithm.
    #[must_use]
    pub fn new(rate: f64, log_error: f64) -> Self {
        let around = |z: f64| [rate * (-z * log_error).exp(), rate * (z * log_error).exp()];
        Self { rate, interval_80: around(Z80), interval_90: around(Z90) }
    }
}

/// How good predictions of one fidelity were.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Quality {
    /// Comparisons.
    pub n: usize,
    /// Median of the absolute errors.
    pub median_abs_error: f64,
    /// 90th percentile of the absolute errors.
    pub p90_abs_error: f64,
    /// Mean of the absolute errors.
    pub mean_abs_error: f64,
    /// Median of the signed errors.
    pub bias: f64,
    /// Share of the 80 % intervals that held.
    pub coverage_80: f64,
    /// Share of the 90 % intervals that held.
    pub coverage_90: f64,
    /// Median of the differences between two measurements of the same.
    pub noise_floor: f64,
    /// 90th percentile of those.
    pub noise_p90: f64,
}

impl Quality {
    /// Of some comparisons; `None` of nothing.
    #[must_use]
    pub fn of(rows: &[&LiveComparison]) -> Option<Self> {
        let n = rows.len();
        let all = |f: &dyn Fn(&LiveComparison) -> f64| -> Vec<f64> {
            rows.iter().map(|r| f(r)).collect()
        };
        let errors = all(&|r| r.error.abs());
        let noise = all(&|r| r.noise);
        let share = |within: &dyn Fn(&LiveComparison) -> [f64; 2]| {
            let held = rows.iter().filter(|r| {
                let [low, high] = within(r);
                (low..=high).contains(&r.measured)
            });
            held.count() as f64 / n as f64
        };
        Some(Self {
            n,
            median_abs_error: median(&errors)?,
            p90_abs_error: quantile(&errors, 0.9)?,
            mean_abs_error: errors.iter().sum::<f64>() / n as f64,
            bias: median(&all(&|r| r.error))?,
            coverage_80: share(&|r| r.interval_80),
            coverage_90: share(&|r| r.interval_90),
            noise_floor: median(&noise)?,
            noise_p90: quantile(&noise, 0.9)?,
        })
    }

    /// In one sentence.
    #[must_use]
    pub fn text(&self) -> String {
        let p = |x: f64| format!("{:.1} %", 100.0 * x);
        format!(
            "{} runs here: error median {}, p90 {}; the 90 % interval held {:.0} %",
            self.n,
            p(self.median_abs_error),
            p(self.p90_abs_error),
            100.0 * self.coverage_90
        )
    }
}

/// The standard deviation that, added to what the timings explain, makes 90 % intervals hold 90 % of these rows.
#[must_use]
pub fn unexplained(rows: &[&LiveComparison]) -> Option<f64> {
    // What each row needs for its own interval to just hold.
    let needed = |r: &&LiveComparison| {
        let z = (r.predicted / r.measured).ln().abs() / Z90;
        (z * z - r.timing_log_error * r.timing_log_error).max(0.0).sqrt()
    };
    quantile(&rows.iter().map(needed).collect::<Vec<_>>(), 0.9)
}

/// The user's file of comparisons.
#[must_use]
pub fn file() -> Option<PathBuf> {
    Some(data_dir::config_dir()?.join("evidence.jsonl"))
}

/// Adds a row to a file.
///
/// # Errors
/// When the file cannot be written.
pub fn append(path: &Path, row: &LiveComparison) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut line = String::new();
    if !ends_whole(&mut file)? {
        line.push('\n');
    }
    line.push_str(&serde_json::to_string(row)?);
    line.push('\n');
    file.write_all(line.as_bytes())?;
    file.sync_data()
}

/// Whether the last line of a file is complete.
fn ends_whole(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The rows of a file, and the number of lines that are none. A file that is not there has no rows.
///
/// # Errors
/// When the file is there but cannot be read, or is far too long.
pub fn read(path: &Path) -> io::Result<(Vec<LiveComparison>, usize)> {
    match files::bytes(path, MAX_BYTES) {
        Ok(bytes) => Ok(parse(&String::from_utf8_lossy(&bytes))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok((Vec::new(), 0)),
        Err(e) if e.kind() == io::ErrorKind::FileTooLarge => {
            Err(io::Error::new(e.kind(), format!("{e}; move it away")))
        }
        Err(e) => Err(e),
    }
}

/// Longest noise of a run that is believed: a rate that differs from itself by e^10.
const MOST_NOISE: f64 = 10.0;

/// Whether a row can be what was predicted and measured.
#[must_use]
pub fn is_sound(row: &LiveComparison) -> bool {
    let rates = [row.predicted, row.measured, row.interval_90[0], row.interval_90[1]];
    let errors = [row.noise, row.timing_log_error];
    row.version == VERSION
        && rates.iter().all(|x| x.is_finite() && *x > 0.0)
        && errors.iter().all(|x| (0.0..=MOST_NOISE).contains(x))
}

/// The rows of a text, and the number of lines that are none.
#[must_use]
pub fn parse(text: &str) -> (Vec<LiveComparison>, usize) {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let rows: Vec<LiveComparison> =
        lines.iter().filter_map(|l| serde_json::from_str(l).ok()).filter(is_sound).collect();
    let damaged = lines.len() - rows.len();
    (rows, damaged)
}

/// How good decode predictions of a fidelity were on a machine, by the user's file; `None` without any.
#[must_use]
pub fn here(machine: &Host, fidelity: Fidelity, metric: EvidenceMetric) -> Option<Quality> {
    let (rows, _) = read(&file()?).ok()?;
    let fits =
        |r: &&LiveComparison| r.machine == *machine && r.fidelity == fidelity && r.metric == metric;
    Quality::of(&rows.iter().filter(fits).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(predicted: f64, measured: f64) -> LiveComparison {
        let p = PredictedRate::new(predicted, 0.05);
        LiveComparison {
            version: VERSION,
            unix_s: 1_800_000_000,
            machine: Host {
                system: "linux".to_owned(),
                chip: "x86_64".to_owned(),
                gpu_cores: None,
                cpu_cores: Some(2),
                memory_bytes: Some(1 << 34),
                backend: "cpu".to_owned(),
            },
            mlx: "0.32.2".to_owned(),
            clock: "wall".to_owned(),
            set: "model".to_owned(),
            model: "a/b".to_owned(),
            quant: "affine-4-g64".to_owned(),
            random_weights: true,
            context_tokens: 512,
            metric: EvidenceMetric::Decode,
            fidelity: Fidelity::Calibrated,
            predicted,
            timing_log_error: 0.01,
            interval_80: p.interval_80,
            interval_90: p.interval_90,
            measured,
            error: predicted / measured - 1.0,
            held_90: true,
            noise: 0.01,
            wall_tokens_per_s: measured,
            rounds: 5,
            mlx_peak_bytes: None,
            process_bytes: None,
            profile_unix_s: None,
        }
    }

    #[test]
    fn rows_come_back_and_a_cut_line_costs_only_itself() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("new").join("evidence.jsonl");
        assert_eq!(read(&path).expect("no file, no rows"), (vec![], 0));
        append(&path, &row(10.0, 10.5)).expect("written");
        append(&path, &row(11.0, 10.5)).expect("written");
        let text = std::fs::read_to_string(&path).expect("text");
        std::fs::write(&path, &text[..text.len() - 40]).expect("written");
        append(&path, &row(12.0, 10.5)).expect("written");
        let (rows, damaged) = read(&path).expect("rows");
        assert_eq!(damaged, 1);
        assert_eq!(rows.iter().map(|r| r.predicted).collect::<Vec<_>>(), [10.0, 12.0]);
    }

    #[test]
    fn quality_counts_errors_and_intervals() {
        let rows = [row(10.0, 10.0), row(10.4, 10.0), row(12.0, 10.0)];
        let q = Quality::of(&rows.iter().collect::<Vec<_>>()).expect("rows");
        assert!((q.median_abs_error - 0.04).abs() < 1e-9, "{q:?}");
        assert!((q.coverage_90 - 2.0 / 3.0).abs() < 1e-9, "{q:?}");
        assert_eq!(Quality::of(&[]), None);
    }

    #[test]
    fn intervals_with_the_unexplained_part_hold_nine_of_ten() {
        let rows: Vec<LiveComparison> =
            (1..=100).map(|i| row(10.0 + f64::from(i) * 0.02, 10.0)).collect();
        let rows: Vec<&LiveComparison> = rows.iter().collect();
        let sigma = unexplained(&rows).expect("rows").hypot(0.01);
        let held = rows.iter().filter(|r| (r.predicted / r.measured).ln() <= Z90 * sigma).count();
        assert!((88..=92).contains(&held), "{held}");
    }
}
