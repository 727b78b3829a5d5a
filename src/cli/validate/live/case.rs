//! One case: predicted by every means at hand, run, and compared.

use super::ladder::LadderCase;
use crate::calibration::evidence::EvidenceMetric;
use crate::calibration::profile::{KernelEstimate, Profile};
use crate::calibration::{decode_work, prefill_work};
use crate::engine::mlx::clock::Instant;
use crate::engine::mlx::{LayerTimer, LoadedWeights, MlxMemory, Model, Session, reset_peak};
use crate::estimate::Fidelity;
use crate::graph::Graph;
use crate::stats::{median, spread_of};
use anyhow::{Result, bail};
use std::path::Path;
use std::time::Duration;

/// Steps per round and side.
const STEPS: u32 = 3;
/// Rounds at the least.
const LEAST: u32 = 4;
/// Relative error of both sides at which further rounds are of no use.
const TIGHT: f64 = 0.004;

/// Where the tensors come from.
#[derive(Clone, Copy)]
pub(super) enum Tensors<'a> {
    /// Random ones.
    Random,
    /// A folder.
    Folder(&'a Path),
}

impl Tensors<'_> {
    pub(super) fn of(self, graph: &Graph) -> Result<LoadedWeights> {
        Ok(match self {
            Self::Random => LoadedWeights::random(graph.params(), 1)?,
            Self::Folder(folder) => LoadedWeights::load(graph.params(), folder)?,
        })
    }
}

/// A prediction in seconds.
pub(super) struct Estimate {
    pub fidelity: Fidelity,
    pub seconds: f64,
    /// Standard deviation of the logarithm, and the part of it that the timings explain.
    pub log_error: f64,
    pub timing_log_error: f64,
}

/// What was measured, in seconds per step or prompt.
pub(super) struct Measured {
    pub seconds: f64,
    pub wall_seconds: f64,
    /// How far two halves of the rounds lay apart, relatively.
    pub noise: f64,
    pub rounds: u32,
    pub mlx_peak_bytes: Option<u64>,
}

impl Estimate {
    fn calibrated(e: &KernelEstimate) -> Self {
        Self {
            fidelity: Fidelity::Calibrated,
            seconds: e.seconds,
            log_error: e.log_error,
            timing_log_error: e.timing_log_error,
        }
    }
}

/// Runs a case for about as long as it may take.
pub(super) fn run(
    graph: &Graph,
    case: &LadderCase,
    tensors: Tensors<'_>,
    profile: Option<&Profile>,
    (rounds, time): (u32, Duration),
    memory_limit: u64,
) -> Result<(Vec<Estimate>, Measured)> {
    match case.metric {
        EvidenceMetric::Decode => {
            decode(graph, case.tokens, tensors, profile, (rounds, time), memory_limit)
        }
        EvidenceMetric::Prefill => prefill(graph, case.tokens, tensors, profile, (rounds, time)),
    }
}

fn decode(
    graph: &Graph,
    depth: u32,
    tensors: Tensors<'_>,
    profile: Option<&Profile>,
    (most, time): (u32, Duration),
    memory_limit: u64,
) -> Result<(Vec<Estimate>, Measured)> {
    let start = std::time::Instant::now();
    let work = decode_work(graph, depth, None)?;
    let calibrated = profile.and_then(|p| p.time(&work).ok());
    let mut timer = LayerTimer::new(graph, depth, None, memory_limit)?;
    let model = Model::new(graph, tensors.of(graph)?)?;
    // The same measured twice, turn about: their difference is the noise.
    let mut sides = [Side::new(&model, depth)?, Side::new(&model, depth)?];
    reset_peak();
    let mut measured = Vec::new();
    let mut rounds = 0;
    loop {
        for side in &mut sides {
            timer.round(STEPS)?;
            measured.push(side.round()?);
        }
        rounds += 2;
        let known = spread_of(&logarithms(&timer.whole(), &measured));
        let tight = known.is_some_and(|s| s.median_error < TIGHT);
        let next = start.elapsed() * (rounds + 2) / rounds;
        if rounds >= most || (rounds >= LEAST && (tight || next > time)) {
            break;
        }
    }
    let seconds = median(&measured).unwrap_or_default();
    let noise = median(&logarithms(&sides[0].rounds, &sides[1].rounds)).unwrap_or_default().abs();
    let wall: Vec<f64> = sides.iter().flat_map(|s| s.wall.clone()).collect();
    let mut estimates: Vec<Estimate> = calibrated.iter().map(Estimate::calibrated).collect();
    // Rounds of both sides stand next to each other, so their ratios are free of what the machine does meanwhile.
    if let Some(ratio) = spread_of(&logarithms(&timer.whole(), &measured)) {
        estimates.push(Estimate {
            fidelity: Fidelity::LayerTimed,
            seconds: seconds * ratio.median.exp(),
            log_error: ratio.median_error.hypot(crate::calibration::widths::LAYERS),
            timing_log_error: ratio.median_error,
        });
    }
    let mlx_peak_bytes = MlxMemory::now().map(|m| m.peak_bytes);
    let wall_seconds = median(&wall).unwrap_or_default();
    Ok((estimates, Measured { seconds, wall_seconds, noise, rounds, mlx_peak_bytes }))
}

/// A generation that is timed a few steps at a time.
struct Side<'m, 'g> {
    session: Session<'m, 'g>,
    rounds: Vec<f64>,
    wall: Vec<f64>,
}

impl<'m, 'g> Side<'m, 'g> {
    fn new(model: &'m Model<'g>, depth: u32) -> Result<Self> {
        let mut session = model.session_at(depth, None)?;
        session.time_steps(1)?;
        Ok(Self { session, rounds: Vec::new(), wall: Vec::new() })
    }

    fn round(&mut self) -> Result<f64> {
        let start = std::time::Instant::now();
        let seconds = self.session.time_steps(STEPS)?;
        self.rounds.push(seconds);
        self.wall.push(start.elapsed().as_secs_f64() / f64::from(STEPS));
        Ok(seconds)
    }
}

/// Logarithms of ratios, pair by pair.
fn logarithms(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(a, b)| (a / b).ln()).collect()
}

fn prefill(
    graph: &Graph,
    tokens: u32,
    tensors: Tensors<'_>,
    profile: Option<&Profile>,
    (most, time): (u32, Duration),
) -> Result<(Vec<Estimate>, Measured)> {
    let start = std::time::Instant::now();
    let Some(before) = tokens.checked_sub(1).filter(|n| *n > 0) else {
        bail!("a prompt has at least two tokens");
    };
    let step = crate::ledger::cache::PREFILL_STEP;
    let calibrated = profile.and_then(|p| {
        let work = prefill_work(graph, tokens, step, None).ok()?;
        p.prompt_time(&work).ok()
    });
    let model = Model::new(graph, tensors.of(graph)?)?;
    let ids: Vec<u32> = (0..before).map(|i| i % 64).collect();
    reset_peak();
    let mut times = Vec::new();
    let mut wall = Vec::new();
    let mut rounds = 0;
    loop {
        let mut session = model.session(1, None);
        let (clock, begin) = (Instant::now(), std::time::Instant::now());
        for chunk in ids.chunks(step as usize) {
            session.prefill(&model.tokens(chunk, 1)?)?;
        }
        // The first fills MLX's pools of buffers.
        if rounds > 0 {
            times.push(clock.seconds());
            wall.push(begin.elapsed().as_secs_f64());
        }
        rounds += 1;
        let next = start.elapsed() * (rounds + 1) / rounds;
        if rounds > most || (rounds > LEAST && next > time) {
            break;
        }
    }
    let half = |odd: usize| {
        let times: Vec<f64> =
            times.iter().enumerate().filter(|(i, _)| i % 2 == odd).map(|(_, t)| *t).collect();
        median(&times).unwrap_or_default()
    };
    let measured = Measured {
        seconds: median(&times).unwrap_or_default(),
        wall_seconds: median(&wall).unwrap_or_default(),
        noise: (half(0) / half(1)).ln().abs(),
        rounds: rounds - 1,
        mlx_peak_bytes: MlxMemory::now().map(|m| m.peak_bytes),
    };
    Ok((calibrated.iter().map(Estimate::calibrated).collect(), measured))
}
