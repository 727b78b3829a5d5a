//! Simulated peaks against the peaks that mlx-lm printed on real Macs.

use mlxplan::estimate::{gpu, memory};
use mlxplan::graph::Graph;
use mlxplan::hardware::Macs as Chips;
use mlxplan::hardware::machine::Machine;
use mlxplan::ledger::peak;
use mlxplan::model::NamedFormat;
use mlxplan::model::catalog::Models;
use mlxplan::run::{Program, Run};
use mlxplan::stats::{median, quantile};
use mlxplan::units::Bytes;
use mlxplan::validation::join::{Joined, join};
use mlxplan::validation::measurement::{Measurement, Trust, read};
use std::collections::HashMap;

struct Row {
    id: String,
    /// Rows of one owner, chip, model and format are one observation.
    configuration: (String, String, String, String),
    high: bool,
    measured: f64,
    predicted: f64,
}

/// The row's run, if it says what was run.
fn run(row: &Measurement) -> Option<Run> {
    let prompt = row.prompt_tokens.max(row.context_tokens)?;
    let run = Run::default()
        .with_engine(row.engine_setup())
        .with_context(prompt.max(1))
        .with_generated(row.gen_tokens.unwrap_or(128))
        .with_batch(row.batch);
    Some(run)
}

fn simulate(row: &Joined<'_>, models: &Models, chips: &Chips) -> Option<u64> {
    let NamedFormat::Mlx(scheme) = row.weights else { return None };
    let entry = models.get(row.model)?.entry().expect("a good catalog");
    let graph = Graph::quantized(&entry.config, scheme).ok()?;
    let memory = row.row.memory_gib.unwrap_or(64);
    let machine = Machine::from_chip(row.chips.first()?, memory, chips.limits().expect("limits"));
    let run = run(row.row)?;
    let peak = peak::peak(&graph, &run, gpu(&machine, &run.engine)).ok()?;
    Some(peak.peak_bytes)
}

/// Plain rows of mlx-lm with a peak.
fn rows() -> Vec<Row> {
    let text = include_str!("../../data/measurements.csv");
    let all = read("measurements.csv", text).expect("a good file");
    let models = Models::built_in().expect("a good catalog");
    let chips = Chips::embedded();
    let mut known: HashMap<String, Option<u64>> = HashMap::new();
    let mut out = Vec::new();
    let plain = |r: &&Measurement| r.engine == Program::MlxLm && r.is_plain();
    for row in all.iter().filter(plain).filter(|r| r.engine_of_peak().is_some()) {
        let Some(gb) = row.peak_memory_gb else { continue };
        let Ok(joined) = join(row, &models, chips.chips().expect("chips")) else { continue };
        let chip = joined.chips[0].id.clone();
        let key = format!("{} {} {chip} {:?}", joined.model, row.quant, run(row));
        let Some(peak) = *known.entry(key).or_insert_with(|| simulate(&joined, &models, &chips))
        else {
            continue;
        };
        out.push(Row {
            id: row.id.clone(),
            configuration: (
                row.owner().to_owned(),
                chip,
                joined.model.to_owned(),
                row.quant.clone(),
            ),
            high: row.confidence == Trust::High,
            measured: gb * 1e9,
            predicted: peak as f64,
        });
    }
    out
}

#[test]
fn simulated_peaks_are_the_published_ones() {
    let rows = rows();
    let errors: Vec<f64> =
        rows.iter().filter(|r| r.high).map(|r| (r.predicted / r.measured - 1.0).abs()).collect();
    assert!(errors.len() >= 45, "only {} rows were joined", errors.len());
    let (median, p90) = (median(&errors).expect("rows"), quantile(&errors, 0.9).expect("rows"));
    println!("{} rows: median {:.2} %, p90 {:.2} %", errors.len(), 100.0 * median, 100.0 * p90);
    let worst: Vec<String> = rows
        .iter()
        .filter(|r| r.high && (r.predicted / r.measured - 1.0).abs() > 0.03)
        .map(|r| format!("{} {:.2} GB, simulated {:.2}", r.id, r.measured / 1e9, r.predicted / 1e9))
        .collect();
    assert!(median <= 0.01, "median {median}; {worst:?}");
    assert!(p90 <= 0.04, "p90 {p90}; {worst:?}");
}

#[test]
fn nine_of_ten_published_peaks_lie_within_the_interval() {
    let rows = rows();
    let mut weight = HashMap::new();
    for r in &rows {
        *weight.entry(&r.configuration).or_insert(0.0) += 1.0;
    }
    let (mut inside, mut all) = (0.0, 0.0);
    for r in &rows {
        let w = 1.0 / weight[&r.configuration];
        let [low, high] = memory::interval_90(Bytes(r.predicted as u64));
        all += w;
        if (low.0 as f64..=high.0 as f64).contains(&r.measured) {
            inside += w;
        }
    }
    println!("{} configurations, {:.1} % inside", weight.len(), 100.0 * inside / all);
    let share = inside / all;
    assert!((0.86..=0.94).contains(&share), "{share} of {all} configurations");
}
