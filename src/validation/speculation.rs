//! Published speed-ups of drafts against predicted ones, where the tokens of a round are known: acceptance decides and
//! cannot be predicted, so what is judged is what a round costs.

use super::beyond::{BeyondColumns, BeyondRow, Topic};
use super::evaluate::Tools;
use super::join;
use super::measurement::Measurement;
use crate::estimate::speculation::{DraftWork, band_of};
use crate::estimate::{Estimator, Run};
use crate::graph::Graph;
use crate::model::drafts::heads;
use crate::model::names::{NameSpec, Resolution, Resolver};
use crate::model::{NamedFormat, Scheme};
use crate::roofline::Silicon;
use crate::roofline::speculation::{acceptance_of_share, tokens_per_round};
use crate::run::{Drafter, MlxRelease, ModelFile, Program, Version};
use crate::stats::weighted_quantile;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Who drafted in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DraftKind {
    /// A smaller model.
    Model,
    /// The model's own prediction heads.
    Heads,
    /// A drafter that was made for the model and drafts a block at once.
    Block,
}

impl DraftKind {
    /// The kind in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "draft models",
            Self::Heads => "prediction heads",
            Self::Block => "block drafters",
        }
    }
}

/// A row with its prediction.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct SpeedupRow {
    /// The row.
    pub id: String,
    /// Who drafted.
    pub kind: DraftKind,
    /// Tokens a round, as published.
    pub tokens_per_round: f64,
    /// Published speed-up.
    pub measured: f64,
    /// Predicted speed-up.
    pub predicted: f64,
    /// Interval that holds 90 % of measurements.
    pub interval_90: [f64; 2],
    /// Predicted over measured, less 1.
    pub error: f64,
}

/// How good predicted speed-ups are.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct SpeedupScore {
    /// Rows.
    pub n: usize,
    /// Median of the absolute error.
    pub median_abs_error: f64,
    /// 90th percentile of the absolute error.
    pub p90_abs_error: f64,
    /// Median of the signed error.
    pub bias: f64,
    /// Fraction inside the 90 % interval.
    pub coverage_90: f64,
    /// Fraction of which it is rightly said whether they are faster or slower than without drafts.
    pub direction_right: f64,
}

/// Published speed-ups against predicted ones.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
pub struct SpeculationScores {
    /// Of all rows; `null` for none.
    pub all: Option<SpeedupScore>,
    /// By who drafted.
    pub kinds: BTreeMap<&'static str, SpeedupScore>,
    /// The rows.
    pub rows: Vec<SpeedupRow>,
    /// Rows without a prediction, with the reason.
    pub skipped: Vec<(String, String)>,
}

impl SpeculationScores {
    /// Predicts the rows about drafts.
    #[must_use]
    pub fn of(rows: &[BeyondRow], tools: &Tools<'_>) -> Self {
        let mut scores = Self::default();
        let about = |r: &&BeyondRow| matches!(r.beyond.topic, Topic::Speculative | Topic::Mtp);
        for row in rows.iter().filter(about) {
            match predicted(row, tools) {
                Ok(found) => scores.rows.push(found),
                Err(reason) => scores.skipped.push((row.measured.id.clone(), reason)),
            }
        }
        let all: Vec<&SpeedupRow> = scores.rows.iter().collect();
        scores.all = SpeedupScore::of(&all);
        for kind in [DraftKind::Model, DraftKind::Heads, DraftKind::Block] {
            let of_kind: Vec<&SpeedupRow> = scores.rows.iter().filter(|r| r.kind == kind).collect();
            scores.kinds.extend(SpeedupScore::of(&of_kind).map(|score| (kind.name(), score)));
        }
        scores
    }
}

impl SpeedupScore {
    /// Every row counts once; `None` for no rows.
    fn of(rows: &[&SpeedupRow]) -> Option<Self> {
        if rows.is_empty() {
            return None;
        }
        let quantile = |value: &dyn Fn(&SpeedupRow) -> f64, q| {
            let sample: Vec<(f64, f64)> = rows.iter().map(|r| (value(r), 1.0)).collect();
            weighted_quantile(&sample, q)
        };
        let share = |holds: &dyn Fn(&SpeedupRow) -> bool| {
            rows.iter().filter(|r| holds(r)).count() as f64 / rows.len() as f64
        };
        Some(Self {
            n: rows.len(),
            median_abs_error: quantile(&|r| r.error.abs(), 0.5),
            p90_abs_error: quantile(&|r| r.error.abs(), 0.9),
            bias: quantile(&|r| r.error, 0.5),
            coverage_90: share(&|r| (r.interval_90[0]..=r.interval_90[1]).contains(&r.measured)),
            direction_right: share(&|r| (r.predicted > 1.0) == (r.measured > 1.0)),
        })
    }
}

fn predicted(row: &BeyondRow, tools: &Tools<'_>) -> Result<SpeedupRow, String> {
    let BeyondRow { measured: m, beyond } = row;
    if m.batch > 1 {
        return Err(format!("batch {}", m.batch));
    }
    let quotient = || Some(m.decode_tok_s? / beyond.baseline_tok_s?);
    let measured = beyond.speedup.or_else(quotient).ok_or("no speed-up")?;
    let drafts: u32 =
        beyond.draft_tokens.trim().parse().map_err(|_| "drafts a round not stated")?;
    if drafts == 0 {
        return Err("no drafts".to_owned());
    }
    // Published acceptances are shares of the drafts that were used.
    let from_share =
        || Some(tokens_per_round(acceptance_of_share(beyond.acceptance?, drafts), drafts));
    let tokens = beyond.tokens_per_round.or_else(from_share).ok_or("tokens a round not stated")?;
    let silicon = silicon(m, tools)?;
    let format = format_of(&m.quant).ok_or_else(|| format!("format '{}'", m.quant))?;
    let main = Model::named(&m.model_id, format, tools)?;
    let kind = kind(beyond, &main);
    let run = main.run(m);
    let estimator = Estimator::of_graph(tools.coefficients, &main.graph, run);
    let draft = match kind {
        DraftKind::Model => Some(Model::drafting(&beyond.draft_model, format, tools)?),
        DraftKind::Heads | DraftKind::Block => None,
    };
    let drafter =
        draft.as_ref().map(|d| Estimator::of_graph(tools.coefficients, &d.graph, d.run(m)));
    let work = match (&drafter, kind) {
        (Some(drafter), _) => DraftWork::Model(drafter),
        (None, DraftKind::Block) => DraftWork::Block(drafts),
        (None, _) => DraftWork::Heads,
    };
    let each = silicon.iter().map(|target| {
        let times = estimator.round_times(&work, target, drafts).map_err(|e| e.to_string())?;
        times.speedup_of(tokens, drafts).ok_or_else(|| "too many drafts".to_owned())
    });
    let each: Vec<f64> = each.collect::<Result<_, String>>()?;
    let predicted = each.iter().sum::<f64>() / each.len() as f64;
    let by = if kind == DraftKind::Model { Drafter::Model } else { Drafter::Heads };
    let [low, high] = band_of(run.engine.program, by, &main.graph);
    let ends = [
        low * each.iter().copied().fold(f64::INFINITY, f64::min),
        high * each.iter().copied().fold(0.0, f64::max),
    ];
    Ok(SpeedupRow {
        id: m.id.clone(),
        kind,
        tokens_per_round: tokens,
        measured,
        predicted,
        interval_90: ends,
        error: predicted / measured - 1.0,
    })
}

/// The GPUs that a row may be of.
fn silicon(row: &Measurement, tools: &Tools<'_>) -> Result<Vec<Silicon>, String> {
    let chips = tools.hardware.chips().map_err(|e| e.to_string())?;
    if row.chips.is_empty() {
        return Err("chip not stated".to_owned());
    }
    let find = |id: &String| {
        let chip = chips.iter().find(|chip| chip.id == *id);
        chip.map(|chip| Silicon::of_chip(chip, row.memory_gib))
            .ok_or_else(|| format!("chip '{id}'"))
    };
    row.chips.iter().map(find).collect()
}

/// A format of the rows; mixtures of about so many bits are taken as such.
fn format_of(quant: &str) -> Option<NamedFormat> {
    let mixed = || {
        let bits = quant.strip_prefix("mixed-")?.parse::<f64>().ok()?.round();
        format!("{bits}bit").parse().ok()
    };
    join::weights(quant).or_else(mixed)
}

/// Who drafts: a draft model where the row names one of the catalog, the model's own heads where it says so, else a
/// drafter made for the model, which drafts a block at once.
fn kind(row: &BeyondColumns, main: &Model) -> DraftKind {
    let name = row.draft_model.to_lowercase();
    let block = ["dflash", "dspark", "eagle"].iter().any(|word| name.contains(word));
    if block {
        DraftKind::Block
    } else if row.topic == Topic::Mtp || name.contains("mtp") || main.heads {
        DraftKind::Heads
    } else {
        DraftKind::Model
    }
}

/// A model of a row.
struct Model {
    graph: Graph,
    format: NamedFormat,
    heads: bool,
}

impl Model {
    fn named(id: &str, format: NamedFormat, tools: &Tools<'_>) -> Result<Self, String> {
        let (entry, graph) = join::graph_of(tools.models, id, format)?;
        let packed =
            matches!(format, NamedFormat::Mlx(scheme) if !matches!(scheme, Scheme::Float(_)));
        let half = packed && entry.hub_conversions_are_fp16();
        let graph = graph.with_fp16_activations(half.then_some(true));
        let heads = heads(Some(&entry.config), id).is_some();
        Ok(Self { graph, format, heads })
    }

    /// A draft model by the name that was published, in the format of its model where it has none.
    fn drafting(name: &str, format: NamedFormat, tools: &Tools<'_>) -> Result<Self, String> {
        let spec = NameSpec::parse(name);
        let found = Resolver::new(tools.models).resolve(&spec, None);
        match found {
            Ok(Resolution::One(found)) => {
                let format = found.scheme.map_or(format, NamedFormat::Mlx);
                Self::named(&found.model.id, format, tools)
            }
            _ => Err(format!("draft model '{name}'")),
        }
    }

    fn run(&self, row: &Measurement) -> Run {
        let (program, file) = match self.format {
            NamedFormat::Gguf(mix) => {
                (Program::LlamaCpp, ModelFile { gguf: Some(mix), ..ModelFile::default() })
            }
            // MTPLX has kernels of its own; other programs run MLX's.
            NamedFormat::Mlx(_) if row.server.eq_ignore_ascii_case(Program::Mtplx.name()) => {
                (Program::Mtplx, ModelFile::default())
            }
            NamedFormat::Mlx(_) => (Program::MlxLm, ModelFile::default()),
        };
        let run = Run::default()
            .with_program(program)
            .with_file(file)
            .with_context(row.context_tokens.or(row.prompt_tokens).unwrap_or(UNSTATED).max(1))
            .with_generated(row.gen_tokens.unwrap_or(UNSTATED).max(1));
        match row.mlx_version.parse::<Version>() {
            Ok(mlx) => {
                let engine = crate::run::EngineSetup { mlx: MlxRelease::known(mlx), ..run.engine };
                run.with_engine(engine)
            }
            Err(_) => run,
        }
    }
}

/// Tokens where a row does not say.
const UNSTATED: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir::DataDirs;
    use crate::hardware::Macs;
    use crate::model::catalog::Models;
    use crate::roofline::Coefficients;
    use crate::validation::beyond::{SHIPPED_BEYOND, read_beyond};

    /// The bars of shipped rows: the law was chosen on them, so they are a floor, not a test of it.
    #[test]
    fn shipped_speed_ups_are_predicted() {
        let models = Models::built_in().unwrap();
        let hardware = Macs::new(DataDirs::default());
        let coefficients = Coefficients::embedded().unwrap();
        let tools = Tools { models: &models, hardware: &hardware, coefficients };
        let rows = read_beyond("beyond.csv", SHIPPED_BEYOND).unwrap();
        let scores = SpeculationScores::of(&rows, &tools);
        for r in &scores.rows {
            println!(
                "{} {:?} {:.2} {:.2} {:+.0}%",
                r.id,
                r.kind,
                r.measured,
                r.predicted,
                100.0 * r.error
            );
        }
        println!("{:?} {:?}", scores.all, scores.kinds);
        let all = scores.all.unwrap();
        assert!(all.n >= 35, "{all:?}");
        assert!(all.direction_right >= 0.9, "{all:?}");
        assert!(all.median_abs_error <= 0.12, "{all:?}");
        assert!(all.coverage_90 >= 0.8, "{all:?}");
    }
}
