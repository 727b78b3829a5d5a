//! Published fine-tuning runs (`data/training.csv`, whose columns `data/measurements.README.md` documents) against predicted
//! peaks and speeds.

use super::engine::stated_release;
use super::evaluate::{MeasuredMetric, Row, Tools, Validation, context_class, size_class};
use super::join::{graph_of, weights};
use super::measurement::{Trust, column_name};
use crate::engine::programs::{AskedEngine, Engines};
use crate::estimate::training::{OF_80, peak_interval, peaks};
use crate::estimate::{Estimator, TrainingEstimate};
use crate::graph::Graph;
use crate::graph::training::{FineTuneType, FineTuning, Optimizer, TrainingPlan, adaptable_paths};
use crate::hardware::machine::Machine;
use crate::hardware::spec;
use crate::ledger::replay::{ArchClass, Gpu};
use crate::model::NamedFormat;
use crate::run::{EngineName, EngineSetup, Program, Run, Version};
use serde::Deserialize;
use std::collections::HashMap;

/// The rows that ship.
pub const SHIPPED_TRAINING: &str = include_str!("../../data/training.csv");

/// A published run. Absent figures are `None`, absent words are empty.
#[derive(Clone, Debug, Deserialize)]
pub struct TrainingRow {
    /// Key.
    pub id: String,
    /// Rows of one origin.
    pub group: String,
    /// Id in the catalog.
    pub model_id: String,
    /// The model as published.
    pub model_published: String,
    /// Format of the base.
    pub quant: String,
    /// What was trained.
    pub fine_tune_type: FineTuneType,
    /// Rank of the adapters.
    pub rank: Option<u32>,
    /// Blocks that were trained.
    pub num_layers: Option<u32>,
    /// Matrices with adapters: `all`, or the last parts of their paths.
    pub keys: String,
    /// Millions of parameters that were trained.
    pub trainable_m: Option<f64>,
    /// The optimizer; empty for the default.
    pub optimizer: String,
    /// Share of activations that adapters drop.
    pub dropout: Option<f64>,
    /// Samples in a batch.
    pub batch: Option<u32>,
    /// Tokens of each sequence in the largest batch.
    pub seq_tokens: Option<u32>,
    /// Where they come from.
    pub shape: String,
    /// Tokens that count in the loss, per iteration.
    pub tokens_per_iter: Option<f64>,
    /// `yes` with checkpointing.
    pub grad_checkpoint: String,
    /// Batches of an update.
    pub grad_accumulation: Option<u32>,
    /// The chip; `A|B` for one of them.
    pub chip: String,
    /// Memory in GiB; `A|B` for one of them.
    pub memory_gib: String,
    /// Versions and date, as published.
    pub mlx_version: String,
    /// Version of mlx-lm.
    pub mlx_lm_version: String,
    /// Year, and month where it is known.
    pub date: String,
    /// Iterations per second.
    pub it_per_s: Option<f64>,
    /// Tokens in the loss per second.
    pub tok_per_s: Option<f64>,
    /// `mx.get_peak_memory()` in 10^9 bytes.
    pub peak_gb: Option<f64>,
    /// How far the row is trusted.
    pub confidence: Trust,
}

/// A file of fine-tuning runs that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {source}; the file needs the columns of data/training.csv")]
pub struct TrainingRowsError {
    file: String,
    source: csv::Error,
}

/// Whether a file has fine-tuning runs: only those say what was trained.
#[must_use]
pub fn is_training(text: &str) -> bool {
    let headings = text.lines().next().unwrap_or_default();
    headings.split(',').any(|heading| heading.trim_matches('"') == "fine_tune_type")
}

/// Reads published runs from the text of a file with this name.
///
/// # Errors
/// A column is missing or a field is no number.
pub fn read_training(file: &str, text: &str) -> Result<Vec<TrainingRow>, TrainingRowsError> {
    let rows: Result<Vec<_>, _> = csv::Reader::from_reader(text.as_bytes()).deserialize().collect();
    rows.map_err(|source| TrainingRowsError { file: file.to_owned(), source })
}

/// Before it peaks follow other rules: work that waits for the GPU had other limits.
const REPLAYED_SINCE: Version = Version::new(0, 25, 0);
/// Batches are padded to a multiple of so many tokens: shorter samples than one all have the same length.
const PADDING: u32 = 32;
/// Memory of a machine in GiB where it is not stated; it decides neither figure.
const UNSTATED_MEMORY: u64 = 64;
/// How far published millions of trained parameters, which are rounded, may lie off.
const ROUNDED: f64 = 0.000_6;

impl Validation {
    /// The same with fine-tuning runs predicted.
    #[must_use]
    pub fn with_training(mut self, rows: &[TrainingRow], tools: &Tools<'_>) -> Self {
        let mut graphs = HashMap::new();
        for row in rows {
            match judged(row, tools, &mut graphs) {
                Ok(found) => self.rows.extend(found),
                Err(reason) => self.skipped.push((row.id.clone(), reason)),
            }
        }
        self
    }
}

/// Models in their formats, by both.
type Graphs = HashMap<(String, NamedFormat), Result<Graph, String>>;

/// The predictions of a row: peak, speed, or both.
fn judged(row: &TrainingRow, tools: &Tools<'_>, graphs: &mut Graphs) -> Result<Vec<Row>, String> {
    if row.confidence == Trust::Low {
        return Err("low confidence".to_owned());
    }
    if row.peak_gb.is_none() && row.it_per_s.is_none() {
        return Err("neither a peak nor iterations per second".to_owned());
    }
    let engine = engine(row, Part::Middle).filter(|engine| engine.mlx.taken >= REPLAYED_SINCE);
    let engine =
        engine.ok_or_else(|| format!("MLX before {REPLAYED_SINCE}: peaks followed other rules"))?;
    let tokens = tokens(row)?;
    if row.model_id.is_empty() {
        return Err("no model_id: the model is not in the catalog or ambiguous".to_owned());
    }
    let format = weights(&row.quant.replace('_', "-"));
    let format = format.ok_or_else(|| format!("the format \"{}\" of the base", row.quant))?;
    let graph = graphs
        .entry((row.model_id.clone(), format))
        .or_insert_with(|| graph_of(tools.models, &row.model_id, format).map(|(_, graph)| graph));
    let graph = graph.as_ref().map_err(Clone::clone)?;
    let options = options(row, graph, tokens)?;
    let run = Run::default().with_engine(engine);
    let estimator = Estimator::of_graph(tools.coefficients, graph, run);
    let found = match machine(row, tools)? {
        Some(machine) => {
            let found = estimator.fine_tuning(&machine, &options).map_err(|e| e.to_string())?;
            Predicted::on(row, &machine, &found)
        }
        None => Predicted::somewhere(row, &estimator, &options)?,
    };
    let rows: Vec<Row> = found.rows(row, &estimator, &options);
    if rows.is_empty() { Err("a speed without a chip".to_owned()) } else { Ok(rows) }
}

/// Tokens of each sequence in the largest batch.
fn tokens(row: &TrainingRow) -> Result<u32, String> {
    let known = row.seq_tokens.filter(|&tokens| match row.shape.as_str() {
        "exact" | "cap" | "constant" => true,
        "bound" => tokens <= PADDING,
        _ => false,
    });
    known.ok_or_else(|| {
        let reason = match row.shape.as_str() {
            "bound" => "only an upper limit of the lengths is known",
            "average" => "only the mean length is known, which bounds the peak from below",
            _ => "the lengths are not stated",
        };
        reason.to_owned()
    })
}

/// A part of the time in which a row was published.
#[derive(Clone, Copy)]
enum Part {
    Begin,
    Middle,
    End,
}

/// mlx-lm as the row has it, or as it was when the row was published: at the end of a month, in the middle of a year. `None`
/// for days before any version that is known.
fn engine(row: &TrainingRow, part: Part) -> Option<EngineSetup> {
    let version: Option<Version> = row.mlx_lm_version.parse().ok();
    let stated: Option<Version> = row.mlx_version.parse().ok();
    let in_year = ["-01-01", "-06-30", "-12-31"];
    let in_month = ["-01", "-31", "-31"];
    let day = match row.date.len() {
        4 => format!("{}{}", row.date, in_year[part as usize]),
        7 => format!("{}{}", row.date, in_month[part as usize]),
        _ => row.date.clone(),
    };
    let by_day = stated.is_none() && version.is_none() && !day.is_empty();
    let mlx = if by_day { Some(Engines::embedded().ok()?.mlx_on(&day)?) } else { stated };
    let engine = Some(EngineName { program: Program::MlxLm, version });
    AskedEngine { engine, mlx, ..AskedEngine::default() }.setup().ok()
}

/// The versions of MLX that a row may have had.
fn versions(row: &TrainingRow) -> Vec<Version> {
    let all = [Part::Begin, Part::Middle, Part::End].into_iter();
    let mut found: Vec<Version> =
        all.filter_map(|part| Some(engine(row, part)?.mlx.taken.max(REPLAYED_SINCE))).collect();
    found.dedup();
    found
}

/// The run, which has to reproduce the published number of trained parameters.
fn options(row: &TrainingRow, graph: &Graph, tokens: u32) -> Result<FineTuning, String> {
    if row.dropout.is_some_and(|share| share > 0.0) {
        return Err("dropout, whose masks are not modeled".to_owned());
    }
    let plain = FineTuning::default();
    let named: Vec<&str> = row.keys.split_whitespace().filter(|&key| key != "all").collect();
    let paths = adaptable_paths(graph.params());
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let keys = paths.into_iter().filter(|path| named.contains(&last(path).as_str())).collect();
    let options = FineTuning {
        kind: row.fine_tune_type,
        optimizer: optimizer(&row.optimizer)?,
        layers: row.num_layers.or(plain.layers),
        rank: row.rank.unwrap_or(plain.rank),
        keys: (!named.is_empty()).then_some(keys),
        checkpoint: row.grad_checkpoint == "yes",
        accumulation: row.grad_accumulation.unwrap_or(1),
        batch: row.batch.ok_or("the batch size is not stated")?,
        tokens,
        ..plain
    };
    let plan = TrainingPlan::new(graph.params(), &options).map_err(|e| e.to_string())?;
    let own = plan.parameters() as f64 / 1e6;
    match row.trainable_m.filter(|published| (published - own).abs() > ROUNDED) {
        Some(published) => {
            Err(format!("the options train {own:.3} M parameters, {published:.3} M are published"))
        }
        None => Ok(options),
    }
}

/// The optimizer of a row, which is the default where it does not say.
fn optimizer(name: &str) -> Result<Optimizer, String> {
    if name.is_empty() {
        return Ok(Optimizer::default());
    }
    let known = Optimizer::ALL.into_iter().find(|o| o.name() == name);
    known.ok_or_else(|| format!("the optimizer '{name}'"))
}

/// The machine with all bins that it may have; `None` where the chip is not stated.
fn machine(row: &TrainingRow, tools: &Tools<'_>) -> Result<Option<Machine>, String> {
    if row.chip.is_empty() || row.chip.contains('|') {
        return Ok(None);
    }
    if row.memory_gib.parse::<u64>().is_ok() {
        let text = format!("{} {}GB", row.chip, row.memory_gib);
        return spec::resolve(&text, tools.hardware).map(Some).map_err(|e| e.to_string());
    }
    let chips = tools.hardware.chips().map_err(|e| e.to_string())?;
    let limits = tools.hardware.limits().map_err(|e| e.to_string())?;
    let named = chips.iter().filter(|c| c.brand_string.ends_with(row.chip.as_str()));
    let bins = named.map(|chip| Machine::from_chip(chip, UNSTATED_MEMORY, limits)).collect();
    Ok(Machine::of_bins(&row.chip, &row.chip, bins))
}

/// A figure with its intervals: predicted, 80 %, 90 %.
type Figure = (f64, [f64; 2], [f64; 2]);

/// What is predicted of a run.
struct Predicted {
    chip: String,
    weights: u64,
    peak: Figure,
    /// Tokens in the loss per second.
    speed: Option<Figure>,
}

impl Predicted {
    fn on(row: &TrainingRow, machine: &Machine, found: &TrainingEstimate) -> Self {
        let [low, high] = found.peak_interval_90.map(|end| end.0 as f64);
        let bin = machine.possible_bins().first().unwrap_or(machine);
        let family = |chip: &str| chip.rsplit_once('-').map_or(chip, |(f, _)| f).to_owned();
        let per_iteration = row.tokens_per_iter.unwrap_or(found.speed.batch_tokens);
        let (rate, inner, outer) = found.speed.tokens_per_s();
        let counted = |rate: f64| rate * per_iteration / found.speed.batch_tokens;
        Self {
            chip: bin.chip.as_deref().map(family).unwrap_or_default(),
            weights: found.ledger.weights_bytes,
            peak: peak_figure(found.ledger.peak_bytes as f64, [low, high]),
            speed: Some((counted(rate), inner.map(counted), outer.map(counted))),
        }
    }

    /// On any GPU before matrix units: peaks differ by how much work may wait, and by version.
    fn somewhere(
        row: &TrainingRow,
        estimator: &Estimator<'_>,
        options: &FineTuning,
    ) -> Result<Self, String> {
        let taken = estimator.run().engine.mlx.taken;
        let classes = [ArchClass::Base, ArchClass::Max, ArchClass::Ultra];
        let of = |mlx: Version, class: ArchClass| {
            let gpu = Gpu { class, mlx, ..Gpu::REFERENCE };
            peaks(estimator.graph(), options, gpu).map_err(|e| format!("{}: {e}", row.id))
        };
        let mut all = Vec::new();
        for mlx in versions(row) {
            for class in classes {
                all.push((mlx, of(mlx, class)?));
            }
        }
        let own = all.iter().filter(|(mlx, _)| *mlx == taken).map(|(_, (l, _))| l.peak_bytes);
        let (least, most) = (own.clone().min().unwrap_or(0), own.max().unwrap_or(0));
        let low = all.iter().map(|(_, (_, low))| *low).min().unwrap_or_default();
        let high = all.iter().map(|(_, (l, _))| l.peak_bytes).max().unwrap_or_default();
        let ends = peak_interval(low, high).map(|end| end.0 as f64);
        Ok(Self {
            chip: String::new(),
            weights: all.first().map_or(0, |(_, (ledger, _))| ledger.weights_bytes),
            peak: peak_figure(least.midpoint(most) as f64, ends),
            speed: None,
        })
    }

    fn rows(&self, row: &TrainingRow, estimator: &Estimator<'_>, o: &FineTuning) -> Vec<Row> {
        let of = |metric, measured: f64, (predicted, interval_80, interval_90): Figure| Row {
            id: row.id.clone(),
            metric,
            measured,
            predicted,
            interval_80,
            interval_90,
            error: predicted / measured - 1.0,
            engine: column_name(Program::MlxLm),
            engine_version: stated_release(
                Program::MlxLm.name(),
                row.mlx_lm_version.parse().ok(),
                row.mlx_version.parse().ok(),
            ),
            chip: self.chip.clone(),
            size_class: size_class(self.weights as f64),
            architecture: estimator.graph().model_type().to_owned(),
            context_class: context_class(o.tokens),
            rate_kind: "training",
            model: format!("{} {}", row.model_published, row.quant),
            configuration: format!(
                "{}|{}|{}|{}|{o:?}",
                row.group, self.chip, row.model_id, row.quant
            ),
            cause: None,
        };
        let peak = row.peak_gb.map(|gb| of(MeasuredMetric::TrainingPeak, gb * 1e9, self.peak));
        let per_iteration = row.tokens_per_iter.unwrap_or(f64::from(o.batch) * f64::from(o.tokens));
        let rate = row.it_per_s.map(|it| it * per_iteration).or(row.tok_per_s);
        let speed = self.speed.zip(rate);
        let speed = speed.map(|(figure, rate)| of(MeasuredMetric::TrainingSpeed, rate, figure));
        peak.into_iter().chain(speed).collect()
    }
}

fn peak_figure(predicted: f64, interval_90: [f64; 2]) -> Figure {
    let inner = interval_90.map(|end| predicted + OF_80 * (end - predicted));
    (predicted, inner, interval_90)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_row_is_read() {
        let rows = read_training("training.csv", SHIPPED_TRAINING).unwrap();
        assert_eq!(rows.len(), 85);
        assert!(is_training(SHIPPED_TRAINING) && !is_training("id,topic\n"));
    }

    #[test]
    fn a_file_without_its_columns_is_refused_with_its_name() {
        let error = read_training("mine.csv", "id,group\nx,g1\n").unwrap_err().to_string();
        assert!(error.starts_with("mine.csv: ") && error.contains("data/training.csv"), "{error}");
    }

    #[test]
    fn mlx_is_that_of_the_day_where_no_version_is_published() {
        let rows = read_training("training.csv", SHIPPED_TRAINING).unwrap();
        let mlx =
            |id: &str| Some(engine(rows.iter().find(|r| r.id == id)?, Part::Middle)?.mlx.taken);
        assert_eq!(mlx("t003"), Some(Version::new(0, 31, 2)));
        assert_eq!(mlx("t029"), None);
        // A month, and a year.
        assert_eq!(mlx("t045"), Some(Version::new(0, 31, 0)));
        assert_eq!(mlx("t094"), Some(Version::new(0, 31, 2)));
    }
}
