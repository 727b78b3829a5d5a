//! Timing of single kernels for calibration.
//!
//! A kernel is timed in a chain of dependent calls, as a model runs it, over several copies of its matrix, so that no
//! cache holds them. All kernels take turns, pass by pass, so that a change of the machine's speed meets all of them.

mod attention;
mod products;
mod small;

use super::clock;
use super::error::EngineError;
use super::memory::backend;
use super::ops::{Array, Ops};
use super::weights::random_array;
use crate::calibration::profile::Stopping;
use crate::calibration::work::Class;
use crate::calibration::{KernelFit, TimedKernel};
use crate::graph::shape::Shape;
use crate::model::{DType, Packing};
use crate::stats::{Z90, median, spread_of};
use products::Pool;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, EngineError>;
type Chain = Box<dyn Fn(&Ops) -> Result<()>>;

/// Half of the 90 % interval of a median, relative to it, at which a kernel needs no further pass.
const TIGHT: f64 = 0.01;
/// Passes that every kernel gets, if there is time.
const PASSES: u32 = 7;

/// A kernel at one size.
struct Kernel {
    class: Class,
    counts: Vec<f64>,
    /// Launches in the chain.
    launches: f64,
    run: Chain,
    seconds: Vec<f64>,
}

impl Kernel {
    fn new(class: Class, counts: Vec<f64>, launches: u32, run: Chain) -> Self {
        Self { class, counts, launches: f64::from(launches), run, seconds: Vec::new() }
    }

    fn tight(&self) -> bool {
        let spread = spread_of(&self.seconds);
        spread.is_some_and(|s| s.n >= PASSES && Z90 * s.median_error < TIGHT * s.median)
    }
}

/// How large kernels are, and how many copies of their tensors take turns.
#[derive(Clone, Copy)]
struct Scale {
    /// Bytes of the copies of a tensor: more than the last cache holds.
    rotated: u64,
    /// Most copies of a tensor.
    copies: u64,
    /// Rows of a prompt.
    rows: u32,
    /// Input and output widths of matrices.
    matrices: &'static [(u32, u32)],
}

impl Scale {
    fn of_backend() -> Self {
        if backend() == "metal" {
            // The system-level cache of the largest chips holds 96 MB.
            let matrices = &[(512, 512), (1024, 2048), (2048, 2048), (4096, 4096), (4096, 14336)];
            Self { rotated: 200_000_000, copies: 100, rows: 512, matrices }
        } else {
            let matrices = &[(256, 256), (512, 1024), (1024, 2048), (512, 8192)];
            Self { rotated: 48_000_000, copies: 12, rows: 16, matrices }
        }
    }

    fn copies_of(self, bytes: u64) -> u32 {
        (self.rotated / bytes.max(1)).clamp(2, self.copies) as u32
    }
}

/// How far calibration has come.
#[derive(Clone, Copy, Debug)]
pub struct TimingProgress {
    /// Passes over all kernels.
    pub passes: u32,
    /// Kernels whose median is known well enough.
    pub tight: usize,
    /// All kernels.
    pub kernels: usize,
    /// Seconds since the start.
    pub elapsed_s: f64,
}

/// Times all kernels for at most `limit` and fits their classes; ends earlier when `progress` says so, as soon as there
/// are enough passes for a fit.
///
/// # Errors
/// When MLX fails.
pub fn calibrate(
    packings: &[Packing],
    dtype: DType,
    limit: Duration,
    progress: &dyn Fn(TimingProgress) -> ControlFlow<()>,
) -> Result<(BTreeMap<String, KernelFit>, Stopping)> {
    let start = Instant::now();
    let ops = Ops::new();
    let mut kernels = kernels(&ops, packings, dtype)?;
    for kernel in &kernels {
        (kernel.run)(&ops)?;
    }
    let mut passes = 0;
    let mut pass = Duration::ZERO;
    loop {
        let begin = Instant::now();
        // All of them, also those that are known well enough: a kernel that is timed only while the machine is slow
        // would look slow.
        for kernel in &mut kernels {
            let clock = clock::Instant::now();
            (kernel.run)(&ops)?;
            // Views cost the threads of the CPU backend nothing.
            kernel.seconds.push(clock.seconds().max(1e-9) / kernel.launches);
        }
        passes += 1;
        pass = pass.max(begin.elapsed());
        let tight = kernels.iter().filter(|k| k.tight()).count();
        let elapsed = start.elapsed();
        let (all, elapsed_s) = (kernels.len(), elapsed.as_secs_f64());
        let ended = progress(TimingProgress { passes, tight, kernels: all, elapsed_s }).is_break();
        // Another pass must fit into the time.
        if tight == all || (passes >= 3 && (ended || elapsed + pass > limit)) {
            break;
        }
    }
    polish(&mut kernels);
    let tight = kernels.iter().filter(|k| k.tight()).count();
    let stopping = Stopping {
        relative_half_width_90: TIGHT,
        least_samples: PASSES,
        limit_s: limit.as_secs_f64(),
        kernels: kernels.len(),
        kernels_within: tight,
        passes,
    };
    let mut points: BTreeMap<String, Vec<TimedKernel>> = BTreeMap::new();
    for kernel in kernels {
        let Some(s) = spread_of(&kernel.seconds) else { continue };
        points.entry(kernel.class.to_string()).or_default().push(TimedKernel {
            counts: kernel.counts,
            seconds: s.median,
            error: s.median_error,
            n: s.n,
        });
    }
    let fits = points.into_iter().filter_map(|(name, p)| KernelFit::of(p).map(|fit| (name, fit)));
    Ok((fits.collect(), stopping))
}

/// Takes out what whole passes have in common: how fast the machine was just then, relative to the middle of all passes.
fn polish(kernels: &mut [Kernel]) {
    let middles: Vec<f64> =
        kernels.iter().map(|k| median(&k.seconds).unwrap_or_default()).collect();
    let passes = kernels.iter().map(|k| k.seconds.len()).min().unwrap_or(0);
    let pace: Vec<f64> = (0..passes)
        .map(|p| {
            let relative = kernels.iter().zip(&middles).map(|(k, m)| k.seconds[p] / m);
            median(&relative.collect::<Vec<_>>()).unwrap_or(1.0)
        })
        .collect();
    for kernel in kernels {
        kernel.seconds.iter_mut().zip(&pace).for_each(|(s, p)| *s /= p);
    }
}

fn kernels(ops: &Ops, packings: &[Packing], dtype: DType) -> Result<Vec<Kernel>> {
    let scale = Scale::of_backend();
    let mut all = Vec::new();
    all.push(small::view(ops, dtype)?);
    for bytes in [256, 4 << 10, 32 << 10, 256 << 10] {
        all.push(small::elementwise(ops, bytes, dtype)?);
        all.push(small::transcendental(ops, bytes, dtype)?);
    }
    for bytes in [64 << 10, 512 << 10, 2 << 20] {
        all.push(small::copy(ops, bytes, scale, dtype)?);
    }
    for bytes in [4 << 10, 512 << 10, 16 << 20] {
        all.push(small::sum(ops, bytes, scale, dtype)?);
    }
    for width in [128, 1024, 8192] {
        all.push(small::norm(ops, width, dtype)?);
        all.push(small::softmax(ops, width, dtype)?);
    }
    for heads in [1, 8, 64] {
        all.push(small::rope(ops, heads, dtype)?);
    }
    // Dense products are bound by memory on every backend: all of their copies together must lie beyond the caches.
    let dense = Scale { rotated: scale.rotated.max(256_000_000), copies: 200, ..scale };
    let pool = Pool::new(None, dense, dtype)?;
    for &size in scale.matrices {
        all.push(products::product(ops, &pool, size, 1)?);
    }
    for size in [512, 1024] {
        all.push(products::product(ops, &pool, (size, size), 8 * scale.rows)?);
    }
    for &packing in packings {
        let pool = Pool::new(Some(packing), scale, dtype)?;
        for &size in scale.matrices {
            all.push(products::product(ops, &pool, size, 1)?);
        }
        for (side, chosen) in [(512, 1), (512, 4), (1024, 4)] {
            all.push(products::experts(ops, &pool, side, chosen)?);
        }
        for (size, rows) in [(256, 2), (512, 1)] {
            all.push(products::product(ops, &pool, (size, size), rows * scale.rows)?);
            all.push(products::experts_of_prompt(ops, &pool, size, rows * scale.rows)?);
        }
    }
    for (heads, kv, width) in
        [(4, 4, 64), (9, 3, 64), (14, 2, 64), (8, 4, 128), (16, 2, 128), (4, 1, 256)]
    {
        for tokens in [64, 512, 2048] {
            all.push(attention::of_step(ops, [heads, kv, tokens, width], scale, dtype)?);
        }
    }
    for (heads, kv, width) in [(4, 4, 64), (9, 3, 64), (8, 2, 128)] {
        for (queries, tokens) in [(64, 64), (64, 512), (256, 256)] {
            all.push(attention::of_prompt(ops, [heads, kv, queries, tokens, width], dtype)?);
        }
    }
    Ok(all)
}

/// The first elements of every axis, a view.
fn held(ops: &Ops, x: &Array, shape: &Shape) -> Result<Array> {
    let zeros = Shape::new(&[0; 8][..shape.rank()]);
    let ones = Shape::new(&[1; 8][..shape.rank()]);
    ops.slice(x, &zeros, &ones, shape)
}
