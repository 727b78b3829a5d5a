//! Updates of parameters: `apply_single` of `mlx/optimizers/optimizers.py`, with the settings of `mlx_lm.lora`.

use super::options::Optimizer;
use crate::graph::op::Op;
use crate::graph::shape::Shape;
use crate::graph::tape::Var;
use crate::model::DType;

/// A parameter after an update, and what the optimizer keeps for it then.
pub(super) struct Updated<'t> {
    pub parameter: Var<'t>,
    pub state: Vec<Var<'t>>,
}

/// Scalars of the optimizer.
#[derive(Clone, Copy)]
pub(super) struct Scalars<'t> {
    /// The number of the update, already counted up.
    pub step: Var<'t>,
    pub learning_rate: Var<'t>,
}

/// One update of a parameter `p` with gradient `g`.
pub(super) fn apply<'t>(
    optimizer: Optimizer,
    (p, g): (Var<'t>, Var<'t>),
    state: &[Var<'t>],
    scalars: Scalars<'t>,
) -> Updated<'t> {
    let rate = scalars.learning_rate.astype(g.dtype());
    match optimizer {
        Optimizer::Adam => adam(p, g, state, rate),
        Optimizer::AdamW => adam(p * (1 - rate * 0.01), g, state, rate),
        Optimizer::Sgd => Updated { parameter: p - rate * g, state: state.to_vec() },
        Optimizer::Muon => muon(p, g, state[0], rate),
        Optimizer::Adafactor => adafactor(p, g, state, scalars),
    }
}

fn adam<'t>(p: Var<'t>, g: Var<'t>, state: &[Var<'t>], rate: Var<'t>) -> Updated<'t> {
    let m = state[0] * 0.9 + g * 0.1;
    let v = state[1] * 0.999 + g.square() * 0.001;
    let parameter = p - rate * m / (v.sqrt() + 1e-8);
    Updated { parameter, state: vec![m, v] }
}

/// Momentum of Muon.
const MOMENTUM: f64 = 0.95;

fn muon<'t>(p: Var<'t>, g: Var<'t>, state: Var<'t>, rate: Var<'t>) -> Updated<'t> {
    let g = g + p * 0.01;
    let v = state * MOMENTUM + g * (1.0 - MOMENTUM);
    let mut update = g * (1.0 - MOMENTUM) + v * MOMENTUM;
    let shape = update.shape();
    let mut rate = rate;
    if shape.rank() >= 2 {
        let wide = shape.rank() > 2;
        if wide {
            update = update.reshape(&[i64::from(shape.dim(0)), -1]);
        }
        update = orthogonal(update);
        if wide {
            update = update.reshape(&shape.signed());
        }
        let ratio = f64::from(shape.dim(-2)) / f64::from(shape.dim(-1).max(1));
        rate = rate * ratio.max(1.0).sqrt();
    }
    Updated { parameter: p - rate * update, state: vec![v] }
}

/// `_zeropower_via_newtonschulz5`.
fn orthogonal(x: Var<'_>) -> Var<'_> {
    let turned = x.dim(-2) > x.dim(-1);
    let mut x = if turned { x.transpose(&[1, 0]) } else { x };
    let norm = x.square().sum_axes(&[0, 1]).sqrt();
    x = x / (norm + 1e-7);
    for _ in 0..5 {
        let a = x.matmul(x.transpose(&[1, 0]));
        let b = add_mm(a * -4.775, a, a);
        x = add_mm(x * 3.4445, b, x);
    }
    if turned { x.transpose(&[1, 0]) } else { x }
}

/// `mx.addmm` of matrices of one type.
fn add_mm<'t>(c: Var<'t>, a: Var<'t>, b: Var<'t>) -> Var<'t> {
    c.tape().push(Op::AddMm, &[a, b, c], c.shape(), c.dtype())
}

fn root_mean_square(x: Var<'_>) -> Var<'_> {
    mean_of_all(x.square()).sqrt()
}

fn mean_of_all(x: Var<'_>) -> Var<'_> {
    let shape = x.shape();
    let axes: Vec<usize> = (0..shape.rank()).collect();
    let all: Vec<i32> = axes.iter().map(|&a| a as i32).collect();
    let sum = x.sum_axes(&axes);
    let sum = if all.is_empty() { sum } else { sum.squeeze(&all) };
    sum * (1.0 / shape.elements() as f64)
}

fn adafactor<'t>(
    p: Var<'t>,
    g: Var<'t>,
    state: &[Var<'t>],
    Scalars { step, .. }: Scalars<'t>,
) -> Updated<'t> {
    let t = p.tape();
    let size = root_mean_square(p);
    let dtype = size.dtype();
    let step = step.astype(DType::F32);
    let relative = step.rsqrt().minimum(1e-2).astype(dtype);
    let rate = size.maximum(1e-3) * relative;
    let beta = 1 - step.power(t.scalar(-0.8, DType::F32)).astype(dtype);
    let mut update = g.square() + 1e-30;
    let kept = if let &[rows, columns] = state {
        let rows = beta * rows + (1 - beta) * update.mean(-1, false);
        let columns = beta * columns + (1 - beta) * update.mean(-2, false);
        let by_row = (rows / rows.mean(-1, true)).rsqrt();
        let by_column = columns.rsqrt();
        update = by_row.expand_dims(&[-1]) * by_column.expand_dims(&[-2]) * g;
        vec![rows, columns]
    } else {
        let all = beta * state[0] + (1 - beta) * update;
        update = all.rsqrt() * g;
        vec![all]
    };
    update = update / root_mean_square(update).maximum(1.0);
    Updated { parameter: p - rate * update, state: kept }
}

/// What the optimizer keeps before the first update.
pub(super) fn fresh<'t>(like: Var<'t>, shapes: &[(Shape, DType)]) -> Vec<Var<'t>> {
    let t = like.tape();
    shapes.iter().map(|&(shape, dtype)| t.zeros_broadcast(shape, dtype)).collect()
}
