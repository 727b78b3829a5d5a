//! Shapes of arrays: at most eight dimensions, kept inline.

use serde::{Serialize, Serializer};
use std::fmt;

/// Most dimensions an array of a traced model may have.
pub const MAX_RANK: usize = 8;

/// Dimensions of an array, outermost first.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    rank: u8,
    dims: [u32; MAX_RANK],
}

impl Shape {
    /// A scalar.
    pub const SCALAR: Self = Self { rank: 0, dims: [0; MAX_RANK] };

    /// A shape with the given dimensions. More than [`MAX_RANK`] dimensions are cut off; the tape refuses such
    /// arrays before they come here.
    #[must_use]
    pub fn new(dims: &[u32]) -> Self {
        let mut shape = Self::SCALAR;
        for &n in dims {
            shape.push(n);
        }
        shape
    }

    /// The dimensions.
    #[must_use]
    pub fn dims(&self) -> &[u32] {
        &self.dims[..usize::from(self.rank)]
    }

    /// The dimensions for operations that take -1 too.
    #[must_use]
    pub fn signed(&self) -> Vec<i64> {
        self.dims().iter().map(|&n| i64::from(n)).collect()
    }

    /// Number of dimensions.
    #[must_use]
    pub fn rank(&self) -> usize {
        usize::from(self.rank)
    }

    /// Dimension `axis`, counted from the end when negative; 1 when there is no such axis.
    #[must_use]
    pub fn dim(&self, axis: i32) -> u32 {
        self.index(axis).map_or(1, |i| self.dims[i])
    }

    /// Position of `axis`, counted from the end when negative.
    #[must_use]
    pub fn index(&self, axis: i32) -> Option<usize> {
        let rank = i32::from(self.rank);
        let i = if axis < 0 { axis + rank } else { axis };
        usize::try_from(i).ok().filter(|&i| i < self.rank())
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.dims().iter().map(|&n| u64::from(n)).product()
    }

    /// Appends a dimension.
    pub fn push(&mut self, n: u32) {
        if self.rank() < MAX_RANK {
            self.dims[self.rank()] = n;
            self.rank += 1;
        }
    }

    /// Inserts a dimension before position `at`.
    pub fn insert(&mut self, at: usize, n: u32) {
        if self.rank() < MAX_RANK && at <= self.rank() {
            let end = self.rank();
            self.dims.copy_within(at..end, at + 1);
            self.dims[at] = n;
            self.rank += 1;
        }
    }

    /// Removes the dimension at position `at`.
    pub fn remove(&mut self, at: usize) {
        if at < self.rank() {
            let end = self.rank();
            self.dims.copy_within(at + 1..end, at);
            self.rank -= 1;
            self.dims[end - 1] = 0;
        }
    }

    /// The same shape with another size of one axis (no change when the axis does not exist).
    #[must_use]
    pub fn with(mut self, axis: i32, n: u32) -> Self {
        if let Some(i) = self.index(axis) {
            self.dims[i] = n;
        }
        self
    }

    /// The shape that two shapes broadcast to, or `None` when they do not fit.
    #[must_use]
    pub fn broadcast(&self, other: &Self) -> Option<Self> {
        let (long, short) = if self.rank >= other.rank { (self, other) } else { (other, self) };
        let mut out = *long;
        let skip = long.rank() - short.rank();
        for (i, &n) in short.dims().iter().enumerate() {
            let m = &mut out.dims[skip + i];
            if *m == 1 {
                *m = n;
            } else if n != 1 && n != *m {
                return None;
            }
        }
        Some(out)
    }
}

impl From<&[u32]> for Shape {
    fn from(dims: &[u32]) -> Self {
        Self::new(dims)
    }
}

impl<const N: usize> From<[u32; N]> for Shape {
    fn from(dims: [u32; N]) -> Self {
        Self::new(&dims)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl schemars::JsonSchema for Shape {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Shape".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        <Vec<u64>>::json_schema(generator)
    }
}

impl Serialize for Shape {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.dims())
    }
}

/// A list of axes (positions counted from the front), kept inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Axes {
    len: u8,
    axes: [u8; MAX_RANK],
}

impl Axes {
    /// The given axes, which must be smaller than [`MAX_RANK`].
    #[must_use]
    pub fn new(axes: impl IntoIterator<Item = usize>) -> Self {
        let mut out = Self::default();
        for axis in axes.into_iter().take(MAX_RANK) {
            out.axes[usize::from(out.len)] = axis as u8;
            out.len += 1;
        }
        out
    }

    /// The axes in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.axes[..usize::from(self.len)].iter().map(|&a| usize::from(a))
    }

    /// Whether `axis` is in the list.
    #[must_use]
    pub fn contains(&self, axis: usize) -> bool {
        self.iter().any(|a| a == axis)
    }
}

impl fmt::Debug for Axes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        let b = |x: &[u32], y: &[u32]| Shape::new(x).broadcast(&Shape::new(y));
        assert_eq!(b(&[2, 1, 4], &[3, 1]), Some(Shape::new(&[2, 3, 4])));
        assert_eq!(b(&[], &[5]), Some(Shape::new(&[5])));
        assert_eq!(b(&[2], &[3]), None);
    }

    #[test]
    fn axes_count_from_both_ends() {
        let s = Shape::new(&[2, 3, 5]);
        assert_eq!((s.dim(-1), s.dim(0), s.dim(7)), (5, 2, 1));
        assert_eq!(s.with(-2, 9).dims(), [2, 9, 5]);
        let mut t = s;
        t.insert(1, 8);
        assert_eq!(t.dims(), [2, 8, 3, 5]);
        t.remove(0);
        assert_eq!(t.dims(), [8, 3, 5]);
    }
}
