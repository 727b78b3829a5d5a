//! Kernels without matrices.

use super::super::ops::eval;
use super::{Array, Class, DType, Kernel, Ops, Result, Scale, Shape, random_array};
use crate::graph::op::{Reduction, Rope};
use crate::graph::shape::Axes;

/// `x + y` of arrays of `bytes`: two are read, one is written.
pub(super) fn elementwise(ops: &Ops, bytes: u64, dtype: DType) -> Result<Kernel> {
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
    Ok(Kernel::new(Class::Elementwise, vec![1.0, 3.0 * bytes as f64], launches, Box::new(run)))
}

/// One element written into arrays that are still needed, so that each is copied.
pub(super) fn copy(ops: &Ops, bytes: u64, scale: Scale, dtype: DType) -> Result<Kernel> {
    let copies = (scale.rotated / bytes).clamp(8, 100) as u32;
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
    Ok(Kernel::new(Class::Copy, vec![1.0, 2.0 * bytes as f64], copies, Box::new(run)))
}

/// A transpose and its way back.
pub(super) fn view(ops: &Ops, dtype: DType) -> Result<Kernel> {
    let x = random_array(ops, &Shape::new(&[1, 8, 1, 64]), dtype, 1)?;
    let (wide, order) = (Shape::new(&[1, 1, 512]), Axes::new([0, 2, 1, 3]));
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
    Ok(Kernel::new(Class::View, vec![1.0], 200, Box::new(run)))
}

/// Sigmoids: one array is read, one is written.
pub(super) fn transcendental(ops: &Ops, bytes: u64, dtype: DType) -> Result<Kernel> {
    let x = random_array(ops, &Shape::new(&[(bytes / dtype.bytes()) as u32]), dtype, 1)?;
    let launches = ((4 << 20) / bytes.max(1)).clamp(4, 200) as u32;
    let run = move |ops: &Ops| {
        let mut x = x.clone();
        for _ in 0..launches {
            x = ops.unary("sigmoid", mlx_sys::mlx_sigmoid, &x)?;
        }
        eval(&[&x])
    };
    Ok(Kernel::new(Class::Transcendental, vec![1.0, 2.0 * bytes as f64], launches, Box::new(run)))
}

/// A softmax of one row.
pub(super) fn softmax(ops: &Ops, width: u32, dtype: DType) -> Result<Kernel> {
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
    Ok(Kernel::new(Class::Reduction, vec![1.0, bytes], launches, Box::new(run)))
}

/// An RMS norm of one row.
pub(super) fn norm(ops: &Ops, width: u32, dtype: DType) -> Result<Kernel> {
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
    Ok(Kernel::new(Class::Norm, vec![1.0, bytes], launches, Box::new(run)))
}

pub(super) fn rope(ops: &Ops, heads: u32, dtype: DType) -> Result<Kernel> {
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
    Ok(Kernel::new(Class::Rope, vec![1.0, bytes], 100, Box::new(run)))
}

/// Sums of whole arrays that no cache holds.
pub(super) fn sum(ops: &Ops, bytes: u64, scale: Scale, dtype: DType) -> Result<Kernel> {
    let copies = (scale.rotated / bytes).clamp(3, 100) as u32;
    let shape = Shape::new(&[(bytes / dtype.bytes()) as u32]);
    let arrays: Vec<Array> =
        (0..copies).map(|i| random_array(ops, &shape, dtype, i.into())).collect::<Result<_>>()?;
    let run = move |ops: &Ops| {
        let sums: Vec<Array> = arrays
            .iter()
            .map(|x| ops.reduce(Reduction::Sum, x, &Axes::new([0])))
            .collect::<Result<_>>()?;
        eval(&sums.iter().collect::<Vec<_>>())
    };
    Ok(Kernel::new(Class::Sum, vec![1.0, bytes as f64], copies, Box::new(run)))
}
