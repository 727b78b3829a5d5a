//! Published rates of several Macs against predicted ones, and whether it is rightly said that they are faster or slower
//! than one.
//!
//! A row that gives the rate of one Mac is scored by its speed-up too: what one Mac does is then no part of the error.

use super::beyond::{BeyondRow, Topic};
use super::evaluate::Tools;
use super::join;
use crate::estimate::cluster::Ratio;
use crate::estimate::{Cluster, ClusterFigures, Estimator, Parallelism, Run};
use crate::graph::Graph;
use crate::hardware::Macs;
use crate::hardware::machine::Machine;
use crate::model::{DType, NamedFormat, Scheme};
use crate::roofline::links::Link;
use crate::run::{ModelFile, Program};
use crate::stats::weighted_quantile;
use schemars::JsonSchema;
use serde::Serialize;

/// Memory of a Mac where the row does not say: speeds hardly hang on it.
const UNSTATED_MEMORY: u64 = 128;
/// Tokens generated where it does not say.
const UNSTATED_OUTPUT: u32 = 128;
/// Tokens of a prompt where it does not say.
const UNSTATED_PROMPT: u32 = 128;
/// Most Macs of a row.
const MOST_NODES: u32 = 64;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClusterMetric {
    /// Generated tokens per second.
    ClusterDecode,
    /// Prompt tokens per second.
    ClusterPrefill,
}

/// A row with its prediction.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ClusterScored {
    /// The row.
    pub id: String,
    /// What was measured.
    pub metric: ClusterMetric,
    /// How many Macs.
    pub nodes: u32,
    /// How the model was divided.
    pub parallelism: Parallelism,
    /// What joined the Macs.
    pub link: Link,
    /// Measured tokens per second.
    pub measured: f64,
    /// Predicted ones.
    pub predicted: f64,
    /// Interval that holds 90 % of measurements.
    pub interval_90: [f64; 2],
    /// Predicted over measured, less 1.
    pub error: f64,
    /// Measured rate over that of one Mac, where the row gives it.
    pub measured_speedup: Option<f64>,
    /// The same as predicted.
    pub predicted_speedup: Ratio,
}

/// How good predictions for several Macs are.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct ClusterScore {
    /// Rows.
    pub n: usize,
    /// Median of the absolute error of the rate.
    pub median_abs_error: f64,
    /// 90th percentile of it.
    pub p90_abs_error: f64,
    /// Median of the signed error.
    pub bias: f64,
    /// Fraction inside the 90 % interval.
    pub coverage_90: f64,
    /// Rows that say what one Mac does.
    pub n_against_one: usize,
    /// Fraction of these of which it is rightly said whether they are faster or slower than one; `null` for none.
    pub direction_right: Option<f64>,
}

/// Published rates of several Macs against predicted ones.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
pub struct ClusterScores {
    /// Of all rows; `null` for none.
    pub all: Option<ClusterScore>,
    /// The rows.
    pub rows: Vec<ClusterScored>,
    /// Rows without a prediction, with the reason.
    pub skipped: Vec<(String, String)>,
}

impl ClusterScores {
    /// Predicts the rows of several Macs.
    #[must_use]
    pub fn of(rows: &[BeyondRow], tools: &Tools<'_>) -> Self {
        let mut scores = Self::default();
        for row in rows.iter().filter(|r| r.topic == Topic::Distributed) {
            match predicted(row, tools) {
                Ok(found) => scores.rows.extend(found),
                Err(reason) => scores.skipped.push((row.id.clone(), reason)),
            }
        }
        scores.all = ClusterScore::of(&scores.rows);
        scores
    }
}

impl ClusterScore {
    /// Every row counts once; `None` for no rows.
    fn of(rows: &[ClusterScored]) -> Option<Self> {
        if rows.is_empty() {
            return None;
        }
        let quantile = |value: &dyn Fn(&ClusterScored) -> f64, q| {
            let sample: Vec<(f64, f64)> = rows.iter().map(|r| (value(r), 1.0)).collect();
            weighted_quantile(&sample, q)
        };
        let inside =
            |r: &&ClusterScored| (r.interval_90[0]..=r.interval_90[1]).contains(&r.measured);
        let against: Vec<(f64, f64)> = rows
            .iter()
            .filter_map(|r| Some((r.predicted_speedup.value, r.measured_speedup?)))
            .collect();
        let right = against.iter().filter(|(p, m)| (*p > 1.0) == (*m > 1.0)).count();
        Some(Self {
            n: rows.len(),
            median_abs_error: quantile(&|r| r.error.abs(), 0.5),
            p90_abs_error: quantile(&|r| r.error.abs(), 0.9),
            bias: quantile(&|r| r.error, 0.5),
            coverage_90: rows.iter().filter(inside).count() as f64 / rows.len() as f64,
            n_against_one: against.len(),
            direction_right: (!against.is_empty()).then(|| right as f64 / against.len() as f64),
        })
    }
}

/// The predictions of a row: decode, prefill, or both.
fn predicted(row: &BeyondRow, tools: &Tools<'_>) -> Result<Vec<ClusterScored>, String> {
    let nodes: u32 = row.nodes.trim().parse().map_err(|_| "number of Macs not stated")?;
    if !(2..=MOST_NODES).contains(&nodes) {
        return Err(format!("{nodes} Macs"));
    }
    let parallelism = match row.parallelism.as_str() {
        "tensor" => Parallelism::Tensor,
        "pipeline" => Parallelism::Pipeline,
        other => return Err(format!("how the model was divided: '{other}'")),
    };
    if row.batch.or(row.concurrency).is_some_and(|batch| batch > 1) {
        return Err("several sequences at once".to_owned());
    }
    let link = link(row)?;
    let machines = machines(row, nodes, tools)?;
    let graph = graph(row, tools)?;
    let estimator = Estimator::of_graph(tools.coefficients, &graph, run(row));
    let cluster = Cluster::new(machines, link);
    let figures = estimator.on_cluster(&cluster, parallelism).map_err(|e| e.to_string())?;
    let scored =
        |metric, measured| scored(row, &cluster, parallelism, &figures, (metric, measured));
    let decode = row.decode_tok_s.map(|measured| scored(ClusterMetric::ClusterDecode, measured));
    let prefill = row.prefill_tok_s.map(|measured| scored(ClusterMetric::ClusterPrefill, measured));
    let all: Vec<ClusterScored> = decode.into_iter().chain(prefill).collect();
    if all.is_empty() { Err("no rate".to_owned()) } else { Ok(all) }
}

fn scored(
    row: &BeyondRow,
    cluster: &Cluster,
    parallelism: Parallelism,
    figures: &ClusterFigures,
    (metric, measured): (ClusterMetric, f64),
) -> ClusterScored {
    let is_decode = metric == ClusterMetric::ClusterDecode;
    let (predicted, interval_90, predicted_speedup) = if is_decode {
        let d = &figures.decode;
        (d.tokens_per_s, d.interval_90, figures.decode_speedup)
    } else {
        let p = &figures.prefill;
        (p.tokens_per_s, p.interval_90, figures.prefill_speedup)
    };
    // Baselines are those of decode.
    let against = || Some(measured / row.baseline_tok_s?);
    let measured_speedup = is_decode.then(|| against().or(row.speedup)).flatten();
    ClusterScored {
        id: row.id.clone(),
        metric,
        nodes: cluster.nodes(),
        parallelism,
        link: cluster.link(),
        measured,
        predicted,
        interval_90,
        error: predicted / measured - 1.0,
        measured_speedup,
        predicted_speedup,
    }
}

/// The link of a row: what it says, by the words of those who publish.
fn link(row: &BeyondRow) -> Result<Link, String> {
    let said = format!("{} {}", row.link, row.notes).to_lowercase();
    let link = row.link.to_lowercase();
    if link.contains("wi-fi") || link.contains("wifi") {
        return Err("Wi-Fi is not modeled".to_owned());
    }
    if ["jaccl", "rdma", "fast"].iter().any(|word| link.contains(word)) {
        let fast = said.contains("fast_synch") || link.contains("fast");
        return Ok(if fast { Link::Fast } else { Link::Jaccl });
    }
    if ["ring", "tcp", "thunderbolt", "ethernet"].iter().any(|word| link.contains(word)) {
        return Ok(Link::Ring);
    }
    Err("link not stated".to_owned())
}

/// The machines of a row: of its bin, or of the chips that it names, joined by `+`, each the largest bin.
fn machines(row: &BeyondRow, nodes: u32, tools: &Tools<'_>) -> Result<Vec<Machine>, String> {
    let memory = row.memory_gib.unwrap_or(UNSTATED_MEMORY);
    let chips = tools.hardware.chips().map_err(|e| e.to_string())?;
    let limits = tools.hardware.limits().map_err(|e| e.to_string())?;
    let bin = |id: &str| {
        let chip = chips.iter().find(|chip| chip.id == id);
        chip.map(|chip| Machine::from_chip(chip, memory, limits))
    };
    let known = row.chips();
    if let Some(id) = known.last() {
        let machine = bin(id).ok_or_else(|| format!("chip '{id}'"))?;
        return Ok(vec![machine; nodes as usize]);
    }
    let named: Vec<Machine> = row
        .chip
        .split('+')
        .map(|name| {
            largest_bin(name, memory, tools.hardware).ok_or_else(|| format!("chip '{name}'"))
        })
        .collect::<Result<_, String>>()?;
    match named.len() as u32 {
        1 => Ok(vec![named[0].clone(); nodes as usize]),
        n if n == nodes => Ok(named),
        n => Err(format!("{n} chips for {nodes} Macs")),
    }
}

/// The largest bin of a chip as people write it: `M3 Ultra`, `M5 Max x 2`.
fn largest_bin(name: &str, memory: u64, hardware: &Macs) -> Option<Machine> {
    let name = name.split(" x ").next().unwrap_or(name).trim();
    let chips = hardware.chips().ok()?;
    let brand = format!("Apple {name}");
    let of_brand = chips.iter().filter(|chip| chip.brand_string == brand);
    let chip = of_brand.max_by_key(|chip| chip.gpu_cores)?;
    Some(Machine::from_chip(chip, memory, hardware.limits().ok()?))
}

fn graph(row: &BeyondRow, tools: &Tools<'_>) -> Result<Graph, String> {
    let id = &row.model_id;
    if id.is_empty() {
        return Err(format!("the model is not said exactly: '{}'", row.model_published));
    }
    let model = tools.models.get(id).ok_or_else(|| format!("'{id}' is not in the catalogue"))?;
    let entry = model.entry().map_err(|e| e.to_string())?;
    let format = join::weights(&row.quant).ok_or_else(|| format!("format '{}'", row.quant))?;
    let scheme = match format {
        NamedFormat::Mlx(scheme) => scheme,
        NamedFormat::Gguf(_) => Scheme::Float(DType::BF16),
    };
    Graph::quantised(&entry.config, scheme).map_err(|e| e.to_string())
}

/// The run: programs that divide as mlx-lm does are taken as it.
fn run(row: &BeyondRow) -> Run {
    let program = match row.server.split_whitespace().next() {
        Some("exo") => Program::Exo,
        _ => Program::MlxLm,
    };
    let context = row.context_tokens.or(row.prompt_tokens).unwrap_or(UNSTATED_PROMPT);
    Run::default()
        .with_program(program)
        .with_file(ModelFile::default())
        .with_context(context.max(1))
        .with_generated(row.gen_tokens.unwrap_or(UNSTATED_OUTPUT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::catalogue::Models;
    use crate::roofline::Coefficients;
    use crate::validation::beyond::{SHIPPED_BEYOND, read_beyond};

    #[test]
    fn the_shipped_rows_are_scored_or_skipped_with_a_reason() {
        let (models, hardware) = (Models::built_in().expect("built in"), Macs::embedded());
        let coefficients = Coefficients::embedded().expect("built in");
        let tools = Tools { models: &models, hardware: &hardware, coefficients };
        let rows = read_beyond("beyond.csv", SHIPPED_BEYOND).expect("readable");
        let scores = ClusterScores::of(&rows, &tools);
        let judged = scores.rows.len() + scores.skipped.len();
        assert!(judged >= 12, "{judged}");
        let all = scores.all.expect("some rows are scored");
        assert!(all.n >= 4, "{all:?} {:?}", scores.skipped);
        assert!(all.median_abs_error < 0.3, "{all:?} {:#?}", scores.rows);
        assert!(all.direction_right.is_some_and(|right| right >= 0.75), "{all:?}");
    }
}
