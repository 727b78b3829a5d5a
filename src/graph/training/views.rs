//! Gradients of views, of reductions, and of what gathers, scatters and joins.

use super::recorded::Recorded;
use crate::graph::op::{Op, Training};
use crate::graph::shape::{Axes, MAX_RANK, Shape};
use crate::graph::tape::Var;

fn list(axes: &Axes) -> Vec<i32> {
    axes.iter().map(|a| a as i32).collect()
}

pub(super) fn reshaped_to(g: Var<'_>, shape: Shape) -> Var<'_> {
    g.reshape(&shape.signed())
}

/// First axis of `long` that `short` has together with the axes after it, and how many those are.
fn merged(long: &Shape, short: &Shape) -> (usize, usize) {
    let extra = long.rank() - short.rank();
    let fits = |&at: &usize| {
        let product: u32 = long.dims()[at..=at + extra].iter().product();
        long.dims()[..at] == short.dims()[..at]
            && product == short.dims()[at]
            && long.dims()[at + extra + 1..] == short.dims()[at + 1..]
    };
    ((0..short.rank()).find(fits).unwrap_or(0), extra + 1)
}

/// Back to the axes that a flattening has made one.
pub(super) fn unflattened(g: Var<'_>, shape: Shape) -> Var<'_> {
    if shape.rank() <= g.shape().rank() {
        return reshaped_to(g, shape);
    }
    let (at, count) = merged(&shape, &g.shape());
    g.unflatten(at as i32, &shape.signed()[at..at + count])
}

/// Back to the axis that an unflattening has cut.
pub(super) fn flattened(g: Var<'_>, shape: Shape) -> Var<'_> {
    if shape.rank() >= g.shape().rank() {
        return reshaped_to(g, shape);
    }
    let (at, count) = merged(&g.shape(), &shape);
    g.flatten(at as i32, (at + count - 1) as i32)
}

pub(super) fn transposed_back<'t>(g: Var<'t>, axes: &Axes) -> Var<'t> {
    let mut order = [0; MAX_RANK];
    axes.iter().enumerate().for_each(|(i, axis)| order[axis] = i);
    g.transpose(&order[..g.shape().rank()])
}

pub(super) fn squeezed<'t>(g: Var<'t>, axes: &Axes) -> Var<'t> {
    g.squeeze(&list(axes))
}

pub(super) fn expanded<'t>(g: Var<'t>, axes: &Axes) -> Var<'t> {
    g.expand_dims(&list(axes))
}

/// The sum over the axes along which an array of `shape` was repeated.
pub(super) fn summed_to(g: Var<'_>, shape: Shape) -> Var<'_> {
    let wide = g.shape();
    let added = wide.rank() - shape.rank();
    let repeated = (0..shape.rank()).filter(|&i| shape.dims()[i] != wide.dims()[added + i]);
    let axes: Vec<usize> = (0..added).chain(repeated.map(|i| added + i)).collect();
    let sum = g.sum_axes(&axes);
    if added == 0 {
        return sum;
    }
    sum.squeeze(&(0..added as i32).collect::<Vec<_>>())
}

/// Zeros of the shape of `x` with `g` in the place of the slice.
pub(super) fn put_back<'t>(x: Var<'t>, g: Var<'t>, starts: Shape) -> Var<'t> {
    let op = Op::SliceUpdate(Box::new(starts));
    g.tape().push(op, &[x.zeros_like(), g], x.shape(), x.dtype())
}

/// The elements that were the largest or smallest share the gradient.
pub(super) fn to_extremes<'t>(r: &Recorded<'t>, axes: &Axes) -> Var<'t> {
    let mask = r.x().equal(r.outputs[0]);
    let count = mask.sum_axes(&axes.iter().collect::<Vec<_>>());
    r.g() / count * mask
}

/// Of a product: the product of all others, by sums from both ends.
pub(super) fn of_product<'t>(r: &Recorded<'t>, axes: &Axes) -> Var<'t> {
    let axis = axes.iter().next().unwrap_or(0) as i32;
    r.x().cumsum(axis) * r.x().cumsum(axis) * r.g()
}

/// Back into the order before a sorting.
pub(super) fn unsorted<'t>(r: &Recorded<'t>, order: Var<'t>, axis: u8) -> Var<'t> {
    r.x().zeros_like().put_along_axis(order, r.g(), i32::from(axis), false)
}

/// `scatter_add` of the gradient into zeros of the shape of the gathered array.
pub(super) fn scattered<'t>(r: &Recorded<'t>, axes: &Axes) -> Var<'t> {
    let x = r.x();
    let mut inputs = vec![x.zeros_like()];
    inputs.extend_from_slice(&r.inputs[1..]);
    inputs.push(r.g());
    let op = Op::Training(Training::ScatterAdd(*axes));
    x.tape().push(op, &inputs, x.shape(), x.dtype())
}

pub(super) fn of_scatter_axis<'t>(r: &Recorded<'t>, i: usize, axis: u8, add: bool) -> Var<'t> {
    let (g, indices, axis) = (r.g(), r.inputs[1], i32::from(axis));
    match i {
        0 if add => g,
        0 => g.put_along_axis(indices, r.inputs[2].zeros_like(), axis, false),
        _ => g.take_along_axis(indices, axis),
    }
}

pub(super) fn of_scatter<'t>(r: &Recorded<'t>, i: usize, axes: &Axes, add: bool) -> Var<'t> {
    let g = r.g();
    let last = r.inputs.len() - 1;
    let new = r.inputs[last];
    if i == 0 {
        if add {
            return g;
        }
        let mut inputs = vec![g];
        inputs.extend_from_slice(&r.inputs[1..last]);
        inputs.push(new.zeros_like());
        return g.tape().push(Op::Scatter(*axes), &inputs, g.shape(), g.dtype());
    }
    let mut sizes = g.shape();
    axes.iter().for_each(|a| sizes = sizes.with(a as i32, 1));
    let mut inputs = vec![g];
    inputs.extend_from_slice(&r.inputs[1..last]);
    g.tape().push(Op::Gather(Box::new((*axes, sizes))), &inputs, new.shape(), g.dtype())
}

/// The part of the gradient that belongs to part `i` of a joined array.
pub(super) fn part<'t>(r: &Recorded<'t>, i: usize, axis: i32) -> Var<'t> {
    let before: u32 = r.inputs[..i].iter().map(|v| v.dim(axis)).sum();
    r.g().slice(axis, before, before + r.inputs[i].dim(axis))
}

fn slice_at<'t>(x: Var<'t>, starts: &Shape, size: Shape) -> Var<'t> {
    let ends = starts.dims().iter().zip(size.dims()).enumerate();
    let parts: Vec<(i32, u32, u32)> = ends.map(|(a, (&s, &n))| (a as i32, s, s + n)).collect();
    x.slice_axes(&parts)
}

pub(super) fn of_update<'t>(r: &Recorded<'t>, i: usize, starts: &Shape, times: bool) -> Var<'t> {
    let (g, new) = (r.g(), r.inputs[1]);
    if i == 0 {
        let (op, by) = if times {
            (Op::SliceMultiply(Box::new(*starts)), new)
        } else {
            (Op::SliceUpdate(Box::new(*starts)), new.zeros_like())
        };
        return g.tape().push(op, &[g, by], g.shape(), g.dtype());
    }
    let part = slice_at(g, starts, new.shape());
    if times { part * slice_at(r.x(), starts, new.shape()) } else { part }
}

pub(super) fn unpadded<'t>(r: &Recorded<'t>, low: &Shape) -> Var<'t> {
    slice_at(r.g(), low, r.x().shape())
}
