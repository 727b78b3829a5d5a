//! Products with matrices of random values.

use super::super::error::EngineError;
use super::super::ops::{PackedRef, eval};
use super::super::weights::LoadedWeights;
use super::{Array, Class, DType, Kernel, Ops, Result, Scale, Shape, held, random_array};
use crate::calibration::work::PackedClass;
use crate::graph::params::{ParamBuilder, Part};
use crate::graph::shape::Axes;
use crate::model::Packing;

/// Columns of the matrix that the pool is.
const COLUMNS: u64 = 2048;

/// Random weights of one format, from which matrices of any shape are cut without copying.
pub(super) struct Pool {
    scale: Scale,
    dtype: DType,
    packing: Option<Packing>,
    /// Number of weights.
    size: u64,
    weight: Array,
    /// Scales and biases of packed weights.
    scales: Option<Array>,
    biases: Option<Array>,
}

/// A matrix, or one per expert.
struct Matrix {
    weight: Array,
    scales: Option<Array>,
    biases: Option<Array>,
}

impl Pool {
    pub(super) fn new(packing: Option<Packing>, scale: Scale, dtype: DType) -> Result<Self> {
        let bits = packing.map_or(8 * dtype.bytes(), |p| p.bits.into());
        let rows = (scale.rotated * 8 / bits).div_ceil(COLUMNS);
        let mut p = ParamBuilder::new(dtype);
        let id = p.linear("pool", COLUMNS, rows, false);
        let mut params = p.finish().map_err(EngineError::Tensor)?;
        params.modules_mut().iter_mut().for_each(|m| m.packing = packing);
        let weights = LoadedWeights::random_of(&params, &[id], 3)?;
        let part = |part| weights.get(id, part).cloned();
        let biased = packing.is_some_and(|p| p.has_biases());
        Ok(Self {
            scale,
            dtype,
            packing,
            size: rows * COLUMNS,
            weight: part(Part::Weight)?,
            scales: packing.map(|_| part(Part::Scales)).transpose()?,
            biases: biased.then(|| part(Part::Biases)).transpose()?,
        })
    }

    /// As many different matrices `[experts,] outer x inner` as there are, within limits.
    fn matrices(&self, ops: &Ops, experts: u32, (inner, outer): (u32, u32)) -> Result<Vec<Matrix>> {
        let each = u64::from(experts) * u64::from(inner) * u64::from(outer);
        let copies = (self.size / each.max(1)).clamp(1, self.scale.copies) as u32;
        let lead = if experts > 1 { vec![experts, outer] } else { vec![outer] };
        let cut = |whole: &Array, i: u32, per_row: u64| {
            // Elements of one matrix in this tensor.
            let one = u64::from(experts) * u64::from(outer) * per_row;
            let flat = Shape::new(&[whole.size() as u32]);
            let whole = ops.reshape(whole, &flat)?;
            let start = Shape::new(&[(u64::from(i) * one) as u32]);
            let part = ops.slice(&whole, &start, &Shape::new(&[1]), &Shape::new(&[one as u32]))?;
            let mut shape = lead.clone();
            shape.push(per_row as u32);
            ops.reshape(&part, &Shape::new(&shape))
        };
        let inner = u64::from(inner);
        let (words, groups) = match self.packing {
            Some(p) => (inner * u64::from(p.bits) / 32, inner / u64::from(p.group.max(1))),
            None => (inner, 0),
        };
        let mut all = Vec::new();
        for i in 0..copies {
            let of_groups = |x: &Option<Array>| x.as_ref().map(|x| cut(x, i, groups)).transpose();
            let matrix = Matrix {
                weight: cut(&self.weight, i, words)?,
                scales: of_groups(&self.scales)?,
                biases: of_groups(&self.biases)?,
            };
            let parts = [Some(&matrix.weight), matrix.scales.as_ref(), matrix.biases.as_ref()];
            eval(&parts.into_iter().flatten().collect::<Vec<_>>())?;
            all.push(matrix);
        }
        Ok(all)
    }

    /// The class and counts of `weights` multiplications.
    fn counts(&self, prompt: bool, weights: f64) -> (Class, Vec<f64>) {
        match (self.packing, prompt) {
            (Some(p), false) => {
                (Class::Packed(PackedClass::of(p, self.dtype)), PackedClass::counts(p, weights))
            }
            (Some(p), true) => {
                let class = Class::PackedPrompt(PackedClass::of(p, self.dtype));
                (class, PackedClass::counts(p, weights))
            }
            (None, false) => {
                (Class::Dense(self.dtype), vec![1.0, weights * self.dtype.bytes() as f64])
            }
            (None, true) => (Class::DensePrompt(self.dtype), vec![1.0, weights]),
        }
    }
}

impl Matrix {
    fn packed(&self, packing: Packing) -> Option<PackedRef<'_>> {
        let (weight, scales) = (&self.weight, self.scales.as_ref()?);
        Some(PackedRef { weight, scales, biases: self.biases.as_ref(), packing })
    }

    fn times(&self, ops: &Ops, x: &Array, packing: Option<Packing>) -> Result<Array> {
        match packing.and_then(|p| self.packed(p)) {
            Some(w) => ops.quantized_matmul(x, w, true),
            None => ops.matmul(x, &ops.transpose(&self.weight, &Axes::new([1, 0]))?),
        }
    }
}

/// Rows times a matrix, then the start of the result times the next one.
pub(super) fn product(
    ops: &Ops,
    pool: &Pool,
    (inner, outer): (u32, u32),
    rows: u32,
) -> Result<Kernel> {
    let matrices = pool.matrices(ops, 1, (inner, outer))?;
    // The time of a prompt's product is that of its arithmetic, whatever holds the matrix.
    let copies = if rows > 1 { 2.min(matrices.len()) } else { matrices.len() };
    let x = random_array(ops, &Shape::new(&[rows, inner]), pool.dtype, 1)?;
    let weights = f64::from(rows) * f64::from(inner) * f64::from(outer);
    let (class, counts) = pool.counts(rows > 1, weights);
    let packing = pool.packing;
    let run = move |ops: &Ops| {
        let mut x = x.clone();
        for matrix in matrices.iter().take(copies) {
            let y = matrix.times(ops, &x, packing)?;
            x = if outer == inner { y } else { held(ops, &y, &Shape::new(&[rows, inner]))? };
        }
        eval(&[&x])
    };
    Ok(Kernel::new(class, counts, copies as u32, Box::new(run)))
}

/// Experts of a model of which one call uses some.
const EXPERTS: u32 = 8;

/// A vector times the square matrices of `chosen` experts.
pub(super) fn experts(ops: &Ops, pool: &Pool, side: u32, chosen: u32) -> Result<Kernel> {
    let rows: Vec<u32> = (0..chosen).map(|i| i * 2 % EXPERTS).collect();
    gathered(ops, pool, side, &rows, false)
}

/// Rows of a prompt, sorted by expert.
pub(super) fn experts_of_prompt(ops: &Ops, pool: &Pool, side: u32, rows: u32) -> Result<Kernel> {
    let rows: Vec<u32> = (0..rows).map(|i| i * EXPERTS / rows).collect();
    gathered(ops, pool, side, &rows, true)
}

fn gathered(ops: &Ops, pool: &Pool, side: u32, experts: &[u32], prompt: bool) -> Result<Kernel> {
    let Some(packing) = pool.packing else {
        return Err(EngineError::Unsupported("experts of unpacked weights".to_owned()));
    };
    let mut matrices = pool.matrices(ops, EXPERTS, (side, side))?;
    matrices.truncate(if prompt { 2 } else { 4 });
    let n = experts.len() as u32;
    let x = random_array(ops, &Shape::new(&[n, 1, side]), pool.dtype, 1)?;
    let numbers: Vec<f64> = experts.iter().map(|&e| f64::from(e)).collect();
    let right = ops.numbers(&numbers, &Shape::new(&[n]), DType::U32)?;
    let left = ops.arange(0.0, 1.0, n, DType::U32)?;
    let counts = PackedClass::counts(packing, f64::from(n) * f64::from(side) * f64::from(side));
    let class = PackedClass::of(packing, pool.dtype);
    let class = if prompt { Class::ExpertsPrompt(class) } else { Class::Experts(class) };
    let copies = matrices.len() as u32;
    let run = move |ops: &Ops| {
        let mut x = x.clone();
        for matrix in &matrices {
            if let Some(w) = matrix.packed(packing) {
                x = ops.gather_qmm(&x, w, (&left, &right), true, prompt)?;
            }
        }
        eval(&[&x])
    };
    Ok(Kernel::new(class, counts, copies, Box::new(run)))
}
