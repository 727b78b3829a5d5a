//! Timing of single kernels for calibration.
//!
//! A kernel is timed in a chain of dependent calls, as a model runs it, over several copies of its matrix, so that no
//! cache holds them. All kernels take turns, pass by pass, so that a change of the machine's speed meets all of them.

use super::clock;
use super::error::EngineError;
use super::ops::{Array, AttentionMask, Ops, PackedRef, eval};
use super::weights::{Weights, random_array};
use crate::calibration::work::{Class, PackedClass};
use crate::calibration::{Fit, Point};
use crate::engine::stats::spread_of;
use crate::graph::op::Rope;
use crate::graph::params::{ModuleId, ParamBuilder, Part};
use crate::graph::shape::Shape;
use crate::model::{DType, Packing};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, EngineError>;
type Chain = Box<dyn Fn(&Ops) -> Result<()>>;

/// Bytes of the copies of a matrix.
const ROTATED: u64 = 48_000_000;
/// Relative error of a median below which a kernel needs no further pass.
const TIGHT: f64 = 0.01;
/// Passes that every kernel gets in any case.
const PASSES: usize = 5;

/// A kernel at one size.
struct Kernel {
    class: Class,
    counts: Vec<f64>,
    /// Launches in the chain.
    launches: f64,
    run: Chain,
    seconds: Vec<f64>,
}

/// How far calibration has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Passes over all kernels.
    pub passes: usize,
    /// Kernels whose median is known well enough.
    pub tight: usize,
    /// All kernels.
    pub kernels: usize,
    /// Seconds since the start.
    pub elapsed_s: f64,
}

/// Times all kernels for at most `limit` and fits their classes.
///
/// # Errors
/// When MLX fails.
pub fn calibrate(
    packings: &[Packing],
    dtype: DType,
    limit: Duration,
    progress: &dyn Fn(Progress),
) -> Result<BTreeMap<String, Fit>> {
    let start = Instant::now();
    let ops = Ops::new();
    let mut kernels = kernels(&ops, packings, dtype)?;
    for kernel in &kernels {
        (kernel.run)(&ops)?;
    }
    let mut passes = 0;
    loop {
        let mut open = 0;
        for kernel in &mut kernels {
            let spread = spread_of(&kernel.seconds);
            let tight = spread.is_some_and(|s| s.median_error < TIGHT * s.median);
            if tight && passes >= PASSES {
                continue;
            }
            open += 1;
            let begin = clock::Instant::now();
            (kernel.run)(&ops)?;
            kernel.seconds.push(begin.seconds() / kernel.launches);
        }
        passes += 1;
        let elapsed = start.elapsed();
        progress(Progress {
            passes,
            tight: kernels.len() - open,
            kernels: kernels.len(),
            elapsed_s: elapsed.as_secs_f64(),
        });
        // Another pass must fit into the time.
        let next = elapsed + elapsed / u32::try_from(passes).unwrap_or(1);
        if open == 0 || (passes >= 2 && next > limit) {
            break;
        }
    }
    let mut points: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    for kernel in kernels {
        let Some(spread) = spread_of(&kernel.seconds) else { continue };
        points.entry(kernel.class.to_string()).or_default().push(Point {
            counts: kernel.counts,
            seconds: spread.median,
            error: spread.median_error,
            n: spread.n,
        });
    }
    Ok(points.into_iter().filter_map(|(name, p)| Fit::of(p).map(|fit| (name, fit))).collect())
}

fn kernels(ops: &Ops, packings: &[Packing], dtype: DType) -> Result<Vec<Kernel>> {
    let mut all = Vec::new();
    all.push(view(ops, dtype)?);
    for bytes in [256, 4 << 10, 32 << 10, 256 << 10] {
        all.push(elementwise(ops, bytes, dtype)?);
        all.push(transcendental(ops, bytes, dtype)?);
    }
    for bytes in [64 << 10, 512 << 10, 2 << 20] {
        all.push(copy(ops, bytes, dtype)?);
    }
    for width in [128, 1024, 8192] {
        all.push(norm(ops, width, dtype)?);
        all.push(reduction(ops, width, dtype)?);
    }
    for heads in [1, 8, 64] {
        all.push(rope(ops, heads, dtype)?);
    }
    for (inner, outer) in [(256, 256), (1024, 1024), (2048, 2048), (512, 8192)] {
        all.push(product(ops, inner, outer, None, dtype)?);
    }
    for &packing in packings {
        for (inner, outer) in [(256, 256), (512, 1024), (1024, 2048), (2048, 2048), (512, 8192)] {
            all.push(product(ops, inner, outer, Some(packing), dtype)?);
        }
        for chosen in [1, 4] {
            all.push(experts(ops, 512, chosen, packing, dtype)?);
        }
        all.push(experts(ops, 1024, 4, packing, dtype)?);
    }
    for (heads, kv, width) in [(4, 4, 64), (16, 2, 64), (8, 4, 128), (8, 2, 128)] {
        for tokens in [64, 512, 2048] {
            all.push(attention(ops, [heads, kv, tokens, width], dtype)?);
        }
    }
    Ok(all)
}

fn kernel(class: Class, counts: Vec<f64>, launches: u32, run: Chain) -> Kernel {
    Kernel { class, counts, launches: f64::from(launches), run, seconds: Vec::new() }
}

/// `x + y` of arrays of `bytes`: two are read, one is written.
fn elementwise(ops: &Ops, bytes: u64, dtype: DType) -> Result<Kernel> {
    let n = (bytes / dtype.bytes()) as u32;
    let launches = ((32 << 20) / bytes.max(1)).clamp(2, 200) as u32;
    let shape = Shape::new(&[n]);
    let (x, y) = (random_array(ops, &shape, dtype, 1)?, random_array(ops, &shape, dtype, 2)?);
    let run = move |ops: &Ops| {
        let mut x = x.clone();
        for _ in 0..launches {
            x = ops.binary("add", mlx_sys::mlx_add, &x, &y)?;
        }
        eval(&[&x])
    };
    Ok(kernel(Class::Elementwise, vec![1.0, 3.0 * bytes as f64], launches, Box::new(run)))
}

/// One element written into arrays that are still needed, so that each is copied.
fn copy(ops: &Ops, bytes: u64, dtype: DType) -> Result<Kernel> {
    let copies = (ROTATED / bytes).clamp(8, 100) as u32;
    let shape = Shape::new(&[(bytes / dtype.bytes()) as u32]);
    let arrays: Vec<Array> =
        (0..copies).map(|i| random_array(ops, &shape, dtype, i.into())).collect::<Result<_>>()?;
    let (start, one) = (Shape::new(&[0]), Shape::new(&[1]));
    let element = random_array(ops, &one, dtype, 1)?;
    let run = move |ops: &Ops| {
        let written: Vec<Array> = arrays
            .iter()
            .map(|x| ops.slice_update(x, &element, &start, &one, false))
            .collect::<Result<_>>()?;
        eval(&written.iter().collect::<Vec<_>>())
    };
    Ok(kernel(Class::Copy, vec![1.0, 2.0 * bytes as f64], copies, Box::new(run)))
}

/// A transpose and its way back.
fn view(ops: &Ops, dtype: DType) -> Result<Kernel> {
    let x = random_array(ops, &Shape::new(&[1, 8, 1, 64]), dtype, 1)?;
    let (wide, order) = (Shape::new(&[1, 1, 512]), crate::graph::shape::Axes::new([0, 2, 1, 3]));
    let apart = Shape::new(&[1, 1, 8, 64]);
    let run = move |ops: &Ops| {
        let mut x = x.clone();
        for _ in 0..50 {
            x = ops.transpose(&x, &order)?;
            x = ops.reshape(&x, &wide)?;
            x = ops.reshape(&x, &apart)?;
            x = ops.transpose(&x, &order)?;
        }
        eval(&[&x])
    };
    Ok(kernel(Class::View, vec![1.0], 200, Box::new(run)))
}

/// Sigmoids: one array is read, one is written.
fn transcendental(ops: &Ops, bytes: u64, dtype: DType) -> Result<Kernel> {
    let x = random_array(ops, &Shape::new(&[(bytes / dtype.bytes()) as u32]), dtype, 1)?;
    let launches = ((4 << 20) / bytes.max(1)).clamp(4, 200) as u32;
    let run = move |ops: &Ops| {
        let mut x = x.clone();
        for _ in 0..launches {
            x = ops.unary("sigmoid", mlx_sys::mlx_sigmoid, &x)?;
        }
        eval(&[&x])
    };
    Ok(kernel(Class::Transcendental, vec![1.0, 2.0 * bytes as f64], launches, Box::new(run)))
}

/// A softmax of one row.
fn reduction(ops: &Ops, width: u32, dtype: DType) -> Result<Kernel> {
    let x = random_array(ops, &Shape::new(&[1, 1, width]), dtype, 1)?;
    let launches = (1_000_000 / width).clamp(8, 200);
    let bytes = 2.0 * f64::from(width) * dtype.bytes() as f64;
    let run = move |ops: &Ops| {
        let mut x = x.clone();
        for _ in 0..launches {
            x = ops.softmax(&x, true)?;
        }
        eval(&[&x])
    };
    Ok(kernel(Class::Reduction, vec![1.0, bytes], launches, Box::new(run)))
}

/// An RMS norm of one row.
fn norm(ops: &Ops, width: u32, dtype: DType) -> Result<Kernel> {
    let x = random_array(ops, &Shape::new(&[1, 1, width]), dtype, 1)?;
    let weight = random_array(ops, &Shape::new(&[width]), dtype, 2)?;
    let launches = (1_000_000 / width).clamp(8, 200);
    let bytes = 3.0 * f64::from(width) * dtype.bytes() as f64;
    let run = move |ops: &Ops| {
        let mut x = x.clone();
        for _ in 0..launches {
            x = ops.rms_norm(&x, Some(&weight), 1e-6)?;
        }
        eval(&[&x])
    };
    Ok(kernel(Class::Norm, vec![1.0, bytes], launches, Box::new(run)))
}

fn rope(ops: &Ops, heads: u32, dtype: DType) -> Result<Kernel> {
    let x = random_array(ops, &Shape::new(&[1, heads, 1, 128]), dtype, 1)?;
    let bytes = 2.0 * f64::from(heads) * 128.0 * dtype.bytes() as f64;
    let run = move |ops: &Ops| {
        let rope = Rope { dims: 128, traditional: false, base: Some(1e4), scale: 1.0, offset: 500 };
        let mut x = x.clone();
        for _ in 0..100 {
            x = ops.rope(&x, &rope, None, None)?;
        }
        eval(&[&x])
    };
    Ok(kernel(Class::Rope, vec![1.0, bytes], 100, Box::new(run)))
}

/// Copies of a matrix, or of one per expert, with random values.
struct Matrices {
    weights: Weights,
    ids: Vec<ModuleId>,
    packing: Option<Packing>,
}

impl Matrices {
    fn new(
        count: u32,
        packing: Option<Packing>,
        dtype: DType,
        declare: impl Fn(&mut ParamBuilder, &str) -> ModuleId,
    ) -> Result<Self> {
        let mut p = ParamBuilder::new(dtype);
        let ids: Vec<ModuleId> = (0..count).map(|i| declare(&mut p, &i.to_string())).collect();
        let mut params = p.finish().map_err(EngineError::Tensor)?;
        params.modules_mut().iter_mut().for_each(|m| m.packing = packing);
        Ok(Self { weights: Weights::random_of(&params, &ids, 3)?, ids, packing })
    }

    fn packed(&self, id: ModuleId) -> Result<Option<PackedRef<'_>>> {
        let Some(packing) = self.packing else { return Ok(None) };
        let part = |part| self.weights.get(id, part);
        let biases = if packing.has_biases() { Some(part(Part::Biases)?) } else { None };
        let (weight, scales) = (part(Part::Weight)?, part(Part::Scales)?);
        Ok(Some(PackedRef { weight, scales, biases, packing }))
    }
}

/// A vector times a matrix, then the start of the result times the next copy.
fn product(
    ops: &Ops,
    inner: u32,
    outer: u32,
    packing: Option<Packing>,
    dtype: DType,
) -> Result<Kernel> {
    let weights = u64::from(inner) * u64::from(outer);
    let bytes = match packing {
        Some(p) => weights * u64::from(p.bits) / 8,
        None => weights * dtype.bytes(),
    };
    let copies = (ROTATED / bytes.max(1)).clamp(2, 12) as u32;
    let (rows, columns) = (u64::from(outer), u64::from(inner));
    let matrices =
        Matrices::new(copies, packing, dtype, |p, name| p.linear(name, columns, rows, false))?;
    let x = random_array(ops, &Shape::new(&[1, inner]), dtype, 1)?;
    let class = match packing {
        Some(p) => Class::Packed(PackedClass::of(p, dtype)),
        None => Class::Dense(dtype),
    };
    let count = if packing.is_some() { weights } else { bytes };
    let run = move |ops: &Ops| {
        let mut x = x.clone();
        for &id in &matrices.ids {
            let y = match matrices.packed(id)? {
                Some(w) => ops.quantized_matmul(&x, w, true)?,
                None => {
                    let w = matrices.weights.get(id, Part::Weight)?;
                    let w = ops.transpose(w, &crate::graph::shape::Axes::new([1, 0]))?;
                    ops.matmul(&x, &w)?
                }
            };
            x = front(ops, &y, inner)?;
        }
        eval(&[&x])
    };
    Ok(kernel(class, vec![1.0, count as f64], copies, Box::new(run)))
}

/// The first `n` columns, a view.
fn front(ops: &Ops, y: &Array, n: u32) -> Result<Array> {
    let shape = super::kernels::shape_of(y);
    if shape.dim(-1) == n { Ok(y.clone()) } else { held(ops, y, &shape.with(-1, n)) }
}

/// The first elements of every axis, a view.
fn held(ops: &Ops, x: &Array, shape: &Shape) -> Result<Array> {
    let zeros = Shape::new(&[0; 8][..shape.rank()]);
    let ones = Shape::new(&[1; 8][..shape.rank()]);
    ops.slice(x, &zeros, &ones, shape)
}

/// A vector times the square matrices of `chosen` of 8 experts.
fn experts(ops: &Ops, width: u32, chosen: u32, packing: Packing, dtype: DType) -> Result<Kernel> {
    const EXPERTS: u64 = 8;
    let side = u64::from(width);
    let copies = 4;
    let matrices = Matrices::new(copies, Some(packing), dtype, |p, name| {
        p.switch_linear(name, side, side, EXPERTS, false)
    })?;
    let x = random_array(ops, &Shape::new(&[chosen, 1, width]), dtype, 1)?;
    let numbers: Vec<f64> = (0..chosen).map(|i| f64::from(i * 2 % 8)).collect();
    let right = ops.numbers(&numbers, &Shape::new(&[chosen]), DType::U32)?;
    let left = ops.arange(0.0, 1.0, chosen, DType::U32)?;
    let weights = f64::from(chosen) * f64::from(width) * f64::from(width);
    let run = move |ops: &Ops| {
        let mut x = x.clone();
        for &id in &matrices.ids {
            if let Some(w) = matrices.packed(id)? {
                x = ops.gather_qmm(&x, w, (&left, &right), true, false)?;
            }
        }
        eval(&[&x])
    };
    let class = Class::Experts(PackedClass::of(packing, dtype));
    Ok(kernel(class, vec![1.0, weights], copies, Box::new(run)))
}

/// Attention of one query over keys and values that change from call to call.
fn attention(ops: &Ops, [heads, kv, tokens, width]: [u32; 4], dtype: DType) -> Result<Kernel> {
    let shape = Shape::new(&[1, kv, tokens, width]);
    let bytes = 2 * shape.elements() * dtype.bytes();
    let copies = (ROTATED / bytes.max(1)).clamp(2, 12) as u32;
    // A cache has room for more tokens than it holds.
    let buffer = shape.with(2, tokens + 128);
    let mut caches = Vec::new();
    for i in 0..u64::from(copies) {
        let k = random_array(ops, &buffer, dtype, 2 * i + 1)?;
        caches.push((k, random_array(ops, &buffer, dtype, 2 * i + 2)?));
    }
    let q = random_array(ops, &Shape::new(&[1, heads, 1, width]), dtype, 1)?;
    let macs = f64::from(heads) * f64::from(tokens) * 2.0 * f64::from(width);
    let run = move |ops: &Ops| {
        let mut q = q.clone();
        for (k, v) in &caches {
            let [k, v] = [held(ops, k, &shape)?, held(ops, v, &shape)?];
            q = ops.attention([&q, &k, &v], 0.1, &AttentionMask::None, None)?;
        }
        eval(&[&q])
    };
    let counts = vec![1.0, bytes as f64, macs];
    Ok(kernel(Class::Attention(dtype), counts, copies, Box::new(run)))
}
