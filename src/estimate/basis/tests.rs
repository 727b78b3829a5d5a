use super::*;
use crate::calibration::profile::{Conditions, Stopping, VERSION};
use crate::calibration::{Host, KernelFit, TimedKernel};
use crate::estimate::{Estimator, Opened, Sources};
use crate::hardware::Macs;
use crate::model::Models;
use crate::model::source::hub::HubOptions;
use crate::roofline::Coefficients;
use std::collections::BTreeMap;

fn opened(models: &Models) -> OpenedModel {
    let hub = HubOptions::from_env(&|_| None, None);
    let sources = Sources {
        catalog: models,
        hub,
        progress: &|_| (),
        assume: None,
        program: crate::run::Program::MlxLm,
    };
    match OpenedModel::open("qwen3-0.6b", Some("bf16"), &sources).expect("in the catalog") {
        Opened::Model(model) => *model,
        Opened::Class(class) => panic!("a size class: {class:?}"),
    }
}

/// A made-up calibration of an M4 Max with 40 GPU cores that has every class of the model: 2 µs a launch.
fn profile(model: &OpenedModel, run: &Run) -> Profile {
    let graph = &model.graph;
    let works = [
        decode_work(graph, run.middle_tokens(), None),
        prefill_work(graph, run.work.context_tokens, run.engine.prefill_step, None),
    ];
    let mut classes = BTreeMap::new();
    for (class, counts) in works.iter().flat_map(|w| &w.as_ref().expect("work").0) {
        let point = |i: usize| {
            let mut row = vec![0.0; counts.len()];
            row[0] = 1.0;
            if i > 0 {
                row[i] = 1e6;
            }
            let seconds = if i > 0 { 4e-6 } else { 2e-6 };
            TimedKernel { counts: row, seconds, error: 2e-8, n: 9 }
        };
        let fit = KernelFit::of((0..counts.len()).map(point).collect()).expect("a fit");
        classes.insert(class.to_string(), fit);
    }
    Profile {
        version: VERSION,
        created_unix_s: 1_800_000_000,
        duration_s: 50.0,
        quick: false,
        mlx: crate::versions::MLX_RULES.to_owned(),
        machine: Host {
            system: "macos".to_owned(),
            chip: "Apple M4 Max".to_owned(),
            gpu_cores: Some(40),
            cpu_cores: Some(16),
            memory_bytes: Some(64 << 30),
            backend: "metal".to_owned(),
        },
        conditions: Conditions::default(),
        stopping: Stopping::default(),
        classes,
    }
}

/// A user of the library gets a calibrated prediction, and one scaled to another bin of the generation.
#[test]
fn kernel_times_serve_their_bin_and_others_of_its_generation() {
    let (models, macs) = (Models::built_in().expect("built in"), Macs::embedded());
    let coefficients = Coefficients::embedded().expect("built in");
    let model = opened(&models);
    let run = Run::default().with_context(512);
    let made = profile(&model, &run);
    let at = |text: &str| {
        let kernels = Kernels::elsewhere(made.clone(), &macs);
        let basis = Basis::Kernels(Box::new(kernels));
        let machine = spec::resolve(text, &macs).expect("a Mac");
        Estimator::new(coefficients, &model, run, basis).at(&machine)
    };
    let own = at("m4max-40/64").expect("predicted");
    assert_eq!(own.fidelity, Fidelity::Calibrated);
    let other = at("m4pro-20/48").expect("predicted");
    assert!(
        other.decode.evidence.text.contains("scaled to this bin"),
        "{}",
        other.decode.evidence.text
    );
    assert!(other.decode.tokens_per_s < own.decode.tokens_per_s);
    let width = |[low, high]: [f64; 2]| high / low;
    assert!(width(other.decode.interval_90) > 1.1 * width(own.decode.interval_90));
    assert!(own.widenings().next().is_none(), "timings need no widening");
    let error = at("m3max-40/64").expect_err("another generation");
    assert!(error.to_string().contains("another generation"), "{error}");
}

/// A profile that another owner has sent serves Macs of its bin, with a wider band than on its own machine.
#[test]
fn shared_profiles_serve_machines_of_their_bin() {
    let (models, macs) = (Models::built_in().expect("built in"), Macs::embedded());
    let coefficients = Coefficients::embedded().expect("built in");
    let model = opened(&models);
    let run = Run::default().with_context(512);
    let made = profile(&model, &run);
    let older = Profile { created_unix_s: made.created_unix_s - 1, quick: true, ..made.clone() };
    let shared = |text: &str| {
        let machine = spec::resolve(text, &macs).expect("a Mac");
        let all = vec![older.clone(), made.clone()];
        let at = |kernels| {
            let basis = Basis::Kernels(Box::new(kernels));
            Estimator::new(coefficients, &model, run, basis).at(&machine).expect("predicted")
        };
        Kernels::shared(all, &machine, &macs).map(|kernels| (kernels.profile().quick, at(kernels)))
    };
    // Memory does not matter, the bin does, and the newest is taken.
    let (quick, other) = shared("m4max-40/128").expect("of this bin");
    assert!(!quick && shared("m4max-32/36").is_none() && shared("m4pro-20/48").is_none());
    let text = &other.decode.evidence.text;
    assert!(text.contains("another machine of this kind"), "{text}");
    let here = Kernels::here(made.clone());
    let machine = spec::resolve("m4max-40/128", &macs).expect("a Mac");
    let basis = Basis::Kernels(Box::new(here));
    let own = Estimator::new(coefficients, &model, run, basis).at(&machine).expect("predicted");
    let width = |[low, high]: [f64; 2]| high / low;
    assert!(width(other.decode.interval_90) > width(own.decode.interval_90));
    assert!((other.decode.tokens_per_s / own.decode.tokens_per_s - 1.0).abs() < 1e-9);
}

/// Timings made on this machine give speeds where it is no Mac; those of another say nothing of it.
#[test]
fn timings_alone_give_speeds() {
    let (models, macs) = (Models::built_in().expect("built in"), Macs::embedded());
    let coefficients = Coefficients::embedded().expect("built in");
    let model = opened(&models);
    let run = Run::default().with_context(512);
    let made = profile(&model, &run);
    let alone = |kernels: Kernels, run: Run| {
        let basis = Basis::Kernels(Box::new(kernels));
        Estimator::new(coefficients, &model, run, basis).alone()
    };
    let here = alone(Kernels::here(made.clone()), run).expect("timed").expect("all classes");
    assert!(here.timing.prompt.is_some());
    let json = serde_json::to_value(&here).expect("an object");
    assert!(json["machine"].is_null() && json["memory"]["peak_bytes"].is_null());
    assert!(alone(Kernels::here(made.clone()), run.with_batch(2)).expect("no error").is_none());
    assert!(alone(Kernels::elsewhere(made, &macs), run).is_err());
}
