//! Fine-tuning on a machine: peak memory with its parts and a verdict, speed with its interval.

use super::basis::{Basis, BasisError, Timed};
use super::estimator::Estimator;
use super::memory::{Judgment, Need, RUNTIME_BYTES, default_reserve};
use super::widening::{self, Widening};
use crate::calibration::Fidelity;
use crate::engine::programs;
use crate::graph::Graph;
use crate::graph::training::{FineTuning, Loss, TrainedAttention};
use crate::hardware::machine::Machine;
use crate::ledger::replay::Gpu;
use crate::ledger::training::{TrainingError, TrainingLedger, replay};
use crate::roofline::Silicon;
use crate::roofline::training::{HALF_WIDTH_90, TrainingTime, TrainingWork};
use crate::run::Version;
use crate::stats::Z90;
use crate::units::Bytes;
use rayon::prelude::*;

/// How far a measured peak lies from the simulated one, nine times out of ten: 16 published runs with known lengths, mlx
/// 0.25 and later (data/training.csv).
const PEAK_WIDTH: f64 = 0.017;
/// Share of the 90 % interval of the logarithm that the 80 % interval has, of a normal distribution.
pub const OF_80: f64 = 0.779;

/// What fine-tuning takes on a machine.
#[derive(Clone, Debug)]
pub struct TrainingEstimate {
    /// Parameters, bytes and work.
    pub ledger: TrainingLedger,
    /// Where the measured peak will be nine times out of ten.
    pub peak_interval_90: [Bytes; 2],
    /// What the limits say.
    pub judgment: Judgment,
    /// Speed.
    pub speed: TrainingSpeed,
}

/// How fast it trains.
#[derive(Clone, Debug)]
pub struct TrainingSpeed {
    /// Seconds of an iteration.
    pub seconds_per_iteration: f64,
    /// Where they will be nine times out of ten.
    pub seconds_interval_90: [f64; 2],
    /// Tokens of a batch, padding included; of batches of several lengths the mean.
    pub batch_tokens: f64,
    /// Why the interval is wider than that of the runs that were fitted.
    pub widenings: Vec<Widening>,
    /// How close what it rests on is to the run.
    pub fidelity: Fidelity,
    /// What it rests on, in words.
    pub basis: String,
}

/// What speeds rest on that no timing stands behind.
const BY_LAW: &str = "work of the step by the law of published runs";

impl TrainingSpeed {
    /// The speed of batches whose time was measured here, or follows from what was.
    #[must_use]
    pub fn timed(timed: Timed, batch_tokens: f64, fidelity: Fidelity, basis: String) -> Self {
        let half = Z90 * timed.log_error;
        Self {
            seconds_per_iteration: timed.seconds,
            seconds_interval_90: [timed.seconds * (-half).exp(), timed.seconds * half.exp()],
            batch_tokens,
            widenings: Vec::new(),
            fidelity,
            basis,
        }
    }

    /// Tokens per second of batches without padding, and where they will be eight and nine times out of ten.
    #[must_use]
    pub fn tokens_per_s(&self) -> (f64, [f64; 2], [f64; 2]) {
        let tokens = self.batch_tokens;
        let middle = tokens / self.seconds_per_iteration;
        let [fast, slow] = self.seconds_interval_90.map(|s| tokens / s);
        let narrowed = |end: f64| middle * (end / middle).powf(OF_80);
        (middle, [narrowed(slow), narrowed(fast)], [slow, fast])
    }
}

/// The run as a version of MLX computes it. From 0.32.4 on the second gives the least memory: its backward kernel of
/// attention is not modeled.
fn by_version(options: &FineTuning, mlx: Version) -> (FineTuning, Option<FineTuning>) {
    let unfused_forward = Version::new(0, 25, 0);
    let loss = if programs::has(programs::TRAINING_LOSS_FUSED, mlx) {
        Loss::Fused
    } else if mlx < unfused_forward {
        Loss::Float32
    } else {
        Loss::Plain
    };
    let attention = if mlx < unfused_forward {
        TrainedAttention::FusedForward
    } else {
        TrainedAttention::Unfused
    };
    let run = FineTuning { loss, attention, ..options.clone() };
    let least = programs::has(programs::TRAINING_ATTENTION_FUSED, mlx)
        .then(|| FineTuning { attention: TrainedAttention::Fused, ..run.clone() });
    (run, least)
}

/// The peak of a run on a GPU as its version of MLX takes it, and the least that it may be.
///
/// # Errors
/// When mlx-lm refuses the run or cannot differentiate the model.
pub fn peaks(
    graph: &Graph,
    options: &FineTuning,
    gpu: Gpu,
) -> Result<(TrainingLedger, u64), TrainingError> {
    let (run, least) = by_version(options, gpu.mlx);
    let ledger = replay(graph, &run, gpu)?;
    let low = match least {
        Some(least) => replay(graph, &least, gpu)?.peak_bytes.min(ledger.peak_bytes),
        None => ledger.peak_bytes,
    };
    Ok((ledger, low))
}

/// The same without the least: the peak that a run has to find room for.
///
/// # Errors
/// As [`peaks`].
pub fn highest_peak(
    graph: &Graph,
    options: &FineTuning,
    gpu: Gpu,
) -> Result<TrainingLedger, TrainingError> {
    replay(graph, &by_version(options, gpu.mlx).0, gpu)
}

/// Where nine of ten measured peaks lie.
#[must_use]
pub fn peak_interval(low: u64, high: u64) -> [Bytes; 2] {
    let scaled = |bytes: u64, by: f64| Bytes((bytes as f64 * by) as u64);
    [scaled(low, 1.0 - PEAK_WIDTH), scaled(high, 1.0 + PEAK_WIDTH)]
}

impl Estimator<'_> {
    /// What fine-tuning takes on a machine.
    ///
    /// # Errors
    /// When mlx-lm refuses the run or cannot differentiate the model.
    pub fn fine_tuning(
        &self,
        machine: &Machine,
        options: &FineTuning,
    ) -> Result<TrainingEstimate, TrainingError> {
        let gpu = super::gpu(&self.granted(machine), &self.run().engine);
        let found = peaks(self.graph(), options, gpu)?;
        Ok(self.judged(machine, options, found))
    }

    /// The same for a search: the interval of the peak ends where it does, and begins at the highest that it may be, so that
    /// whether the run fits is the same and whether it surely does not is not said.
    ///
    /// # Errors
    /// When mlx-lm refuses the run or cannot differentiate the model.
    pub fn fine_tuning_at_most(
        &self,
        machine: &Machine,
        options: &FineTuning,
    ) -> Result<TrainingEstimate, TrainingError> {
        let gpu = super::gpu(&self.granted(machine), &self.run().engine);
        let ledger = highest_peak(self.graph(), options, gpu)?;
        let peak = ledger.peak_bytes;
        Ok(self.judged(machine, options, (ledger, peak)))
    }

    /// The same where the longest batch has between `shortest` and `longest` tokens a sample, and those of the options are
    /// the middle.
    ///
    /// # Errors
    /// When mlx-lm refuses the run or cannot differentiate the model.
    pub fn fine_tuning_between(
        &self,
        machine: &Machine,
        options: &FineTuning,
        [shortest, longest]: [u32; 2],
    ) -> Result<TrainingEstimate, TrainingError> {
        let gpu = super::gpu(&self.granted(machine), &self.run().engine);
        let with =
            |tokens: u32| peaks(self.graph(), &FineTuning { tokens, ..options.clone() }, gpu);
        let (ledger, _) = peaks(self.graph(), options, gpu)?;
        let ends = [with(shortest)?.1, with(longest)?.0.peak_bytes];
        Ok(self.judged_within(machine, options, ledger, ends))
    }

    /// The mean speed of batches of several lengths: tokens a sample, and how many batches have so many.
    ///
    /// # Errors
    /// When mlx-lm refuses the run or cannot differentiate the model.
    pub fn training_speed_of(
        &self,
        machine: &Machine,
        options: &FineTuning,
        batches: &[(u32, usize)],
    ) -> Result<TrainingSpeed, TrainingError> {
        let all: usize = batches.iter().map(|(_, n)| n).sum();
        let each = batches.par_iter().map(|&(tokens, n)| {
            let options = FineTuning { tokens, ..options.clone() };
            let speed = self.fine_tuning(machine, &options)?.speed;
            Ok((speed, n as f64 / all.max(1) as f64))
        });
        let each: Vec<(TrainingSpeed, f64)> = each.collect::<Result<_, TrainingError>>()?;
        let mean = |f: &dyn Fn(&TrainingSpeed) -> f64| each.iter().map(|(s, w)| w * f(s)).sum();
        let slowest = each.iter().max_by_key(|(s, _)| s.widenings.len());
        Ok(TrainingSpeed {
            seconds_per_iteration: mean(&|s| s.seconds_per_iteration),
            seconds_interval_90: [0, 1].map(|end| mean(&|s| s.seconds_interval_90[end])),
            batch_tokens: mean(&|s| s.batch_tokens),
            widenings: slowest.map_or_else(Vec::new, |(s, _)| s.widenings.clone()),
            fidelity: slowest.map_or(Fidelity::Spec, |(s, _)| s.fidelity),
            basis: slowest.map_or_else(String::new, |(s, _)| s.basis.clone()),
        })
    }

    /// What fine-tuning takes on a machine, of a peak that was found for its kind of GPU ([`peaks`]).
    #[must_use]
    pub fn judged(
        &self,
        machine: &Machine,
        options: &FineTuning,
        (ledger, low): (TrainingLedger, u64),
    ) -> TrainingEstimate {
        let high = ledger.peak_bytes;
        self.judged_within(machine, options, ledger, [low, high])
    }

    fn judged_within(
        &self,
        machine: &Machine,
        options: &FineTuning,
        ledger: TrainingLedger,
        [low, high]: [u64; 2],
    ) -> TrainingEstimate {
        let machine = self.granted(machine);
        let peak_interval_90 = peak_interval(low, high);
        let need = Need {
            peak: Bytes(ledger.peak_bytes),
            largest_buffer: Bytes(ledger.largest_buffer_bytes),
            weights: Bytes(ledger.weights_bytes),
            read: Bytes(ledger.weight_bytes_read),
        };
        let reserve = self.run().engine.reserve;
        let reserve = reserve.unwrap_or_else(|| default_reserve(machine.memory.value));
        let judgment = Judgment::of(need, peak_interval_90, RUNTIME_BYTES, &machine, reserve);
        let work = TrainingWork {
            flops: ledger.flops,
            kernels: ledger.dispatches,
            weight_bytes: ledger.weight_bytes_read,
        };
        let batch_tokens = f64::from(options.batch) * f64::from(options.tokens);
        // What kernel times say nothing of falls back to specifications; who asks for them is told why before.
        let timed = self.by_kernels(Some(&machine), options).ok().flatten();
        let speed = match timed {
            Some((timed, basis)) => {
                TrainingSpeed::timed(timed, batch_tokens, Fidelity::Calibrated, basis)
            }
            None => self.training_speed(&machine, work, batch_tokens),
        };
        TrainingEstimate { ledger, peak_interval_90, judgment, speed }
    }

    /// The time of an iteration from kernels that were timed, and what that rests on; `None` where the estimate rests on
    /// something else, or the profile lacks a class of kernels.
    ///
    /// # Errors
    /// When the timings say nothing about the machine.
    pub fn by_kernels(
        &self,
        machine: Option<&Machine>,
        options: &FineTuning,
    ) -> Result<Option<(Timed, String)>, BasisError> {
        let (Basis::Kernels(kernels) | Basis::Layers(_, Some(kernels))) = &self.basis else {
            return Ok(None);
        };
        let (options, _) = by_version(options, self.run().engine.mlx.taken);
        kernels.training(self.model, &options, machine)
    }

    /// The speed on a machine: over its bins where it may have several.
    fn training_speed(
        &self,
        machine: &Machine,
        work: TrainingWork,
        batch_tokens: f64,
    ) -> TrainingSpeed {
        let bins = machine.possible_bins().iter().map(|bin| self.silicon(bin));
        let each: Vec<TrainingSpeed> =
            bins.map(|silicon| self.speed_of(&silicon, work, batch_tokens)).collect();
        let ends = |f: &dyn Fn(&TrainingSpeed) -> f64| {
            let all = each.iter().map(f);
            all.fold([f64::INFINITY, 0.0_f64], |[low, high], s| [low.min(s), high.max(s)])
        };
        let [fast, slow] = ends(&|s| s.seconds_per_iteration);
        let seconds_interval_90 =
            [ends(&|s| s.seconds_interval_90[0])[0], ends(&|s| s.seconds_interval_90[1])[1]];
        let mut widenings = each.first().map_or_else(Vec::new, |s| s.widenings.clone());
        if each.len() > 1 {
            let intervals = each.iter().map(|s| s.seconds_interval_90);
            widenings.push(super::bins::training(machine, seconds_interval_90, intervals));
        }
        TrainingSpeed {
            seconds_per_iteration: fast.midpoint(slow),
            seconds_interval_90,
            batch_tokens,
            widenings,
            fidelity: Fidelity::Spec,
            basis: BY_LAW.to_owned(),
        }
    }

    fn speed_of(&self, silicon: &Silicon, work: TrainingWork, batch_tokens: f64) -> TrainingSpeed {
        let coefficients = self.coefficients();
        let program = self.run().engine.program;
        let (prefill, decode) = (coefficients.prefill_law(), coefficients.decode_law(program));
        let seconds = TrainingTime::of(work, prefill, decode, silicon).total();
        let widenings = widening::training(silicon, batch_tokens as u32);
        let half = HALF_WIDTH_90 * widening::factor(&widenings);
        TrainingSpeed {
            seconds_per_iteration: seconds,
            seconds_interval_90: [seconds * (-half).exp(), seconds * half.exp()],
            batch_tokens,
            widenings,
            fidelity: Fidelity::Spec,
            basis: BY_LAW.to_owned(),
        }
    }
}
