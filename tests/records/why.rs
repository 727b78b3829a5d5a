//! Public threads on slow (or too fast) models whose cause was found: `why` must have it among its first two.

use mlxplan::hardware::spec::resolve;
use mlxplan::model::catalog::Models;
use mlxplan::run::{EngineName, FormatOrigin, Version};
use mlxplan::why::{GapCase, GapCause, RankedCause, SeenSpeeds, StatedParts, explain};
use mlxplan::{
    Basis, Coefficients, Estimator, HubOptions, Macs, Opened, OpenedModel, Run, Sources,
};
use serde::Deserialize;

/// Least share of the threads of which the cause is among the first two.
const LEAST: f64 = 0.8;

#[derive(Debug, Deserialize)]
struct Thread {
    source: String,
    model: String,
    quant: String,
    mac: String,
    engine: EngineText,
    macos: Option<String>,
    context: Option<u32>,
    generate: Option<u32>,
    cached: Option<u32>,
    measured: Option<f64>,
    ttft_s: Option<f64>,
    cause: GapCause,
    #[serde(rename = "remarks")]
    _remarks: String,
}

#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct EngineText(String);

fn open(t: &Thread, engine: EngineName) -> OpenedModel {
    let models = Models::built_in().expect("the catalog");
    let hub = HubOptions::from_env(&|_| None, None);
    let program = engine.program;
    let sources = Sources { catalog: &models, hub, progress: &|_| (), assume: None, program };
    match OpenedModel::open(&t.model, Some(&t.quant), &sources).expect("a model") {
        Opened::Model(model) => model.loaded_by(program).expect("loads"),
        Opened::Class(_) => panic!("{} is a class", t.model),
    }
}

fn ranks(t: &Thread) -> (String, Vec<RankedCause>) {
    let engine: EngineName = t.engine.0.parse().expect("an engine");
    let macos: Option<Version> = t.macos.as_ref().map(|m| m.parse().expect("a version"));
    let asked = mlxplan::engine::programs::AskedEngine {
        engine: Some(engine),
        macos,
        ..Default::default()
    };
    let mut run = Run::default().with_engine(asked.setup().expect("an engine"));
    run = run.with_context(t.context.unwrap_or(run.work.context_tokens));
    run = run.with_generated(t.generate.unwrap_or(run.work.generate_tokens));
    let model = open(t, engine);
    let macs = Macs::embedded();
    let machine = resolve(&t.mac, &macs).expect("a Mac");
    let estimator =
        Estimator::new(Coefficients::embedded().expect("built in"), &model, run, Basis::Spec);
    let stated = StatedParts {
        context: t.context.is_some(),
        generate: t.generate.is_some(),
        version: engine.version.is_some(),
        mlx: false,
        format: matches!(model.origin, FormatOrigin::File | FormatOrigin::Name),
    };
    let seen =
        SeenSpeeds { decode: t.measured, ttft_s: t.ttft_s, cached_tokens: t.cached.unwrap_or(0) };
    let case = GapCase::new(&estimator, (&machine, &macs), (stated, seen), "").expect("predicted");
    let (_, ranked) = explain(&case).expect("explained");
    let text = format!(
        "decode {:.2} ({:?}), first token {:.3} ({:?}), nothing {:.2}, unexplained {:.2}",
        case.decode.tokens_per_s,
        t.measured,
        case.ttft_s,
        t.ttft_s,
        ranked.nothing,
        ranked.unexplained
    );
    (text, ranked.causes)
}

#[test]
fn the_true_cause_is_among_the_first_two() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/why.csv");
    let mut reader = csv::Reader::from_path(file).expect("the threads");
    let threads: Vec<Thread> = reader.deserialize().collect::<Result<_, _>>().expect("rows");
    assert!(threads.len() >= 20, "{} threads", threads.len());
    let (mut missed, mut all) = (Vec::new(), Vec::new());
    for t in &threads {
        let (speeds, ranked) = ranks(t);
        let place = ranked.iter().position(|c| c.cause == t.cause);
        let shown = |c: &RankedCause| format!("{:?} {:.2}", c.cause, c.explains);
        let first: Vec<String> = ranked.iter().take(4).map(shown).collect();
        let line =
            format!("{} {:?} at {place:?}: {speeds}: {}", t.source, t.cause, first.join(", "));
        if place.is_none_or(|p| p > 1) {
            missed.push(line.clone());
        }
        all.push(line);
    }
    println!("{}", all.join("\n"));
    let share = 1.0 - missed.len() as f64 / threads.len() as f64;
    assert!(share >= LEAST, "{share:.2}:\n{}", missed.join("\n"));
}
