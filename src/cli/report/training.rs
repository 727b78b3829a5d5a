//! The plot of fine-tuning: its peak against the length of samples.

use super::Case;
use crate::advise::finetune::peaks_by_length;
use crate::chart::{Axis, Chart, ChartShape, Corner, Mark};
use crate::cli::shared::words::{format_name, short};
use crate::graph::cache::CacheKind;
use crate::graph::training::FineTuning;
use crate::roofline::Coefficients;
use crate::run::Program;
use anyhow::Result;

/// Batches, each with and without checkpointing.
const BATCHES: [u32; 3] = [1, 4, 16];
/// Lengths, in tokens.
const LENGTHS: [u32; 6] = [128, 256, 512, 1024, 2048, 4096];

/// The peak of `mlx_lm.lora` as it is by default, of the first model on the first Mac, against the length of samples; `None`
/// where it cannot train the model, or would token by token.
pub(super) fn peak_by_length(case: &Case) -> Result<Option<Chart>> {
    let Some((subject, machine, estimator)) = case.first(Coefficients::embedded()?) else {
        return Ok(None);
    };
    let recurrent = |kind: &CacheKind| matches!(kind, CacheKind::Arrays(_));
    let slow = estimator.graph().cache_kinds().iter().any(recurrent);
    if estimator.run().engine.program != Program::MlxLm || slow {
        return Ok(None);
    }
    let layers = estimator.graph().layers();
    let plain = FineTuning::default();
    let run = FineTuning { layers: plain.layers.filter(|&n| u64::from(n) < layers), ..plain };
    let machine = machine.granted(case.run.engine.gpu_limit, case.run.engine.budget);
    let asked = (&BATCHES[..], &LENGTHS[..]);
    let Ok(curves) = peaks_by_length(&estimator, &machine, &run, asked) else { return Ok(None) };
    let mark = |c: &crate::advise::finetune::PeaksByLength| Mark {
        name: format!("batch {}{}", c.batch, if c.checkpoint { ", checkpointing" } else { "" }),
        shape: ChartShape::Curve {
            points: c.points.iter().map(|&(n, bytes)| (f64::from(n), bytes as f64 / 1e9)).collect(),
            band: Vec::new(),
        },
    };
    let mut marks: Vec<Mark> = curves.iter().map(mark).collect();
    marks.push(Mark {
        name: "GPU limit".to_owned(),
        shape: ChartShape::Level(machine.gpu_limit.bytes.gb()),
    });
    let trained = run.layers.map_or_else(|| "all layers".to_owned(), |n| format!("{n} layers"));
    Ok(Some(Chart {
        legend: Corner::UpperLeft,
        title: format!(
            "Memory of fine-tuning {} {} on {}",
            short(&subject.id),
            format_name(&estimator.quant()),
            machine.id
        ),
        description: format!(
            "Predicted peak of mlx_lm.lora (LoRA of rank {} of {trained}, {}) against the length of samples, for batches with and \
             without --grad-checkpoint, and the limit of the Mac",
            run.rank,
            run.optimizer.name()
        ),
        x: Axis::log("tokens of a sample"),
        y: Axis::log("GB"),
        marks,
    }))
}
