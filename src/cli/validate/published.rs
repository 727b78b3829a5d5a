//! `mlxplan validate --against`: predictions against published measurements.

use super::args::ValidateArgs;
use crate::cli::shared::context::Context;
use crate::cli::shared::exit::ExitStatus;
use crate::cli::shared::{output, shipped};
use crate::files;
use crate::report::{Answer, Column, Document, Present, Table};
use crate::validation::beyond::read_beyond;
use crate::validation::evaluate::{FitBasis, GROUPINGS, MeasuredMetric, Row};
use crate::validation::held_out::HeldOutRates;
use crate::validation::import::import;
use crate::validation::measurement::RateKind;
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
/// How rows say that their rate is one over the whole request.
const WHOLE: &str = RateKind::EndToEnd.name();
/// Configurations that are listed as worst.
const WORST: usize = 10;

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

/// How the predictions were made, in one sentence.
const fn said(basis: FitBasis) -> &'static str {
    match basis {
        FitBasis::Shipped => "predicted with the shipped coefficients",
        FitBasis::OwnerLeftOut => {
            "cross-validation: every speed is predicted by a fit that has not seen any row of its owner; peaks are \
             simulated, not fitted"
        }
        FitBasis::ChipLeftOut => {
            "cross-validation: every speed is predicted by a fit that has not seen any row of its chip; peaks are \
             simulated, not fitted"
        }
    }
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
        let mut d = document(&self.file, &self.validation);
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

fn percent(x: f64) -> String {
    format!("{:.1} %", 100.0 * x)
}

fn signed(x: f64) -> String {
    format!("{:+.1} %", 100.0 * x)
}

fn document(file: &str, v: &Validation) -> Document {
    let mut d = Document::default();
    d.heading(format!("Predictions against {file}"));
    d.text(format!("{}.", said(v.basis)));
    d.table(accuracy(v));
    let whole = |r: &Row| r.metric == MeasuredMetric::Decode && r.rate_kind == WHOLE;
    let n = v.rows.iter().filter(|r| whole(r)).count();
    if n > 0 {
        d.text(format!(
            "{n} rows of decode are rates over whole requests (rate kind {WHOLE}), predicted as such, prompt included."
        ));
    }
    if v.direction.n > 0 {
        d.text(format!(
            "Several Macs: faster or slower than one is rightly said of {} of {} rows that give both.",
            v.direction.right, v.direction.n
        ));
    }
    for metric in MeasuredMetric::ALL {
        if v.score(metric, |_| true).is_none() {
            continue;
        }
        d.heading(format!("{} by group", title(metric)));
        d.table(groups(v, metric));
    }
    if !v.baselines.is_empty() {
        d.heading("Simpler predictors of decode speed with MLX, on the same rows");
        d.table(baselines(v));
        d.text("Their constants are fitted on these very rows, which favors them.");
    }
    for metric in MeasuredMetric::ALL {
        let worst = v.worst(metric, WORST);
        if !worst.is_empty() {
            d.heading(format!("{}: configurations with the largest errors", title(metric)));
            d.table(worst_table(metric, &worst));
        }
    }
    d.heading("Rows without a prediction");
    d.table(skipped(v));
    d
}

const fn title(metric: MeasuredMetric) -> &'static str {
    match metric {
        MeasuredMetric::Decode => "Decode",
        MeasuredMetric::Prefill => "Prefill",
        MeasuredMetric::PeakMemory => "Peak memory",
        MeasuredMetric::Users => "Several users",
        MeasuredMetric::ClusterDecode => "Decode of several Macs",
        MeasuredMetric::ClusterPrefill => "Prefill of several Macs",
        MeasuredMetric::TrainingPeak => "Peak memory of fine-tuning",
        MeasuredMetric::TrainingSpeed => "Speed of fine-tuning",
    }
}

/// Columns of every table of scores after the first ones.
fn score_columns(first: &[&str]) -> Table {
    let mut columns: Vec<Column> = first.iter().map(|c| Column::text(c)).collect();
    columns.push(Column::number("n"));
    columns.push(Column::number("rows").droppable(1));
    columns.push(Column::number("median"));
    columns.push(Column::number("mean").droppable(3));
    columns.push(Column::number("p90"));
    columns.push(Column::number("bias").droppable(2));
    columns.push(Column::number("in 80 %"));
    columns.push(Column::number("in 90 %"));
    Table::new(columns)
}

/// The cells of a score, balanced by configuration.
fn score_cells(row: &ErrorScore, c: &ErrorScore) -> [String; 8] {
    [
        c.n.to_string(),
        row.n.to_string(),
        percent(c.median_abs_error),
        percent(c.mean_abs_error),
        percent(c.p90_abs_error),
        signed(c.bias),
        percent(c.coverage_80),
        percent(c.coverage_90),
    ]
}

/// What README shows: the metrics and the subsets that have a bar of their own.
fn accuracy(v: &Validation) -> Table {
    let mut table = score_columns(&["what"]);
    let mut add = |name: &str, metric: MeasuredMetric, keep: &dyn Fn(&Row) -> bool| {
        if let Some([row, c]) = v.score(metric, keep) {
            table.row(std::iter::once(name.to_owned()).chain(score_cells(&row, &c)));
        }
    };
    let mlx = |r: &Row| !["llama.cpp", "ollama", "lmstudio-gguf"].contains(&r.engine);
    let small = |r: &Row| ["below 1 GB", "1 to 3 GB"].contains(&r.size_class);
    let matrix = |r: &Row| r.chip.starts_with("m5");
    add("decode, MLX", MeasuredMetric::Decode, &mlx);
    add("decode, MLX, models of 3 GB and more", MeasuredMetric::Decode, &|r| mlx(r) && !small(r));
    add("decode, mlx-lm alone", MeasuredMetric::Decode, &|r| r.engine == "mlx-lm");
    add("decode, llama.cpp", MeasuredMetric::Decode, &|r| r.engine == "llama.cpp");
    add("decode, Ollama", MeasuredMetric::Decode, &|r| r.engine == "ollama");
    add("decode, LM Studio (GGUF)", MeasuredMetric::Decode, &|r| r.engine == "lmstudio-gguf");
    add("prefill, MLX, before M5", MeasuredMetric::Prefill, &|r| !matrix(r));
    add("prefill, MLX, M5", MeasuredMetric::Prefill, &matrix);
    add("peak memory, mlx-lm", MeasuredMetric::PeakMemory, &|r| r.engine == "mlx-lm");
    add("peak memory, other programs on MLX", MeasuredMetric::PeakMemory, &|r| {
        r.engine != "mlx-lm"
    });
    add("several users", MeasuredMetric::Users, &|_| true);
    add("decode, several Macs", MeasuredMetric::ClusterDecode, &|_| true);
    add("prefill, several Macs", MeasuredMetric::ClusterPrefill, &|_| true);
    add("fine-tuning, peak memory", MeasuredMetric::TrainingPeak, &|_| true);
    add("fine-tuning, speed", MeasuredMetric::TrainingSpeed, &|_| true);
    table
}

fn groups(v: &Validation, metric: MeasuredMetric) -> Table {
    let mut table = score_columns(&["group", "value"]);
    // Versions move peaks; speeds of one version are few.
    let versions = metric == MeasuredMetric::PeakMemory;
    for grouping in GROUPINGS.into_iter().filter(|g| versions || *g != "engine_version") {
        for (name, [row, c]) in v.groups(metric, grouping) {
            let first = [grouping.replace('_', " "), name];
            table.row(first.into_iter().chain(score_cells(&row, &c)));
        }
    }
    table
}

fn baselines(v: &Validation) -> Table {
    let mut table = Table::new(vec![
        Column::text("predictor"),
        Column::number("median"),
        Column::number("mean"),
        Column::number("p90"),
    ]);
    let cells = |name: &str, c: &ErrorScore| {
        [
            name.to_owned(),
            percent(c.median_abs_error),
            percent(c.mean_abs_error),
            percent(c.p90_abs_error),
        ]
    };
    let gguf = ["llama.cpp", "ollama", "lmstudio-gguf"];
    if let Some([_, own]) = v.score(MeasuredMetric::Decode, |r| !gguf.contains(&r.engine)) {
        table.row(cells("mlxplan", &own));
    }
    for (name, c, _) in &v.baselines {
        table.row(cells(name, c));
    }
    table
}

fn worst_table(metric: MeasuredMetric, rows: &[&Row]) -> Table {
    let mut table = Table::new(vec![
        Column::text("row"),
        Column::text("engine").droppable(2),
        Column::text("chip"),
        Column::text("model"),
        Column::number("measured"),
        Column::number("predicted"),
        Column::number("error"),
        Column::text("guess at the cause").droppable(1),
    ]);
    let value = |x: f64| match metric {
        MeasuredMetric::PeakMemory | MeasuredMetric::TrainingPeak => format!("{:.2} GB", x / 1e9),
        _ => format!("{x:.1} tok/s"),
    };
    for r in rows {
        table.row([
            r.id.clone(),
            r.engine.to_owned(),
            r.chip.clone(),
            r.model.clone(),
            value(r.measured),
            value(r.predicted),
            signed(r.error),
            r.cause.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn skipped(v: &Validation) -> Table {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    v.skipped.iter().for_each(|(_, reason)| *reasons.entry(reason).or_default() += 1);
    let mut counted: Vec<(&str, usize)> = reasons.into_iter().collect();
    counted.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
    let mut table = Table::new(vec![Column::number("rows"), Column::text("reason")]);
    for (reason, n) in counted {
        table.row([n.to_string(), reason.to_owned()]);
    }
    table
}
