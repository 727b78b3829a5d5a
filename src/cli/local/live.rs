//! Models run here with random weights, against what was predicted for them.

use super::{allowed, runnable};
use crate::calibration::decode_work;
use crate::calibration::profile::Profile;
use crate::cli::args::LiveArgs;
use crate::cli::timed::{LAYER_ERROR, machine};
use crate::cli::{Context, Verdict};
use crate::engine::mlx::clock;
use crate::engine::mlx::{
    EngineError, LayerTimer, Memory, Model, Weights, backend, reset_peak, version,
};
use crate::engine::stats::{median, quantile, spread_of};
use crate::graph::Graph;
use crate::graph::params::Module;
use crate::predict::Fidelity;
use crate::report::{Answer, Column, Document, Table};
use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::{Value, json};

/// Models and quantisations of the suite, smallest first.
const LADDER: [(&str, &str); 8] = [
    ("HuggingFaceTB/SmolLM2-135M-Instruct", "4bit"),
    ("HuggingFaceTB/SmolLM2-135M-Instruct", "8bit"),
    ("google/gemma-3-270m-it", "4bit"),
    ("LiquidAI/LFM2-350M", "8bit"),
    ("LiquidAI/LFM2-350M", "6bit"),
    ("Qwen/Qwen2.5-0.5B-Instruct", "4bit"),
    ("Qwen/Qwen3-0.6B", "6bit"),
    ("Qwen/Qwen3-0.6B", "4bit"),
];

/// Steps per round and side.
const STEPS: u32 = 4;
/// One prediction and what came of it.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    model: String,
    quant: String,
    context_tokens: u32,
    metric: &'static str,
    fidelity: Fidelity,
    measured: f64,
    predicted: f64,
    interval_80: [f64; 2],
    interval_90: [f64; 2],
    error: f64,
    held_90: bool,
    /// Relative standard deviation of the measured rounds.
    noise: f64,
    /// Tokens per second by the wall clock, the first step of every round included.
    measured_by_wall_clock: f64,
    mlx_peak_bytes: Option<u64>,
}

/// Runs what was asked and compares.
pub(in crate::cli) fn validate(context: &Context, args: &LiveArgs) -> Result<(Answer, Verdict)> {
    let probe = context.here()?;
    let profile = context.profile(&probe)?;
    if profile.is_none() {
        context.hint("no calibration of this machine; `mlxplan calibrate` makes one");
    }
    let limit = allowed(&probe, args.force)?;
    let cases: Vec<(String, Option<String>)> = match &args.model {
        Some(model) => vec![(model.clone(), args.quant.clone())],
        None => LADDER.iter().map(|(m, q)| ((*m).to_owned(), Some((*q).to_owned()))).collect(),
    };
    let mut rows = Vec::new();
    let mut skipped = Vec::new();
    for (model, quant) in cases {
        let subject = match context.one_model(&model, quant.as_deref(), None) {
            Ok(subject) => subject,
            Err(e) if args.suite => {
                skipped.push(json!({ "id": model, "reason": e.to_string() }));
                continue;
            }
            Err(e) => return Err(e),
        };
        let graph = runnable(&subject)?;
        let bytes: u64 = graph.params().modules().iter().map(Module::bytes).sum();
        // The model, the copies of its layers, and as much again for what MLX needs beside them.
        if bytes.saturating_mul(2) > limit {
            let error = EngineError::Memory { needed: bytes.saturating_mul(2), limit };
            if !args.suite {
                return Err(error.into());
            }
            skipped.push(json!({ "id": model, "reason": error.to_string() }));
            continue;
        }
        for &depth in &args.depths {
            context.hint(&format!("{model} {} at {depth} tokens", subject.quant));
            let name = (model.as_str(), subject.quant.as_str());
            rows.extend(case(&graph, name, depth, args.rounds, profile.as_ref(), limit)?);
        }
    }
    if rows.is_empty() {
        bail!("nothing could be run");
    }
    let summary = summary(&rows);
    let json = json!({
        "schema": "mlxplan.validation/1", "basis": "live", "backend": backend(), "mlx": version(),
        "clock": clock::name(),
        "machine": machine(&probe, backend()),
        "method": "random weights in this process; a cache of made-up keys and values; medians of rounds in which the \
                   layers of the prediction and the whole model take turns",
        "rows": rows, "skipped": skipped, "summary": { "decode": { "fidelity": summary } },
    });
    Ok((Answer { document: document(&rows, &json), json }, Verdict::Ok))
}

/// Predicts one case by every means at hand, runs it, and compares.
fn case(
    graph: &Graph,
    (model, quant): (&str, &str),
    depth: u32,
    rounds: u32,
    profile: Option<&Profile>,
    limit: u64,
) -> Result<Vec<Row>> {
    let work = decode_work(graph, depth, None, backend() == "cpu")?;
    let calibrated = profile.and_then(|p| p.time(&work).ok());
    let mut timer = LayerTimer::new(graph, depth, None, limit)?;
    let whole = Model::new(graph, Weights::random(graph.params(), 1)?)?;
    whole.session_at(depth, None)?.time_steps(1)?;
    reset_peak();
    let mut measured = Vec::new();
    let mut wall = Vec::new();
    for _ in 0..rounds {
        timer.round(STEPS)?;
        let mut session = whole.session_at(depth, None)?;
        let start = std::time::Instant::now();
        measured.push(median(&session.time_steps(STEPS)?));
        wall.push(start.elapsed().as_secs_f64() / f64::from(STEPS + 1));
    }
    let Some(spread) = spread_of(&measured) else { bail!("no rounds") };
    let mut rows = Vec::new();
    let mut add = |fidelity, seconds: f64, log_error: f64| {
        let rate = 1.0 / seconds;
        let measured = 1.0 / spread.median;
        let around = |z: f64| [rate * (-z * log_error).exp(), rate * (z * log_error).exp()];
        let interval_90 = around(1.645);
        rows.push(Row {
            id: format!("{model} {quant} at {depth}"),
            model: model.to_owned(),
            quant: quant.to_owned(),
            context_tokens: depth,
            metric: "decode",
            fidelity,
            measured,
            predicted: rate,
            interval_80: around(1.282),
            interval_90,
            error: rate / measured - 1.0,
            held_90: (interval_90[0]..=interval_90[1]).contains(&measured),
            noise: spread.deviation / spread.median,
            measured_by_wall_clock: 1.0 / median(&wall),
            mlx_peak_bytes: Memory::now().map(|m| m.peak_bytes),
        });
    };
    if let Some(e) = calibrated {
        add(Fidelity::Calibrated, e.seconds_per_token, e.log_error);
    }
    if let Some(e) = timer.estimate() {
        let error = (e.log_error.powi(2) + LAYER_ERROR.powi(2)).sqrt();
        add(Fidelity::LayerTimed, e.seconds_per_token, error);
    }
    Ok(rows)
}

fn summary(rows: &[Row]) -> Value {
    let mut all = serde_json::Map::new();
    for fidelity in [Fidelity::Calibrated, Fidelity::LayerTimed] {
        let of: Vec<&Row> = rows.iter().filter(|r| r.fidelity == fidelity).collect();
        if of.is_empty() {
            continue;
        }
        let errors: Vec<f64> = of.iter().map(|r| r.error.abs()).collect();
        let signed: Vec<f64> = of.iter().map(|r| r.error).collect();
        let share = |held: &dyn Fn(&Row) -> bool| {
            of.iter().filter(|r| held(r)).count() as f64 / of.len() as f64
        };
        let within = |i: [f64; 2], r: &Row| (i[0]..=i[1]).contains(&r.measured);
        all.insert(
            fidelity.name().to_owned(),
            json!({
                "n": of.len(),
                "median_abs_error": median(&errors),
                "p90_abs_error": quantile(&errors, 0.9),
                "mean_abs_error": errors.iter().sum::<f64>() / errors.len() as f64,
                "bias": median(&signed),
                "coverage_80": share(&|r| within(r.interval_80, r)),
                "coverage_90": share(&|r| within(r.interval_90, r)),
                "noise_floor": median(&of.iter().map(|r| r.noise).collect::<Vec<_>>()),
            }),
        );
    }
    Value::Object(all)
}

fn document(rows: &[Row], json: &Value) -> Document {
    let mut d = Document::default();
    d.heading("Predicted and measured decode speed on this machine");
    let mut table = Table::new(vec![
        Column::text("model"),
        Column::text("quant"),
        Column::number("depth"),
        Column::text("fidelity"),
        Column::number("predicted"),
        Column::number("90 %"),
        Column::number("measured"),
        Column::number("error"),
        Column::text("held"),
        Column::number("noise").droppable(1),
    ]);
    for r in rows {
        table.row([
            r.model.clone(),
            r.quant.clone(),
            r.context_tokens.to_string(),
            r.fidelity.name().to_owned(),
            format!("{:.2}", r.predicted),
            format!("{:.2}–{:.2}", r.interval_90[0], r.interval_90[1]),
            format!("{:.2}", r.measured),
            format!("{:+.1} %", 100.0 * r.error),
            if r.held_90 { "yes" } else { "no" }.to_owned(),
            format!("{:.1} %", 100.0 * r.noise),
        ]);
    }
    d.table(table);
    for (name, s) in json["summary"]["decode"]["fidelity"].as_object().into_iter().flatten() {
        let p = |key: &str| 100.0 * s[key].as_f64().unwrap_or(f64::NAN);
        d.text(format!(
            "{name}: {} cases, error median {:.1} %, p90 {:.1} %; 90 % interval held {:.0} %; noise of a run {:.1} %",
            s["n"], p("median_abs_error"), p("p90_abs_error"), p("coverage_90"), p("noise_floor")
        ));
    }
    d
}
