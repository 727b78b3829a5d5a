//! Strides and contiguity of arrays, as MLX keeps them.

use crate::graph::shape::{MAX_RANK, Shape};

/// Layout flags of `mx::array::Flags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags {
    /// No holes, apart from broadcast axes.
    pub contiguous: bool,
    /// Row major.
    pub row: bool,
    /// Column major.
    pub col: bool,
}

impl Flags {
    pub const DENSE: Self = Self { contiguous: true, row: true, col: true };
}

pub(super) type Strides = [u64; MAX_RANK];

/// Strides, in elements, of a row-contiguous array.
pub(super) fn row_strides(shape: &Shape) -> Strides {
    let mut strides = [0; MAX_RANK];
    let mut n: u64 = 1;
    for (i, &d) in shape.dims().iter().enumerate().rev() {
        strides[i] = n;
        n = n.saturating_mul(u64::from(d));
    }
    strides
}

/// Elements without broadcast axes, and whether the strides are row or column major
/// (`check_contiguity`, `mlx/utils.cpp`).
pub(super) fn contiguity(shape: &Shape, strides: &Strides) -> (u64, Flags) {
    let dims = shape.dims();
    let (mut row, mut col) = (true, true);
    let (mut forward, mut backward, mut size) = (1u64, 1u64, 1u64);
    for i in 0..dims.len() {
        let r = dims.len() - 1 - i;
        let (n, m) = (u64::from(dims[i]), u64::from(dims[r]));
        col &= strides[i] == forward || n == 1;
        row &= strides[r] == backward || m == 1;
        forward = forward.saturating_mul(n);
        backward = backward.saturating_mul(m);
        if strides[i] > 0 {
            size = size.saturating_mul(n);
        }
    }
    (size, Flags { contiguous: true, row, col })
}

/// Strides of a reshaped view, or `None` when the data must be copied (`prepare_reshape`,
/// `mlx/backend/common/common.cpp`).
pub(super) fn reshaped(from: &Shape, strides: &Strides, row: bool, to: &Shape) -> Option<Strides> {
    if row || from.elements() == 0 {
        return Some(row_strides(to));
    }
    if from.rank() == 0 {
        return Some([0; MAX_RANK]);
    }
    // Neighboring axes that lie one behind the other, merged: length and stride.
    let mut merged: [(u64, u64); MAX_RANK] = [(1, 0); MAX_RANK];
    let mut count = 0;
    for (&d, &s) in from.dims().iter().zip(strides) {
        let d = u64::from(d);
        if d == 1 {
            continue;
        }
        if count > 0 && merged[count - 1].1 == d * s {
            merged[count - 1] = (merged[count - 1].0 * d, s);
        } else {
            merged[count] = (d, s);
            count += 1;
        }
    }
    let count = count.max(1);
    let mut out = [0; MAX_RANK];
    let mut j = 0;
    for (i, &n) in to.dims().iter().enumerate() {
        let n = u64::from(n);
        if j < count && n > 0 && merged[j].0 % n == 0 {
            merged[j].0 /= n;
            out[i] = merged[j].0 * merged[j].1;
            j += usize::from(merged[j].0 == 1);
        } else if n == 1 && i > 0 {
            out[i] = out[i - 1];
        } else {
            return None;
        }
    }
    Some(out)
}
