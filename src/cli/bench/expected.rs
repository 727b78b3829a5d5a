//! What is known about the engines' models: bounds for their speeds, and predictions.

use super::args::BenchArgs;
use crate::audit::{Hardware, Known};
use crate::bench::Trial;
use crate::bench::http::Address;
use crate::bench::predicted::{self, PredictedFigure};
use crate::bench::record::{EngineRecord, Record};
use crate::bench::summary::CaseSummary;
use crate::cli::shared::context::Context;
use crate::hardware::spec;
use crate::roofline::Coefficients;
use crate::run::Program;

/// The model of an engine, and the machine that it runs on.
pub(super) struct Expected {
    label: String,
    known: Known,
    engine: Program,
    hardware: Hardware,
    coefficients: &'static Coefficients,
    /// Whether it is certain that the engine runs on that machine.
    certain: bool,
}

/// Opens the models of the engines; where one is not known, a note says why.
pub(super) fn models(context: &Context, args: &BenchArgs, record: &mut Record) -> Vec<Expected> {
    let machine = match spec::resolve(args.mac.as_deref().unwrap_or("this"), &context.catalogs.macs)
    {
        Ok(machine) if machine.bins.is_empty() => machine,
        Ok(machine) => {
            let bins: Vec<&str> = machine.bins.iter().map(|b| b.id.as_str()).collect();
            let (id, bins) = (&machine.id, bins.join(" or "));
            record.notes.push(format!("no predictions: {id} has several bins; name {bins}"));
            return Vec::new();
        }
        Err(e) => {
            let hint = if args.mac.is_none() {
                "; --mac names the Mac that the engine runs on"
            } else {
                ""
            };
            record.notes.push(format!("no predictions: {e}{hint}"));
            return Vec::new();
        }
    };
    let coefficients = match Coefficients::embedded() {
        Ok(coefficients) => coefficients,
        Err(e) => {
            record.notes.push(format!("no predictions: {e}"));
            return Vec::new();
        }
    };
    let hardware = Hardware::of(&machine);
    let mut all = Vec::new();
    for e in &record.engines {
        match open(context, args, e) {
            Ok((known, engine)) => all.push(Expected {
                label: e.label.clone(),
                known,
                engine,
                hardware,
                coefficients,
                certain: args.mac.is_some() || is_here(e),
            }),
            Err(reason) => record.notes.push(reason),
        }
    }
    all
}

fn open(context: &Context, args: &BenchArgs, e: &EngineRecord) -> Result<(Known, Program), String> {
    let server = e.server.as_ref();
    let engine = server.and_then(|s| s.engine()).unwrap_or(Program::MlxLm);
    let named = server.map(|s| s.model.id.as_str()).or(e.model.as_deref());
    let name = args.model_as.as_deref().or(named).filter(|n| !n.is_empty()).ok_or_else(|| {
        format!("no predictions for {}: its model is not known; --as names it", e.label)
    })?;
    // A name given with --as says how the model is quantized; GGUF formats come from the server.
    let quant = server.and_then(|s| s.model.quant.as_deref());
    let quant = quant.filter(|_| args.model_as.is_none() || engine.runs_gguf());
    let known = context.known(name, quant, engine).map_err(|reason| {
        format!("no predictions for {}: {reason}; --as names the model (qwen3-8b-4bit)", e.label)
    })?;
    Ok((known, engine))
}

/// Whether an engine runs on this machine.
fn is_here(e: &EngineRecord) -> bool {
    e.via != "http" || Address::parse(&e.at, true).is_ok_and(|a| a.is_loopback())
}

/// Takes the rates away from trials that are faster than the memory of their machine.
pub(super) fn bound(all: &[Expected], trials: &mut [Trial]) {
    for t in trials {
        let Some(e) = all.iter().find(|e| e.certain && e.label == t.engine) else { continue };
        let (prompt, generated) = (t.prompt_tokens.unwrap_or(0), t.generated_tokens.unwrap_or(0));
        t.bound_by(e.known.fastest_decode(&e.hardware, prompt, generated, t.batch.unwrap_or(1)));
    }
}

/// Predictions next to the figures that were measured.
pub(super) fn predict(all: &[Expected], summary: &[CaseSummary]) -> Vec<PredictedFigure> {
    let of = |e: &Expected| {
        let (speed, target) = (&e.known.speed, &e.hardware.target);
        predicted::predict(summary, &e.label, speed, e.engine, e.coefficients, target)
    };
    all.iter().flat_map(of).collect()
}
