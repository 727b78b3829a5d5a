//! The plots of a report.

use super::args::Plot;
use super::{Case, cluster, drafts, training};
use crate::advise::money::Economics;
use crate::advise::purchase::{Needs, purchase};
use crate::chart::{Axis, Chart, ChartShape, Corner, Mark};
use crate::cli::shared::context::Context;
use crate::cli::shared::curve::{MemoryStack, contexts, stack};
use crate::cli::shared::shipped;
use crate::cli::shared::words::{format_name, short};
use crate::estimate::memory::budget;
use crate::ledger::weights::Weights;
use crate::roofline::{Coefficients, Silicon};
use anyhow::{Result, anyhow};
use rayon::prelude::*;

/// Most curves of a chart.
const CURVES: usize = 6;

pub(super) fn chart(context: &Context, case: &Case, kind: Plot) -> Result<Chart> {
    match kind {
        Plot::Context => speed_by_context(case),
        Plot::Memory => memory_by_context(case),
        Plot::Price => price_and_speed(context, case),
        Plot::Cluster => cluster::speed_by_macs(case)?.ok_or_else(|| {
            anyhow!("several of these Macs cannot run the model together; `mlxplan compare --cluster` says why")
        }),
        Plot::Drafts => drafts::speedup_by_acceptance(context, case)?
            .ok_or_else(|| anyhow!("nothing may draft for the model in this run; `mlxplan recommend --draft auto` says why")),
        Plot::Finetune => training::peak_by_length(case)?.ok_or_else(|| {
            anyhow!("mlx_lm.lora cannot train this, or trains it token by token; `mlxplan finetune` says why")
        }),
        Plot::Roofline => roofline(case),
        Plot::Measured => Err(anyhow!("that plot needs no model")),
    }
}

/// Predicted against measured rates of the shipped data, by fits that have not seen the owner of a row.
pub(super) fn measured(context: &Context) -> Result<Chart> {
    Ok(shipped::scatter(&context.shipped_decode()?))
}

fn speed_by_context(case: &Case) -> Result<Chart> {
    let coefficients = Coefficients::embedded()?;
    let estimators = case.estimators(coefficients);
    let mut marks = Vec::new();
    for (i, estimator) in estimators.iter().enumerate() {
        for machine in &case.machines {
            let (mut points, mut band) = (Vec::new(), Vec::new());
            for context_tokens in contexts(estimator.graph().max_context()) {
                let run = estimator.run().with_context(context_tokens);
                let (decode, _) = estimator.with_run(run).speeds(machine)?;
                let x = f64::from(context_tokens);
                points.push((x, decode.tokens_per_s));
                band.push((x, decode.interval_90[0], decode.interval_90[1]));
            }
            marks.push(Mark {
                name: case.name(i, machine),
                shape: ChartShape::Curve { points, band },
            });
        }
    }
    marks.truncate(CURVES);
    Ok(Chart {
        legend: Corner::UpperRight,
        title: "Decode speed against context".to_owned(),
        description: "Predicted tokens per second, with the band that holds 90 % of measurements"
            .to_owned(),
        x: Axis::log("tokens in the cache"),
        y: Axis::linear("tok/s"),
        marks,
    })
}

fn memory_by_context(case: &Case) -> Result<Chart> {
    let Some((subject, machine, estimator)) = case.first(Coefficients::embedded()?) else {
        return Err(anyhow!("a model and a Mac are needed"));
    };
    let at = |context_tokens: u32| anyhow::Ok(stack(&estimator, machine, context_tokens)?);
    let found: Vec<MemoryStack> =
        contexts(subject.graph.max_context()).into_par_iter().map(at).collect::<Result<_>>()?;
    let area = |name: &str, of: fn(&MemoryStack) -> [f64; 2]| Mark {
        name: name.to_owned(),
        shape: ChartShape::Area(found.iter().map(|p| (p.tokens, of(p)[0], of(p)[1])).collect()),
    };
    let mut marks = vec![
        area("weights", |p| [0.0, p.weights]),
        area("cache and states", |p| [p.weights, p.cached]),
        area("everything else at the peak", |p| [p.cached, p.peak]),
    ];
    let level = |name: &str, gb: f64| Mark { name: name.to_owned(), shape: ChartShape::Level(gb) };
    marks.push(level("GPU limit", machine.gpu_limit.bytes.gb()));
    let most = budget(machine, case.run.engine.reserve);
    if most < machine.gpu_limit.bytes {
        marks.push(level("memory less macOS and Python", most.gb()));
    }
    Ok(Chart {
        legend: Corner::UpperLeft,
        title: format!(
            "Memory of {} {} on {}",
            short(&subject.id),
            format_name(&estimator.quant()),
            machine.id
        ),
        description: format!(
            "Predicted peak of {} by prompt length, with the limits of the Mac",
            estimator.run().engine.program
        ),
        x: Axis::log("prompt, tokens"),
        y: Axis::linear("GB"),
        marks,
    })
}

fn price_and_speed(context: &Context, case: &Case) -> Result<Chart> {
    let estimators = case.estimators(Coefficients::embedded()?);
    let needs = Needs { any_status: true, ..Needs::default() };
    let found = purchase(&context.catalogs.macs, &estimators, &needs, &Economics::default())?;
    let (mut front, mut rest) = (Vec::new(), Vec::new());
    for c in &found.choices {
        let Some(usd) = c.offer.usd_now else { continue };
        let name = c.pareto.then(|| c.machine.id.clone());
        let place = (f64::from(usd), c.tok_s, name);
        if c.pareto { front.push(place) } else { rest.push(place) }
    }
    let line = front.iter().map(|(x, y, _)| (*x, *y)).collect();
    let points =
        |name: &str, points| Mark { name: name.to_owned(), shape: ChartShape::Points(points) };
    let models: Vec<String> = case
        .subjects
        .iter()
        .map(|s| format!("{} {}", short(&s.id), format_name(&s.quant)))
        .collect();
    Ok(Chart {
        legend: Corner::LowerRight,
        title: format!("Price and speed of Macs that hold {}", models.join(" and ")),
        description: "Decode tokens per second (of the slowest model) against the US list price; the line joins the Macs that no other beats in both. Macs without a known price are not shown".to_owned(),
        x: Axis::linear("USD"),
        y: Axis::linear("tok/s"),
        marks: vec![
            points("others", rest),
            points("the front", front),
            Mark { name: String::new(), shape: ChartShape::Curve { points: line, band: Vec::new() } },
        ],
    })
}

/// Operations per second against operations per byte: what the machine allows, and what decode and prefill reach.
fn roofline(case: &Case) -> Result<Chart> {
    let bin = case.machines.first().and_then(|m| m.possible_bins().first());
    let Some(machine) = bin else { return Err(anyhow!("a Mac is needed")) };
    let target = Silicon::of(machine);
    let ridge = target.peak_flops() / target.bandwidth;
    let roof: Vec<(f64, f64)> =
        [0.5, ridge, 1e5].map(|x| (x, (x * target.bandwidth).min(target.peak_flops()))).to_vec();
    let estimators = case.estimators(Coefficients::embedded()?);
    let (mut decode, mut prefill) = (Vec::new(), Vec::new());
    for (estimator, subject) in estimators.iter().zip(&case.subjects) {
        let w = Weights::of(&subject.graph);
        let (d, p) = estimator.speeds(machine)?;
        let name = Some(short(&subject.id).to_owned());
        let per_token = 2.0 * w.active_parameters as f64;
        let users = f64::from(estimator.run().work.batch.max(1));
        let read = d.bytes_per_token as f64;
        decode.push((per_token * users / read, per_token * d.tokens_per_s, name.clone()));
        let chunk =
            f64::from(estimator.run().engine.prefill_step.min(estimator.run().work.context_tokens));
        let intensity = per_token * chunk * users / w.bytes as f64;
        prefill.push((intensity, per_token * p.tokens_per_s, name));
    }
    let points =
        |name: &str, points| Mark { name: name.to_owned(), shape: ChartShape::Points(points) };
    Ok(Chart {
        legend: Corner::LowerRight,
        title: format!("Roofline of {}", machine.id),
        description: "Operations are two for each active parameter and token; bytes are those that a decode step reads, or the weights for a chunk of the prompt. The line is the advertised bus bandwidth and the peak of the GPU".to_owned(),
        x: Axis::log("operations per byte"),
        y: Axis::log("operations per second"),
        marks: vec![
            Mark { name: "the machine".to_owned(), shape: ChartShape::Curve { points: roof, band: Vec::new() } },
            points("decode, predicted", decode),
            points("prefill, predicted", prefill),
        ],
    })
}
