//! Published rates of several Macs against predicted ones, and whether it is rightly said that they are faster or slower
//! than one.
//!
//! A row that gives the rate of one Mac is scored by its speed-up too: what one Mac does is then no part of the error.

use super::beyond::{BeyondRow, Topic};
use super::evaluate::{MeasuredMetric, Row, Tools, Validation, context_class, size_class};
use super::join;
use super::measurement::{Measurement, column_name};
use crate::estimate::{Cluster, ClusterFigures, Estimator, Parallelism, Run};
use crate::graph::Graph;
use crate::hardware::Macs;
use crate::hardware::machine::Machine;
use crate::roofline::links::Link;
use crate::run::{ModelFile, Program};

/// Memory of a Mac where the row does not say: speeds hardly hang on it.
const UNSTATED_MEMORY: u64 = 128;
/// Tokens generated where it does not say.
const UNSTATED_OUTPUT: u32 = 128;
/// Tokens of a prompt where it does not say.
const UNSTATED_PROMPT: u32 = 128;
/// Most Macs of a row.
const MOST_NODES: u32 = 64;

/// A row with its prediction.
struct Judged {
    row: Row,
    /// Measured and predicted rate over that of one Mac, where the row gives it.
    against_one: Option<[f64; 2]>,
}

impl Validation {
    /// The same with the rows of several Macs predicted.
    #[must_use]
    pub fn with_clusters(mut self, rows: &[BeyondRow], tools: &Tools<'_>) -> Self {
        for row in rows.iter().filter(|r| r.beyond.topic == Topic::Distributed) {
            self.skipped.retain(|(id, _)| *id != row.measured.id);
            match predicted(row, tools) {
                Ok(found) => found.into_iter().for_each(|judged| self.add_cluster(judged)),
                Err(reason) => self.skipped.push((row.measured.id.clone(), reason)),
            }
        }
        self
    }

    fn add_cluster(&mut self, judged: Judged) {
        if let Some([measured, predicted]) = judged.against_one {
            self.direction.n += 1;
            self.direction.right += usize::from((measured > 1.0) == (predicted > 1.0));
        }
        self.rows.push(judged.row);
    }
}

/// The predictions of a row: decode, prefill, or both.
fn predicted(row: &BeyondRow, tools: &Tools<'_>) -> Result<Vec<Judged>, String> {
    let BeyondRow { measured, beyond } = row;
    let nodes: u32 = beyond.nodes.trim().parse().map_err(|_| "number of Macs not stated")?;
    if !(2..=MOST_NODES).contains(&nodes) {
        return Err(format!("{nodes} Macs"));
    }
    let parallelism = match beyond.parallelism.as_str() {
        "tensor" => Parallelism::Tensor,
        "pipeline" => Parallelism::Pipeline,
        other => return Err(format!("how the model was divided: '{other}'")),
    };
    if measured.batch > 1 {
        return Err("several sequences at once".to_owned());
    }
    let link = link(row)?;
    if measured.server.starts_with("ds4") {
        return Err("ds4 does not run on MLX".to_owned());
    }
    let machines = machines(row, nodes, tools)?;
    let graph = graph(measured, tools)?;
    let estimator = Estimator::of_graph(tools.coefficients, &graph, run(measured));
    let cluster = Cluster::new(machines, link);
    let figures = estimator.on_cluster(&cluster, parallelism).map_err(|e| e.to_string())?;
    let of =
        |metric, rate| judged(row, &estimator, (&cluster, parallelism), &figures, (metric, rate));
    let decode = measured.decode_tok_s.map(|rate| of(MeasuredMetric::ClusterDecode, rate));
    let prefill = measured.prefill_tok_s.map(|rate| of(MeasuredMetric::ClusterPrefill, rate));
    let all: Vec<Judged> = decode.into_iter().chain(prefill).collect();
    if all.is_empty() { Err("no rate".to_owned()) } else { Ok(all) }
}

fn judged(
    row: &BeyondRow,
    estimator: &Estimator<'_>,
    (cluster, parallelism): (&Cluster, Parallelism),
    figures: &ClusterFigures,
    (metric, measured): (MeasuredMetric, f64),
) -> Judged {
    let m = &row.measured;
    let is_decode = metric == MeasuredMetric::ClusterDecode;
    let (predicted, interval_80, interval_90, speedup) = if is_decode {
        let d = &figures.decode;
        (d.tokens_per_s, d.interval_80, d.interval_90, figures.decode_speedup)
    } else {
        let p = &figures.prefill;
        (p.tokens_per_s, p.interval_80, p.interval_90, figures.prefill_speedup)
    };
    // Baselines are those of decode.
    let against = || Some(measured / row.beyond.baseline_tok_s?);
    let measured_speedup = is_decode.then(|| against().or(row.beyond.speedup)).flatten();
    let chip = cluster.machines().first().and_then(|m| m.chip.clone()).unwrap_or_default();
    let weights = estimator.speed().map_or(0.0, |s| s.features().weight_bytes);
    let how =
        format!("{} Macs, {}, {}", cluster.nodes(), parallelism.name(), cluster.link().name());
    let scored = Row {
        id: m.id.clone(),
        metric,
        measured,
        predicted,
        interval_80,
        interval_90,
        error: predicted / measured - 1.0,
        engine: column_name(m.engine),
        engine_version: m.release(),
        size_class: size_class(weights),
        architecture: estimator.graph().model_type().to_owned(),
        context_class: context_class(estimator.run().work.context_tokens),
        rate_kind: m.rate_kind.name(),
        model: format!("{} {}, {how}", m.model_published, m.quant),
        configuration: format!("{}|{chip}|{}|{}|{how}", m.source, m.model_id, m.quant),
        chip,
        cause: None,
    };
    Judged { row: scored, against_one: measured_speedup.map(|measured| [measured, speedup.value]) }
}

/// The link of a row: what it says, by the words of those who publish.
fn link(row: &BeyondRow) -> Result<Link, String> {
    let said = format!("{} {}", row.beyond.link, row.measured.notes).to_lowercase();
    let link = row.beyond.link.to_lowercase();
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
    let memory = row.measured.memory_gib.unwrap_or(UNSTATED_MEMORY);
    let chips = tools.hardware.chips().map_err(|e| e.to_string())?;
    let limits = tools.hardware.limits().map_err(|e| e.to_string())?;
    let bin = |id: &str| {
        let chip = chips.iter().find(|chip| chip.id == id);
        chip.map(|chip| Machine::from_chip(chip, memory, limits))
    };
    if let Some(id) = row.measured.chips.last() {
        let machine = bin(id).ok_or_else(|| format!("chip '{id}'"))?;
        return Ok(vec![machine; nodes as usize]);
    }
    let named: Vec<Machine> = row
        .beyond
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

fn graph(row: &Measurement, tools: &Tools<'_>) -> Result<Graph, String> {
    if row.model_id.is_empty() {
        return Err(format!("the model is not said exactly: '{}'", row.model_published));
    }
    let format = join::weights(&row.quant).ok_or_else(|| format!("format '{}'", row.quant))?;
    join::graph_of(tools.models, &row.model_id, format).map(|(_, graph)| graph)
}

/// The run: programs that divide as mlx-lm does are taken as it.
fn run(row: &Measurement) -> Run {
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
    use crate::model::catalog::Models;
    use crate::roofline::Coefficients;
    use crate::validation::beyond::{SHIPPED_BEYOND, read_beyond};
    use crate::validation::evaluate::FitBasis;
    use crate::validation::held_out::HeldOutRates;

    #[test]
    fn the_shipped_rows_are_scored_or_skipped_with_a_reason() {
        let (models, hardware) = (Models::built_in().expect("built in"), Macs::embedded());
        let coefficients = Coefficients::embedded().expect("built in");
        let tools = Tools { models: &models, hardware: &hardware, coefficients };
        let rows = read_beyond("beyond.csv", SHIPPED_BEYOND).expect("readable");
        let empty = Validation::of(&[], &tools, FitBasis::Shipped, &HeldOutRates::none());
        let v = empty.expect("the chip catalog").with_clusters(&rows, &tools);
        assert!(v.rows.len() + v.skipped.len() >= 12, "{:?}", v.skipped);
        let [_, score] = v.score(MeasuredMetric::ClusterDecode, |_| true).expect("scored rows");
        assert!(v.rows.len() >= 4, "{:?}", v.skipped);
        assert!(score.median_abs_error < 0.3, "{score:?} {:#?}", v.rows);
        assert!(
            v.direction.n >= 4 && 4 * v.direction.right >= 3 * v.direction.n,
            "{:?}",
            v.direction
        );
    }
}
