//! Custom kernels, spelled out in MLX operations.
//!
//! mlx-lm writes these recurrences as Metal kernels and falls back to the same elementary operations on the CPU; so
//! does this file. On a Mac the results are the same, but a hybrid model runs slower this way than in mlx-lm.

use super::error::EngineError;
use super::ops::{Array, Ops};
use crate::graph::op::{Kernel, Reduction};
use crate::graph::shape::{Axes, Shape};
use crate::model::DType;

type Result<T> = std::result::Result<T, EngineError>;

/// Arithmetic on arrays, to keep the formulas readable.
struct Math<'o>(&'o Ops);

impl Math<'_> {
    fn mul(&self, a: &Array, b: &Array) -> Result<Array> {
        self.0.binary("multiply", mlx_sys::mlx_multiply, a, b)
    }

    fn add(&self, a: &Array, b: &Array) -> Result<Array> {
        self.0.binary("add", mlx_sys::mlx_add, a, b)
    }

    fn sub(&self, a: &Array, b: &Array) -> Result<Array> {
        self.0.binary("subtract", mlx_sys::mlx_subtract, a, b)
    }

    fn div(&self, a: &Array, b: &Array) -> Result<Array> {
        self.0.binary("divide", mlx_sys::mlx_divide, a, b)
    }

    fn exp(&self, x: &Array) -> Result<Array> {
        self.0.unary("exp", mlx_sys::mlx_exp, x)
    }

    fn neg(&self, x: &Array) -> Result<Array> {
        self.0.unary("negative", mlx_sys::mlx_negative, x)
    }

    fn f32(&self, x: &Array) -> Result<Array> {
        self.0.as_type(x, DType::F32)
    }

    /// The sum over one axis, which stays as 1.
    fn sum(&self, x: &Array, axis: usize) -> Result<Array> {
        self.0.reduce(Reduction::Sum, x, &Axes::new([axis]))
    }

    fn shaped(&self, x: &Array, dims: &[u32]) -> Result<Array> {
        self.0.reshape(x, &Shape::new(dims))
    }

    /// Index `i` of axis 1, which goes away.
    fn token(&self, x: &Array, i: u32) -> Result<Array> {
        let shape = shape_of(x);
        let start = Shape::new(&[0; 8][..shape.rank()]).with(1, i);
        let ones = Shape::new(&[1; 8][..shape.rank()]);
        let part = self.0.slice(x, &start, &ones, &shape.with(1, 1))?;
        let mut to = shape;
        to.remove(1);
        self.0.reshape(&part, &to)
    }

    /// Every index of axis `axis`, `times` times in a row.
    fn repeat(&self, x: &Array, axis: usize, times: u32) -> Result<Array> {
        if times == 1 {
            return Ok(x.clone());
        }
        let shape = shape_of(x);
        let (mut apart, mut wide, mut to) = (shape, shape, shape);
        apart.insert(axis + 1, 1);
        wide.insert(axis + 1, times);
        to = to.with(axis as i32, shape.dim(axis as i32) * times);
        let x = self.0.reshape(x, &apart)?;
        let x = self.0.broadcast(&x, &wide)?;
        self.0.reshape(&x, &to)
    }

    /// Tokens `[batch, …]` joined along a new axis 1.
    fn stack(&self, tokens: &[Array]) -> Result<Array> {
        let apart: Vec<Array> = tokens
            .iter()
            .map(|x| {
                let mut shape = shape_of(x);
                shape.insert(1, 1);
                self.0.reshape(x, &shape)
            })
            .collect::<Result<_>>()?;
        self.0.concatenate(&apart.iter().collect::<Vec<_>>(), 1)
    }

    fn number(&self, value: f64) -> Result<Array> {
        self.0.numbers(&[value], &Shape::SCALAR, DType::F32)
    }

    fn sigmoid(&self, x: &Array) -> Result<Array> {
        self.0.unary("sigmoid", mlx_sys::mlx_sigmoid, x)
    }
}

pub(super) fn shape_of(x: &Array) -> Shape {
    let dims: Vec<u32> = x.shape().iter().map(|&n| n.unsigned_abs()).collect();
    Shape::new(&dims)
}

/// Runs a custom kernel. `out` holds the types of its outputs.
pub(super) fn run(
    ops: &Ops,
    kernel: Kernel,
    inputs: &[&Array],
    out: &[(Shape, DType)],
) -> Result<Vec<Array>> {
    let m = Math(ops);
    let outputs = match (kernel, inputs) {
        (Kernel::GatedDelta, &[q, k, v, g, beta, state]) => {
            gated_delta(&m, [q, k, v, g, beta], state)?
        }
        (Kernel::SsmUpdate, &[x, a_log, b, c, d, dt, state]) => {
            ssm_update(&m, x, [a_log, b, c, d, dt], state)?
        }
        (Kernel::Wkv7, &[r, w, k, v, a, b, state, ..]) => wkv7(&m, [r, w, k, v, a, b], state)?,
        (Kernel::Sinkhorn { rounds }, &[x, eps]) => vec![sinkhorn(&m, x.clone(), eps, rounds)?],
        (Kernel::HyperCollapse { rounds, eps_nano }, &[streams, logits, scale, base]) => {
            let eps = m.number(f64::from(eps_nano) * 1e-9)?;
            hyper_collapse(&m, streams, [logits, scale, base], &eps, rounds)?
        }
        (Kernel::ResidualMix, &[raw, inverse, sum, query, eps, _]) => {
            vec![residual_mix(&m, [raw, inverse, sum, query, eps])?]
        }
        (
            Kernel::GatedDelta
            | Kernel::SsmUpdate
            | Kernel::Wkv7
            | Kernel::Sinkhorn { .. }
            | Kernel::HyperCollapse { .. }
            | Kernel::ResidualMix,
            _,
        ) => {
            let n = inputs.len();
            return Err(EngineError::Unsupported(format!("the kernel {kernel:?} of {n} inputs")));
        }
        // Not spelled out here.
        (
            Kernel::BitLinear
            | Kernel::QkNorm
            | Kernel::QkNormRope
            | Kernel::NormGate
            | Kernel::ExpertRouting
            | Kernel::NormAddNorm
            | Kernel::NormAdd
            | Kernel::ExpertCombine
            | Kernel::SparseAttention,
            _,
        ) => return Err(EngineError::Unsupported(format!("the kernel {kernel:?}"))),
    };
    outputs
        .iter()
        .zip(out)
        .map(|(x, (shape, dtype))| {
            let x = ops.as_type(x, *dtype)?;
            ops.reshape(&x, shape)
        })
        .collect()
}

/// `gated_delta_ops` of mlx-lm: one token after the other.
fn gated_delta(m: &Math<'_>, [q, k, v, g, beta]: [&Array; 5], state: &Array) -> Result<Vec<Array>> {
    let (sq, sv) = (shape_of(q), shape_of(v));
    let (batch, tokens, heads) = (sq.dim(0), sq.dim(1), sv.dim(2));
    let (key, value) = (sq.dim(3), sv.dim(3));
    let times = heads / sq.dim(2).max(1);
    let (q, k) = (m.repeat(q, 2, times)?, m.repeat(k, 2, times)?);
    let per_key = shape_of(g).rank() == 4;
    let mut state = m.f32(state)?;
    let mut out = Vec::new();
    for t in 0..tokens {
        let row = |x: &Array, width: u32| m.shaped(&m.token(x, t)?, &[batch, heads, 1, width]);
        let (q, k, g) = (row(&q, key)?, row(&k, key)?, row(g, if per_key { key } else { 1 })?);
        let v = m.shaped(&m.token(v, t)?, &[batch, heads, value, 1])?;
        state = m.mul(&state, &g)?;
        let known = m.sum(&m.mul(&state, &k)?, 3)?;
        let delta = m.mul(&m.sub(&v, &known)?, &row(beta, 1)?)?;
        state = m.add(&state, &m.mul(&k, &delta)?)?;
        let y = m.sum(&m.mul(&state, &q)?, 3)?;
        out.push(m.shaped(&y, &[batch, heads, value])?);
    }
    Ok(vec![m.stack(&out)?, state])
}

/// One token of the Mamba-2 recurrence, in float32 as in the kernel.
fn ssm_update(
    m: &Math<'_>,
    x: &Array,
    [a_log, b, c, d, dt]: [&Array; 5],
    state: &Array,
) -> Result<Vec<Array>> {
    let (ss, sb) = (shape_of(state), shape_of(b));
    let (batch, heads, width, size) = (ss.dim(0), ss.dim(1), ss.dim(2), ss.dim(3));
    let groups = sb.elements() as u32 / (batch * size).max(1);
    let per_group = |x: &Array| {
        let x = m.shaped(&m.f32(x)?, &[batch, groups, size])?;
        m.shaped(&m.repeat(&x, 1, heads / groups.max(1))?, &[batch, heads, 1, size])
    };
    let (b, c) = (per_group(b)?, per_group(c)?);
    let x = m.shaped(&m.f32(x)?, &[batch, heads, width, 1])?;
    let dt = m.shaped(&m.f32(dt)?, &[batch, heads, 1, 1])?;
    let per_head = |x: &Array| m.shaped(&m.f32(x)?, &[1, heads, 1, 1]);
    let rate = m.neg(&m.exp(&per_head(a_log)?)?)?;
    let decay = m.exp(&m.mul(&rate, &dt)?)?;
    let input = m.mul(&m.mul(&x, &dt)?, &b)?;
    let state = m.add(&m.mul(&decay, &m.f32(state)?)?, &input)?;
    let y = m.sum(&m.mul(&state, &c)?, 3)?;
    Ok(vec![m.add(&y, &m.mul(&x, &per_head(d)?)?)?, state])
}

/// The RWKV-7 recurrence, one token after the other.
fn wkv7(m: &Math<'_>, [r, w, k, v, a, b]: [&Array; 6], state: &Array) -> Result<Vec<Array>> {
    let shape = shape_of(r);
    let (batch, tokens, heads, n) = (shape.dim(0), shape.dim(1), shape.dim(2), shape.dim(3));
    let mut state = state.clone();
    let mut out = Vec::new();
    for t in 0..tokens {
        let row = |x: &Array| m.shaped(&m.token(x, t)?, &[batch, heads, 1, n]);
        let column = |x: &Array| m.shaped(&m.token(x, t)?, &[batch, heads, n, 1]);
        let removed = m.mul(&m.0.matmul(&state, &column(a)?)?, &row(b)?)?;
        let kept = m.mul(&state, &row(w)?)?;
        let added = m.mul(&column(v)?, &row(k)?)?;
        state = m.add(&m.add(&kept, &added)?, &removed)?;
        let y = m.0.matmul(&state, &column(r)?)?;
        out.push(m.shaped(&y, &[batch, heads, n])?);
    }
    Ok(vec![m.stack(&out)?, state])
}

/// Columns, then rows and columns `rounds - 1` more times, divided by their sums.
fn sinkhorn(m: &Math<'_>, x: Array, eps: &Array, rounds: u32) -> Result<Array> {
    let rank = shape_of(&x).rank();
    let divided = |x: Array, axis: usize| m.div(&x, &m.add(&m.sum(&x, axis)?, eps)?);
    let mut x = divided(x, rank - 2)?;
    for _ in 1..rounds {
        x = divided(x, rank - 1)?;
        x = divided(x, rank - 2)?;
    }
    Ok(x)
}

/// The mixes of hyper-connections from their logits, and the collapsed streams.
fn hyper_collapse(
    m: &Math<'_>,
    streams: &Array,
    [logits, scale, base]: [&Array; 3],
    eps: &Array,
    rounds: u32,
) -> Result<Vec<Array>> {
    let shape = shape_of(streams);
    let (batch, tokens, n) = (shape.dim(0), shape.dim(1), shape.dim(2));
    let part = |i: u32, from: u32, width: u32| {
        let all = shape_of(logits);
        let ones = Shape::new(&[1; 8][..all.rank()]);
        let start = Shape::new(&[0; 8][..all.rank()]).with(-1, from);
        let x = m.0.slice(logits, &start, &ones, &all.with(-1, width))?;
        let one = Shape::new(&[1]);
        let scale = m.0.slice(scale, &Shape::new(&[i]), &one, &one)?;
        let base = m.0.slice(base, &Shape::new(&[from]), &one, &Shape::new(&[width]))?;
        m.add(&m.mul(&x, &scale)?, &base)
    };
    let pre = m.add(&m.sigmoid(&part(0, 0, n)?)?, eps)?;
    let post = m.mul(&m.sigmoid(&part(1, n, n)?)?, &m.number(2.0)?)?;
    let between = m.shaped(&part(2, 2 * n, n * n)?, &[batch, tokens, n, n])?;
    let between = m.add(&m.0.softmax(&between, false)?, eps)?;
    let between = sinkhorn(m, between, eps, rounds)?;
    let pre = m.shaped(&pre, &[batch, tokens, n, 1])?;
    let x = m.sum(&m.mul(&pre, &m.f32(streams)?)?, 2)?;
    Ok(vec![x, post, between])
}

/// Softmax over the scores of earlier sums and the running one, then their weighted sum.
fn residual_mix(m: &Math<'_>, [raw, inverse, sum, query, eps]: [&Array; 5]) -> Result<Array> {
    let shape = shape_of(raw);
    let (blocks, width) = (shape.dim(0), shape.dim(-1));
    let rows = (shape.elements() / (u64::from(blocks) * u64::from(width)).max(1)) as u32;
    let raw = m.shaped(&m.f32(raw)?, &[blocks, rows, width])?;
    let inverse = m.shaped(&m.f32(inverse)?, &[blocks, rows, 1])?;
    let sum = m.shaped(&m.f32(sum)?, &[1, rows, width])?;
    let query = m.shaped(&m.f32(query)?, &[1, 1, width])?;
    let mean = m.mul(&m.sum(&m.mul(&sum, &sum)?, 2)?, &m.number(1.0 / f64::from(width.max(1)))?)?;
    let own = m.0.unary("rsqrt", mlx_sys::mlx_rsqrt, &m.add(&mean, eps)?)?;
    let all = m.0.concatenate(&[&raw, &sum], 0)?;
    let inverse = m.0.concatenate(&[&inverse, &own], 0)?;
    let scores = m.mul(&m.sum(&m.mul(&all, &query)?, 2)?, &inverse)?;
    let scores = m.0.transpose(&scores, &Axes::new([1, 2, 0]))?;
    let weights = m.0.softmax(&scores, true)?;
    let weights = m.0.transpose(&weights, &Axes::new([2, 0, 1]))?;
    m.sum(&m.mul(&all, &weights)?, 0)
}
