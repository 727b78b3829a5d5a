//! Predictions for measured rows, and how they compare.

use super::baselines;
use super::dataset::{Dataset, Observed};
use super::held_out::HeldOutRates;
use super::measurement::{Measurement, column_name};
use super::peaks::{Peaks, RowPeak};
use super::score::{DirectionScore, ErrorScore, ScoredPrediction, balance};
use crate::estimate::widening::{self, Chips, Doubtful};
use crate::hardware::{Macs as Hardware, MacsError};
use crate::model::catalog::Models;
use crate::roofline::interval::Band;
use crate::roofline::{Coefficients, IntervalClass, LawKind};
use crate::run::Program;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasuredMetric {
    /// Generated tokens per second.
    Decode,
    /// Prompt tokens per second.
    Prefill,
    /// Peak memory in bytes.
    PeakMemory,
    /// Generated tokens per second of several sequences or users together.
    Users,
    /// Generated tokens per second of several Macs together.
    ClusterDecode,
    /// Prompt tokens per second of several Macs together.
    ClusterPrefill,
    /// Peak memory of fine-tuning in bytes.
    TrainingPeak,
    /// Tokens in the loss per second of fine-tuning.
    TrainingSpeed,
}

impl MeasuredMetric {
    /// All metrics.
    pub const ALL: [Self; 8] = [
        Self::Decode,
        Self::Prefill,
        Self::PeakMemory,
        Self::Users,
        Self::ClusterDecode,
        Self::ClusterPrefill,
        Self::TrainingPeak,
        Self::TrainingSpeed,
    ];

    /// Name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
            Self::PeakMemory => "peak_memory",
            Self::Users => "users",
            Self::ClusterDecode => "cluster_decode",
            Self::ClusterPrefill => "cluster_prefill",
            Self::TrainingPeak => "training_peak",
            Self::TrainingSpeed => "training_speed",
        }
    }
}

/// A predicted row.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Row {
    /// Id of the measured row.
    pub id: String,
    /// What was measured.
    pub metric: MeasuredMetric,
    /// Measured value: tokens per second, or bytes.
    pub measured: f64,
    /// Predicted value.
    pub predicted: f64,
    /// Interval that should hold 80 % of measurements.
    pub interval_80: [f64; 2],
    /// Interval that should hold 90 % of measurements.
    pub interval_90: [f64; 2],
    /// Predicted over measured, less 1.
    pub error: f64,
    /// Engine, as in the file.
    pub engine: &'static str,
    /// Program and versions, as far as the row states them.
    pub engine_version: String,
    /// Chip family.
    pub chip: String,
    /// Class of the weights' size.
    pub size_class: &'static str,
    /// `model_type` of the model.
    pub architecture: String,
    /// Class of the context's length.
    pub context_class: &'static str,
    /// What the rate is a rate of.
    pub rate_kind: &'static str,
    /// Model as published, with its format.
    pub model: String,
    /// Owner, chip, model and format.
    pub configuration: String,
    /// A guess at the cause of a large error.
    pub cause: Option<String>,
}

impl Row {
    fn outcome(&self) -> ScoredPrediction<'_> {
        let inside = |[low, high]: [f64; 2]| low <= self.measured && self.measured <= high;
        ScoredPrediction {
            error: self.error,
            inside: [inside(self.interval_80), inside(self.interval_90)],
            configuration: &self.configuration,
        }
    }

    /// The row's value of a grouping.
    #[must_use]
    pub fn group(&self, grouping: &str) -> &str {
        match grouping {
            "engine" => self.engine,
            "engine_version" => &self.engine_version,
            "chip" => &self.chip,
            "size_class" => self.size_class,
            "architecture" => &self.architecture,
            "rate_kind" => self.rate_kind,
            _ => self.context_class,
        }
    }
}

/// Groupings of the summary.
pub const GROUPINGS: [&str; 7] = [
    "engine",
    "engine_version",
    "rate_kind",
    "chip",
    "size_class",
    "architecture",
    "context_class",
];

/// Which rows a prediction has not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FitBasis {
    /// Predicted with the shipped coefficients.
    Shipped,
    /// Predicted from fits that have not seen the owner of the row.
    OwnerLeftOut,
    /// Predicted from fits that have not seen the chip of the row.
    ChipLeftOut,
}

/// Predictions for a measurement file.
#[derive(Clone, Debug)]
pub struct Validation {
    /// How the speeds were predicted.
    pub basis: FitBasis,
    /// Predicted rows.
    pub rows: Vec<Row>,
    /// Rows without a prediction: id and reason.
    pub skipped: Vec<(String, String)>,
    /// Scores of simpler predictors of decode speed on the same rows: name, by configuration, by row.
    pub baselines: Vec<(&'static str, ErrorScore, ErrorScore)>,
    /// Whether it is rightly said that several Macs are faster or slower than one.
    pub direction: DirectionScore,
}

/// What predictions are made with.
pub struct Tools<'a> {
    /// Models.
    pub models: &'a Models,
    /// Chips and limits.
    pub hardware: &'a Hardware,
    /// Fitted coefficients.
    pub coefficients: &'a Coefficients,
}

impl Validation {
    /// Predicts the rows of a file: with the shipped coefficients, or for shipped rows with held-out rates.
    ///
    /// # Errors
    /// When the chip catalog cannot be read.
    pub fn of(
        measurements: &[Measurement],
        tools: &Tools<'_>,
        basis: FitBasis,
        held_out: &HeldOutRates,
    ) -> Result<Self, MacsError> {
        let chips = tools.hardware.chips()?;
        let data = Dataset::build(measurements, tools.models, chips);
        let mut rows = Vec::new();
        let mut skipped: Vec<(String, String)> =
            data.skipped.iter().map(|(m, reason)| (m.id.clone(), reason.clone())).collect();
        let with = (tools.models, tools.coefficients);
        let mut peaks = Peaks::new(with, chips, tools.hardware.limits()?);
        for observed in &data.rows {
            let before = rows.len();
            let rates = Rates { data: &data, observed, tools, basis, held_out };
            rows.extend(rates.decode());
            rows.extend(rates.prefill());
            rows.extend(peaks.of(observed.row).map(|peak| rates.peak(&peak)));
            if rows.len() == before {
                let reason =
                    "no decode rate, no prefill rate with its prompt length and no MLX peak";
                skipped.push((observed.row.id.clone(), reason.to_owned()));
            }
        }
        let baselines = baseline_scores(&data);
        Ok(Self { basis, rows, skipped, baselines, direction: DirectionScore::default() })
    }

    /// Predictions of no rows.
    #[must_use]
    pub fn of_none(basis: FitBasis) -> Self {
        let (rows, skipped, baselines) = (Vec::new(), Vec::new(), Vec::new());
        Self { basis, rows, skipped, baselines, direction: DirectionScore::default() }
    }

    /// Rows of a metric that pass a test.
    fn outcomes(
        &self,
        metric: MeasuredMetric,
        keep: impl Fn(&Row) -> bool,
    ) -> Vec<ScoredPrediction<'_>> {
        let rows = self.rows.iter().filter(|r| r.metric == metric && keep(r));
        rows.map(Row::outcome).collect()
    }

    /// Scores by row and by configuration of the rows of a metric that pass a test.
    #[must_use]
    pub fn score(
        &self,
        metric: MeasuredMetric,
        keep: impl Fn(&Row) -> bool,
    ) -> Option<[ErrorScore; 2]> {
        let outcomes = self.outcomes(metric, keep);
        Some([ErrorScore::by_row(&outcomes)?, ErrorScore::by_configuration(&outcomes)?])
    }

    /// Scores of a metric by the values of a grouping.
    #[must_use]
    pub fn groups(
        &self,
        metric: MeasuredMetric,
        grouping: &str,
    ) -> BTreeMap<String, [ErrorScore; 2]> {
        let values: std::collections::BTreeSet<&str> =
            self.rows.iter().filter(|r| r.metric == metric).map(|r| r.group(grouping)).collect();
        let score = |v: &str| Some((v.to_owned(), self.score(metric, |r| r.group(grouping) == v)?));
        values.into_iter().filter_map(score).collect()
    }

    /// The configurations with the largest errors of a metric: their worst rows.
    #[must_use]
    pub fn worst(&self, metric: MeasuredMetric, n: usize) -> Vec<&Row> {
        let mut worst: BTreeMap<&str, &Row> = BTreeMap::new();
        for row in self.rows.iter().filter(|r| r.metric == metric) {
            let entry = worst.entry(&row.configuration).or_insert(row);
            if row.error.abs() > entry.error.abs() {
                *entry = row;
            }
        }
        let mut rows: Vec<&Row> = worst.into_values().collect();
        rows.sort_by(|a, b| b.error.abs().total_cmp(&a.error.abs()));
        rows.truncate(n);
        rows
    }
}

fn baseline_scores(data: &Dataset<'_>) -> Vec<(&'static str, ErrorScore, ErrorScore)> {
    let rated: Vec<(&Observed<'_>, f64)> = data
        .rows
        .iter()
        .filter(|r| !r.program.runs_gguf())
        .filter_map(|r| Some((r, r.decode_rate()?)))
        .collect();
    let weights = balance(rated.iter().map(|(r, _)| r.configuration.as_str()));
    let score = |rates: &[f64]| {
        let outcomes: Vec<ScoredPrediction<'_>> = rated
            .iter()
            .zip(rates)
            .map(|((row, measured), rate)| ScoredPrediction {
                error: rate / measured - 1.0,
                inside: [false; 2],
                configuration: &row.configuration,
            })
            .collect();
        Some((ErrorScore::by_configuration(&outcomes)?, ErrorScore::by_row(&outcomes)?))
    };
    baselines::all(data, &rated, &weights)
        .into_iter()
        .filter_map(|b| score(&b.rates).map(|(c, r)| (b.name, c, r)))
        .collect()
}

/// Everything about one observed row.
struct Rates<'r, 'a> {
    data: &'r Dataset<'a>,
    observed: &'r Observed<'a>,
    tools: &'r Tools<'r>,
    basis: FitBasis,
    held_out: &'r HeldOutRates,
}

impl Rates<'_, '_> {
    fn held(&self, law: LawKind) -> Option<f64> {
        let rates = self.held_out.get(&self.observed.row.id, law)?;
        match self.basis {
            FitBasis::Shipped => None,
            FitBasis::OwnerLeftOut => Some(rates.owner_out),
            FitBasis::ChipLeftOut => Some(rates.chip_out),
        }
    }

    /// What the width of an interval of a law depends on.
    fn doubtful(&self, law: LawKind, class: IntervalClass, tokens: f64) -> Doubtful<'_> {
        let left_out = self.basis == FitBasis::ChipLeftOut;
        let row = self.observed.row;
        Doubtful {
            chips: if left_out {
                Chips::LeftOut
            } else {
                Chips::Candidates(&self.observed.targets)
            },
            law,
            class,
            model_type: &self.observed.architecture,
            program: self.observed.program,
            tokens,
            batch: row.batch,
            quantized_cache: !matches!(row.kv_quant.as_str(), "" | "none"),
        }
    }

    fn decode(&self) -> Option<Row> {
        let measured = self.observed.decode_rate()?;
        let c = self.tools.coefficients;
        let f = self.data.features_of(self.observed);
        let law = LawKind::of_decode(self.observed.program);
        let predicted = self.held(law).unwrap_or_else(|| self.observed.predicted_decode(c, f));
        let class = IntervalClass::of_decode(
            self.observed.interval_program(),
            f.weight_bytes_per_step(),
            f.has_experts(),
        );
        let doubtful = self.doubtful(law, class, self.observed.step().tokens);
        let band = c.decode_band(class);
        let mut widenings = widening::decode(c, &doubtful);
        let share = self.observed.attention_share(c, f);
        widenings.extend(widening::attention(&band, doubtful.tokens, share));
        let band = band.widened(widening::factor(&widenings));
        Some(self.row(MeasuredMetric::Decode, measured, predicted, band))
    }

    fn prefill(&self) -> Option<Row> {
        let measured = self.observed.prefill_rate()?;
        let c = self.tools.coefficients;
        let f = self.data.features_of(self.observed);
        let prompt = self.observed.prompt()?;
        let predicted = match self.held(LawKind::Prefill) {
            Some(rate) => rate,
            None => self.observed.predicted_prefill(c, f)?,
        };
        let class = IntervalClass::of_prefill(self.observed.targets.iter().any(|t| t.matrix_units));
        let doubtful = self.doubtful(LawKind::Prefill, class, prompt.tokens);
        let factor = widening::factor(&widening::prefill(c, &doubtful));
        let band = c.prefill_band(class).widened(factor);
        Some(self.row(MeasuredMetric::Prefill, measured, predicted, band))
    }

    fn peak(&self, peak: &RowPeak) -> Row {
        let RowPeak { measured, predicted, interval_80, interval_90 } = *peak;
        self.with_intervals(
            MeasuredMetric::PeakMemory,
            measured,
            predicted,
            interval_80,
            interval_90,
        )
    }

    fn row(&self, metric: MeasuredMetric, measured: f64, predicted: f64, band: Band) -> Row {
        let (interval_80, interval_90) = band.around(predicted);
        self.with_intervals(metric, measured, predicted, interval_80, interval_90)
    }

    fn with_intervals(
        &self,
        metric: MeasuredMetric,
        measured: f64,
        predicted: f64,
        interval_80: [f64; 2],
        interval_90: [f64; 2],
    ) -> Row {
        let o = self.observed;
        let error = predicted / measured - 1.0;
        let outside = !(interval_90[0]..=interval_90[1]).contains(&measured);
        Row {
            id: o.row.id.clone(),
            metric,
            measured,
            predicted,
            interval_80,
            interval_90,
            error,
            engine: column_name(o.row.engine),
            engine_version: o.row.release(),
            chip: o.chip.clone(),
            size_class: size_class(self.data.features_of(o).weight_bytes),
            architecture: o.architecture.clone(),
            context_class: context_class(o.context_tokens()),
            rate_kind: o.row.rate_kind.name(),
            model: format!("{} {}", o.row.model_published, o.row.quant),
            configuration: o.configuration.clone(),
            cause: outside.then(|| self.cause(metric, measured, error)),
        }
    }

    /// A guess at why a prediction misses.
    fn cause(&self, metric: MeasuredMetric, measured: f64, error: f64) -> String {
        let o = self.observed;
        let f = self.data.features_of(o);
        let fastest = o.targets.iter().map(|t| t.bandwidth).fold(0.0, f64::max);
        let bus = fastest / f.weight_bytes_per_step().max(1.0);
        let published = o.row.model_published.to_lowercase();
        let text = match metric {
            MeasuredMetric::Decode if measured > bus => {
                "faster than the bus: speculative, another format, or a typing error"
            }
            MeasuredMetric::Decode if published.contains("qat") || published.contains("optiq") => {
                "the conversion may keep tensors at more bits than its name says"
            }
            _ if o.targets.len() > 1 => "the source does not state the bin",
            _ if o.row.is_fanless() && error > 0.0 => "a Mac without a fan, throttled",
            MeasuredMetric::Decode if error > 0.0 && o.row.engine == Program::MlxSwift => {
                "a fork of MLX Swift of its own speed"
            }
            MeasuredMetric::Prefill if o.targets.iter().any(|t| t.matrix_units) => {
                "whether macOS and MLX use the matrix units is not stated"
            }
            MeasuredMetric::Decode if error > 0.0 => {
                "heavier than its label, throttled, or timed end to end"
            }
            MeasuredMetric::Decode => "lighter than its label, or a faster build",
            MeasuredMetric::Prefill if error > 0.0 => {
                "timed with the server's overhead or a cold start"
            }
            MeasuredMetric::Prefill => "part of the prompt came from a cache, or a faster build",
            MeasuredMetric::PeakMemory if error < 0.0 => {
                "the process kept something else: a vision tower, a cache of prompts"
            }
            MeasuredMetric::PeakMemory => "another version of MLX, or another memory metric",
            MeasuredMetric::Users => "a server with a batch generator of its own",
            MeasuredMetric::ClusterDecode | MeasuredMetric::ClusterPrefill => {
                "another way of waiting between the Macs"
            }
            MeasuredMetric::TrainingPeak | MeasuredMetric::TrainingSpeed => {
                "other lengths or versions than stated"
            }
        };
        text.to_owned()
    }
}

pub(super) fn size_class(weight_bytes: f64) -> &'static str {
    match weight_bytes / 1e9 {
        gb if gb < 1.0 => "below 1 GB",
        gb if gb < 3.0 => "1 to 3 GB",
        gb if gb < 10.0 => "3 to 10 GB",
        gb if gb < 30.0 => "10 to 30 GB",
        _ => "from 30 GB",
    }
}

pub(super) fn context_class(tokens: u32) -> &'static str {
    match tokens {
        0..1024 => "below 1k",
        1024..4096 => "1k to 4k",
        4096..16_384 => "4k to 16k",
        _ => "from 16k",
    }
}
