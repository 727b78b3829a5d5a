//! `mlxplan validate --against`: predictions against published measurements.

use super::args::ValidateArgs;
use super::published_document::{self, percent, said, signed};
use crate::cli::shared::context::Context;
use crate::cli::shared::exit::ExitStatus;
use crate::cli::shared::{output, shipped};
use crate::files;
use crate::report::{Answer, Column, Document, Present, Table};
use crate::validation::beyond::read_beyond;
use crate::validation::evaluate::{FitBasis, MeasuredMetric, Row};
use crate::validation::held_out::HeldOutRates;
use crate::validation::import::import;
use crate::validation::score::{DirectionScore, ErrorScore};
use crate::validation::speculation::SpeculationScores;
use crate::validation::training::{is_training, read_training};
use crate::validation::{Validation, read};
use anyhow::{Context as _, Result};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Longest file of measurements that is read, bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

pub(super) fn run(context: &Context, args: &ValidateArgs) -> Result<(Answer, ExitStatus)> {
    let (file, validation, speculation) = match &args.against {
        Some(path) => against(context, path)?,
        None => {
            let basis = if args.by_chip { FitBasis::ChipLeftOut } else { FitBasis::OwnerLeftOut };
            let speculation = SpeculationScores::of(&shipped::beyond()?, &context.tools()?);
            (shipped::FILE.to_owned(), context.shipped(basis)?, speculation)
        }
    };
    if let Some(path) = &args.plot {
        let svg = shipped::scatter(&validation).svg().map_err(anyhow::Error::msg)?;
        anyhow::ensure!(!svg.is_empty(), "no decode rate to plot in {file}");
        output::write_plot(path, &svg)?;
    }
    let answer = ValidationAnswer::new(file, validation, speculation);
    Ok((Answer::of(answer), ExitStatus::Ok))
}

/// Measurements of a file, predicted with the shipped coefficients.
fn against(context: &Context, path: &Path) -> Result<(String, Validation, SpeculationScores)> {
    let text = files::text(path, MAX_FILE_BYTES)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let file = path.display().to_string();
    let tools = context.tools()?;
    if is_training(&text) {
        let rows = read_training(&file, &text)?;
        let validation = Validation::of_none(FitBasis::Shipped).with_training(&rows, &tools);
        return Ok((file, validation, SpeculationScores::of(&[], &tools)));
    }
    let imported = import(&file, &text, tools.models, tools.hardware)?;
    let (measurements, left_out) = match imported {
        Some(found) => (found.rows, found.left_out),
        None => (read(&file, &text)?, Vec::new()),
    };
    let held_out = HeldOutRates::none();
    let mut validation = Validation::of(&measurements, &tools, FitBasis::Shipped, &held_out)?
        .with_users(&measurements, &tools)?;
    validation.skipped.extend(left_out);
    let beyond = is_beyond(&text).then(|| read_beyond(&file, &text)).transpose()?;
    let beyond = beyond.unwrap_or_default();
    let speculation = SpeculationScores::of(&beyond, &tools);
    Ok((file, validation.with_clusters(&beyond, &tools), speculation))
}

/// Predictions against published measurements.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct ValidationAnswer {
    /// The measurement file.
    file: String,
    /// How the speeds were predicted.
    basis: FitBasis,
    /// The same in a sentence.
    method: &'static str,
    /// Predicted rows.
    rows: Vec<Row>,
    /// Rows without a prediction.
    skipped: Vec<SkippedRow>,
    /// How good the predictions are.
    summary: Summary,
    /// Simpler predictors of decode speed on the same rows.
    baselines: Vec<Baseline>,
    /// Published speed-ups of drafts, of which the tokens a round are known; `null` where the file has none.
    speculation: Option<SpeculationScores>,
    #[serde(skip)]
    validation: Validation,
}

/// A row without a prediction.
#[derive(Debug, Serialize, JsonSchema)]
struct SkippedRow {
    id: String,
    reason: String,
}

/// How good the predictions are, by metric; `null` where no row has it.
#[derive(Debug, Serialize, JsonSchema)]
struct Summary {
    decode: Option<MetricSummary>,
    prefill: Option<MetricSummary>,
    peak_memory: Option<MetricSummary>,
    /// Several sequences or users at once.
    users: Option<MetricSummary>,
    /// Decode of several Macs together.
    cluster_decode: Option<MetricSummary>,
    /// Prefill of several Macs together.
    cluster_prefill: Option<MetricSummary>,
    /// Peak memory of fine-tuning.
    training_peak: Option<MetricSummary>,
    /// Tokens in the loss per second of fine-tuning.
    training_speed: Option<MetricSummary>,
    /// Whether it is rightly said that several Macs decode faster or slower than one; `null` where no row says what one does.
    cluster_direction: Option<DirectionScore>,
}

/// How good the predictions of a metric are.
#[derive(Debug, Serialize, JsonSchema)]
struct MetricSummary {
    /// Of all rows.
    #[serde(flatten)]
    all: Scores,
    engine: BTreeMap<String, Scores>,
    /// By program, version and MLX, as far as the rows state them.
    engine_version: BTreeMap<String, Scores>,
    chip: BTreeMap<String, Scores>,
    size_class: BTreeMap<String, Scores>,
    architecture: BTreeMap<String, Scores>,
    context_class: BTreeMap<String, Scores>,
    rate_kind: BTreeMap<String, Scores>,
}

/// Scores in which every row counts once, and every configuration.
#[derive(Debug, Serialize, JsonSchema)]
struct Scores {
    #[serde(flatten)]
    by_row: ErrorScore,
    by_configuration: ErrorScore,
}

/// A simpler predictor. It has no intervals.
#[derive(Debug, Serialize, JsonSchema)]
struct Baseline {
    name: &'static str,
    #[serde(flatten)]
    by_row: PointScore,
    by_configuration: PointScore,
}

/// A score without intervals.
#[derive(Debug, Serialize, JsonSchema)]
struct PointScore {
    n: usize,
    median_abs_error: f64,
    mean_abs_error: f64,
    p90_abs_error: f64,
    bias: f64,
    coverage_80: Option<f64>,
    coverage_90: Option<f64>,
}

impl From<ErrorScore> for PointScore {
    fn from(s: ErrorScore) -> Self {
        Self {
            n: s.n,
            median_abs_error: s.median_abs_error,
            mean_abs_error: s.mean_abs_error,
            p90_abs_error: s.p90_abs_error,
            bias: s.bias,
            coverage_80: None,
            coverage_90: None,
        }
    }
}

impl From<[ErrorScore; 2]> for Scores {
    fn from([by_row, by_configuration]: [ErrorScore; 2]) -> Self {
        Self { by_row, by_configuration }
    }
}

impl MetricSummary {
    fn of(v: &Validation, metric: MeasuredMetric) -> Option<Self> {
        let groups = |grouping: &str| {
            v.groups(metric, grouping).into_iter().map(|(name, s)| (name, s.into())).collect()
        };
        Some(Self {
            all: v.score(metric, |_| true)?.into(),
            engine: groups("engine"),
            engine_version: groups("engine_version"),
            chip: groups("chip"),
            size_class: groups("size_class"),
            architecture: groups("architecture"),
            context_class: groups("context_class"),
            rate_kind: groups("rate_kind"),
        })
    }
}

impl ValidationAnswer {
    fn new(file: String, v: Validation, speculation: SpeculationScores) -> Self {
        let skipped =
            |(id, reason): &(String, String)| SkippedRow { id: id.clone(), reason: reason.clone() };
        let baseline =
            |(name, by_configuration, by_row): &(&'static str, ErrorScore, ErrorScore)| Baseline {
                name,
                by_row: (*by_row).into(),
                by_configuration: (*by_configuration).into(),
            };
        Self {
            file,
            basis: v.basis,
            method: said(v.basis),
            rows: v.rows.clone(),
            skipped: v.skipped.iter().map(skipped).collect(),
            summary: Summary {
                decode: MetricSummary::of(&v, MeasuredMetric::Decode),
                prefill: MetricSummary::of(&v, MeasuredMetric::Prefill),
                peak_memory: MetricSummary::of(&v, MeasuredMetric::PeakMemory),
                users: MetricSummary::of(&v, MeasuredMetric::Users),
                cluster_decode: MetricSummary::of(&v, MeasuredMetric::ClusterDecode),
                cluster_prefill: MetricSummary::of(&v, MeasuredMetric::ClusterPrefill),
                training_peak: MetricSummary::of(&v, MeasuredMetric::TrainingPeak),
                training_speed: MetricSummary::of(&v, MeasuredMetric::TrainingSpeed),
                cluster_direction: Some(v.direction).filter(|d| d.n > 0),
            },
            baselines: v.baselines.iter().map(baseline).collect(),
            speculation: speculation.all.is_some().then_some(speculation),
            validation: v,
        }
    }
}

impl Present for ValidationAnswer {
    const SCHEMA: &'static str = "mlxplan.validation/1";
    const NOT_MODELED: &'static [&'static str] =
        &["heat, background load and versions that a row does not state"];

    fn document(&self) -> Document {
        let mut d = published_document::document(&self.file, &self.validation);
        if let Some(found) = &self.speculation {
            d.heading("Drafts: speed-ups, with the tokens a round as published");
            d.table(speedups(found));
        }
        d
    }
}

/// Whether a file has rows beyond one stream: those say what they are about.
fn is_beyond(text: &str) -> bool {
    let headings = text.lines().next().unwrap_or_default();
    headings.split(',').any(|heading| heading.trim_matches('"') == "topic")
}

/// How good predicted speed-ups are, by who drafts.
fn speedups(found: &SpeculationScores) -> Table {
    let mut table = Table::new(vec![
        Column::text("what drafts"),
        Column::number("rows"),
        Column::number("median"),
        Column::number("p90"),
        Column::number("bias").droppable(2),
        Column::number("in 90 %"),
        Column::number("faster or slower right"),
    ]);
    let all = found.all.iter().map(|score| ("all", score));
    for (name, score) in all.chain(found.kinds.iter().map(|(name, score)| (*name, score))) {
        table.row([
            name.to_owned(),
            score.n.to_string(),
            percent(score.median_abs_error),
            percent(score.p90_abs_error),
            signed(score.bias),
            percent(score.coverage_90),
            percent(score.direction_right),
        ]);
    }
    table
}
