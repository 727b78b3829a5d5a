//! Rows of several sequences or users at once, predicted by the one estimator: rates of decoding alone, and rates over the
//! wall clock of a burst, which the replay of the server's scheduler gives.

use super::evaluate::{MeasuredMetric, Row, Tools, Validation, context_class, size_class};
use super::join::{graph_of, join};
use super::measurement::{Measurement, Trust, column_name};
use crate::advise::serving::load::SeenByUsers;
use crate::advise::serving::{Demand, EstimatedCosts, Scheduler, serve};
use crate::estimate::{EstimateError, Estimator};
use crate::graph::Graph;
use crate::graph::cache::CacheKind;
use crate::hardware::catalog::LimitEntry;
use crate::hardware::machine::Machine;
use crate::hardware::{Chip, MacsError};
use crate::model::NamedFormat;
use crate::run::{ModelFile, Run};
use std::collections::HashMap;

/// Tokens of a prompt where the source says none.
const UNSTATED_PROMPT: u32 = 32;
/// Tokens generated where it does not say.
const UNSTATED_OUTPUT: u32 = 128;
/// Memory of a machine where it does not say, in GiB; speeds hang on it hardly ever.
const UNSTATED_MEMORY: u64 = 64;
/// Words of remarks on rates over the wall clock, prompts included.
const WALL_CLOCK: [&str; 5] =
    ["wall clock", "incl. ttft", "prefill included", "totals over the burst", "end to end"];

impl Validation {
    /// The same with the rows of several sequences predicted.
    ///
    /// # Errors
    /// When the chip catalog cannot be read.
    pub fn with_users(
        mut self,
        measurements: &[Measurement],
        tools: &Tools<'_>,
    ) -> Result<Self, MacsError> {
        let known = (tools.hardware.chips()?, tools.hardware.limits()?);
        let mut graphs = HashMap::new();
        for row in measurements.iter().filter(|m| m.batch > 1 && m.decode_tok_s.is_some()) {
            self.skipped.retain(|(id, _)| *id != row.id);
            match judge(row, tools, known, &mut graphs) {
                Ok(row) => self.rows.push(row),
                Err(reason) => self.skipped.push((row.id.clone(), reason)),
            }
        }
        Ok(self)
    }
}

/// Why a row is no plain batch.
fn unusable(row: &Measurement) -> Option<String> {
    let batched = |flag: &String| flag == "aggregate";
    // Rates of files with a column of servers are totals.
    if row.server.is_empty() && !row.flags.iter().any(batched) {
        return Some(format!("batch {}, and whether the rate is of all is not said", row.batch));
    }
    if !row.flags.iter().all(batched) {
        return Some(format!("flagged {}", row.flags.join(", ")));
    }
    if row.confidence == Trust::Low {
        return Some("low confidence".to_owned());
    }
    if row.notes.contains("RowExact") {
        return Some("weights are read once per row: no batching".to_owned());
    }
    // The fork's batches fall below one stream at depth, which its caches and not the kernels explain.
    let deep = row.context_tokens.is_some_and(|tokens| tokens > 1024);
    if row.notes.contains("Phase-1 batching") && deep {
        return Some("a batch generator of its own, whose caches cost more with depth".to_owned());
    }
    match row.kv_quant.as_str() {
        "" | "none" => None,
        other => Some(format!("quantized cache {other}")),
    }
}

/// Models in their formats, by both.
type Graphs = HashMap<(String, NamedFormat), Result<Graph, String>>;

fn judge(
    row: &Measurement,
    tools: &Tools<'_>,
    (chips, limits): (&[Chip], &[LimitEntry]),
    graphs: &mut Graphs,
) -> Result<Row, String> {
    if let Some(reason) = unusable(row) {
        return Err(reason);
    }
    let joined = join(row, tools.models, chips).map_err(|e| e.to_string())?;
    let key = (joined.model.to_owned(), joined.weights);
    let graph = graphs.entry(key).or_insert_with(|| {
        graph_of(tools.models, joined.model, joined.weights).map(|(_, graph)| graph)
    });
    let graph = graph.as_ref().map_err(Clone::clone)?;
    let (served, run) = run(row, joined.weights);
    let estimator = Estimator::of_graph(tools.coefficients, graph, run);
    let memory = row.memory_gib.unwrap_or(UNSTATED_MEMORY);
    let machines = joined.chips.iter().map(|chip| Machine::from_chip(chip, memory, limits));
    let rates: Vec<[f64; 5]> = machines
        .map(|machine| rate(row, &estimator, &machine, served))
        .collect::<Result<_, EstimateError>>()
        .map_err(|e| e.to_string())?;
    let mean = |i: usize| {
        let logs: f64 = rates.iter().map(|r| r[i].ln()).sum();
        (logs / rates.len().max(1) as f64).exp()
    };
    let measured = row.decode_tok_s.unwrap_or_default();
    let predicted = mean(0);
    let chip = joined.chips.first().map_or("", |c| c.family_id());
    Ok(Row {
        id: row.id.clone(),
        metric: MeasuredMetric::Users,
        measured,
        predicted,
        interval_80: [mean(1), mean(2)],
        interval_90: [mean(3), mean(4)],
        error: predicted / measured - 1.0,
        engine: column_name(row.engine),
        engine_version: row.release(),
        chip: chip.to_owned(),
        size_class: size_class(estimator.speed().map_or(0.0, |s| s.features().weight_bytes)),
        architecture: graph.model_type().to_owned(),
        context_class: context_class(run.work.context_tokens),
        rate_kind: row.rate_kind.name(),
        model: format!("{} {}", row.model_published, row.quant),
        configuration: format!(
            "{}|{chip}|{}|{}|{}",
            row.owner(),
            row.model_id,
            row.quant,
            row.batch
        ),
        cause: None,
    })
}

/// Whether a server was around the model, and the run.
fn run(row: &Measurement, weights: NamedFormat) -> (bool, Run) {
    let engine = row.engine_of_batch();
    let gguf = match weights {
        NamedFormat::Gguf(mix) => Some(mix),
        NamedFormat::Mlx(_) => None,
    };
    let context = row.context_tokens.or(row.prompt_tokens).unwrap_or(UNSTATED_PROMPT);
    let run = Run::default()
        .with_engine(engine)
        .with_file(ModelFile { gguf, ..ModelFile::default() })
        .with_context(context.max(1))
        .with_generated(row.gen_tokens.unwrap_or(UNSTATED_OUTPUT))
        .with_batch(row.batch);
    (engine.program.is_mlx_server() || engine.program.runs_gguf(), run)
}

/// The predicted rate and the ends of its intervals.
fn rate(
    row: &Measurement,
    estimator: &Estimator<'_>,
    machine: &Machine,
    served: bool,
) -> Result<[f64; 5], EstimateError> {
    let run = *estimator.run();
    let merges = estimator.graph().cache_kinds().iter().all(CacheKind::merges);
    let scheduler = Scheduler::of(&run, merges);
    let at_once = if served { row.batch.min(scheduler.generating) } else { row.batch };
    let several = estimator.with_run(run.with_batch(at_once));
    let (decode, _) = several.speeds(machine)?;
    let notes = row.notes.to_lowercase();
    let wall = WALL_CLOCK.iter().any(|words| notes.contains(words));
    let rate = if served && wall {
        let costs = EstimatedCosts::of(estimator, machine)?;
        let prompt = row.prompt_tokens.unwrap_or(UNSTATED_PROMPT).max(1);
        let cached = row.context_tokens.map_or(0, |context| context.saturating_sub(prompt));
        let output = run.work.generate_tokens;
        let demands = vec![Demand { arrival_s: 0.0, prompt, cached, output }; row.batch as usize];
        let seen = SeenByUsers::of(&serve(&scheduler, &costs, &demands));
        seen.map_or(decode.tokens_per_s, |seen| seen.total_tokens_per_s)
    } else {
        decode.tokens_per_s
    };
    let scaled = |end: f64| end * rate / decode.tokens_per_s;
    let ([low_80, high_80], [low, high]) =
        (decode.interval_80.map(scaled), decode.interval_90.map(scaled));
    Ok([rate, low_80, high_80, low, high])
}
