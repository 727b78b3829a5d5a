//! Element-wise arithmetic with MLX's type promotion and broadcasting.

use super::{Tape, Var};
use crate::graph::op::{Binary, Op, Unary};
use crate::model::DType;
use std::ops::{Add, BitAnd, BitOr, Div, Mul, Neg, Sub};

/// The second operand of an arithmetic operation: an array or a Python number.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'t> {
    /// An array.
    Var(Var<'t>),
    /// A Python float: takes the floating type of the other operand.
    Float(f64),
    /// A Python integer: takes the type of the other operand.
    Int(i64),
}

impl<'t> From<Var<'t>> for Operand<'t> {
    fn from(v: Var<'t>) -> Self {
        Self::Var(v)
    }
}

impl From<f64> for Operand<'_> {
    fn from(v: f64) -> Self {
        Self::Float(v)
    }
}

impl From<i64> for Operand<'_> {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}

impl<'t> Var<'t> {
    /// `x.astype(dtype)`; no operation when the type is right already.
    pub fn astype(self, dtype: DType) -> Self {
        if self.dtype() == dtype {
            return self;
        }
        let shape = self.shape();
        self.tape.push(Op::AsType, &[self], shape, dtype)
    }

    /// An element-wise operation of one input. Integers become float32 first where MLX does so.
    pub fn unary(self, op: Unary) -> Self {
        let keeps = matches!(
            op,
            Unary::Abs
                | Unary::Ceil
                | Unary::Negative
                | Unary::Round
                | Unary::Sign
                | Unary::Square
                | Unary::LogicalNot
        );
        let dtype = match op {
            Unary::LogicalNot => DType::Bool,
            _ if keeps || self.dtype().is_float() => self.dtype(),
            _ => DType::F32,
        };
        let x = self.astype(dtype);
        let shape = x.shape();
        self.tape.push(Op::Unary(op), &[x], shape, dtype)
    }

    /// `mx.clip` with lower and upper bound.
    pub fn clip(self, low: impl Into<Operand<'t>>, high: impl Into<Operand<'t>>) -> Self {
        self.maximum(low).minimum(high)
    }

    /// `mx.where(condition, a, b)`.
    pub fn select(self, a: impl Into<Operand<'t>>, b: impl Into<Operand<'t>>) -> Self {
        let t = self.tape;
        let (a, b) = (a.into(), b.into());
        let hint = match (a, b) {
            (Operand::Var(v), _) | (_, Operand::Var(v)) => v.dtype(),
            _ => DType::F32,
        };
        let (a, b) = (t.operand(a, hint), t.operand(b, hint));
        let dtype = a.dtype().promote(b.dtype());
        let condition = self.astype(DType::Bool);
        let (a, b) = (a.astype(dtype), b.astype(dtype));
        let shape = condition.shape().broadcast(&a.shape()).and_then(|s| s.broadcast(&b.shape()));
        let Some(shape) = shape else {
            return t.fail("where: shapes do not fit");
        };
        let condition = condition.broadcast_to(shape);
        let (a, b) = (a.broadcast_to(shape), b.broadcast_to(shape));
        t.push(Op::Select, &[condition, a, b], shape, dtype)
    }

    /// `mx.to_fp8`: 8-bit floats (e4m3), stored as bytes.
    pub fn to_fp8(self) -> Self {
        let shape = self.shape();
        self.tape.push(Op::ConvertFp8 { to: true }, &[self], shape, DType::U8)
    }

    /// `mx.from_fp8`.
    pub fn from_fp8(self, dtype: DType) -> Self {
        let shape = self.shape();
        self.tape.push(Op::ConvertFp8 { to: false }, &[self], shape, dtype)
    }
}

impl<'t> Tape<'t> {
    fn operand(&'t self, x: Operand<'t>, other: DType) -> Var<'t> {
        match x {
            Operand::Var(v) => v,
            Operand::Float(f) => {
                let dtype = if other.is_float() { other } else { DType::F32 };
                self.scalar(f, dtype)
            }
            Operand::Int(i) => {
                let dtype = if other == DType::Bool { DType::I32 } else { other };
                self.scalar(i as f64, dtype)
            }
        }
    }

    /// An element-wise operation of two inputs.
    pub fn binary(
        &'t self,
        op: Binary,
        a: impl Into<Operand<'t>>,
        b: impl Into<Operand<'t>>,
    ) -> Var<'t> {
        let (a, b) = (a.into(), b.into());
        let known = |x: Operand<'t>| match x {
            Operand::Var(v) => Some(v.dtype()),
            Operand::Float(_) | Operand::Int(_) => None,
        };
        let hint = known(a).or(known(b)).unwrap_or(DType::F32);
        let (a, b) = (self.operand(a, hint), self.operand(b, hint));
        let mut dtype = a.dtype().promote(b.dtype());
        match op {
            Binary::Divide | Binary::LogAddExp if !dtype.is_float() => dtype = DType::F32,
            Binary::LogicalAnd | Binary::LogicalOr => dtype = DType::Bool,
            _ => {}
        }
        let (a, b) = (a.astype(dtype), b.astype(dtype));
        let Some(shape) = a.shape().broadcast(&b.shape()) else {
            let (sa, sb) = (a.shape(), b.shape());
            return self.fail(format!("{op:?} of arrays of shapes {sa:?} and {sb:?}"));
        };
        let (a, b) = (a.broadcast_to(shape), b.broadcast_to(shape));
        let out = if op.compares() { DType::Bool } else { dtype };
        self.push(Op::Binary(op), &[a, b], shape, out)
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident $op:ident),*) => {$(
        impl<'t, T: Into<Operand<'t>>> $operator<T> for Var<'t> {
            type Output = Self;

            fn $method(self, other: T) -> Self {
                self.tape.binary(Binary::$op, self, other)
            }
        }
    )*};
}

operators!(Add add Add, Sub sub Subtract, Mul mul Multiply, Div div Divide, BitAnd bitand BitwiseAnd, BitOr bitor BitwiseOr);

impl<'t> Sub<Var<'t>> for i64 {
    type Output = Var<'t>;

    fn sub(self, other: Var<'t>) -> Var<'t> {
        other.tape.binary(Binary::Subtract, self, other)
    }
}

impl Neg for Var<'_> {
    type Output = Self;

    fn neg(self) -> Self {
        self.unary(Unary::Negative)
    }
}

macro_rules! unary {
    ($($name:ident $op:ident),*) => {
        impl Var<'_> {$(
            #[doc = concat!("`mx.", stringify!($name), "`.")]
            pub fn $name(self) -> Self {
                self.unary(Unary::$op)
            }
        )*}
    };
}

unary!(abs Abs, ceil Ceil, cos Cos, erf Erf, exp Exp, expm1 Expm1, floor Floor, log Log, log1p Log1p, log2 Log2, round Round, rsqrt Rsqrt);
unary!(sigmoid Sigmoid, sign Sign, sin Sin, sqrt Sqrt, square Square, tanh Tanh, logical_not LogicalNot);

macro_rules! binary {
    ($($name:ident $op:ident),*) => {
        impl<'t> Var<'t> {$(
            #[doc = concat!("`mx.", stringify!($name), "` of this value and another.")]
            pub fn $name(self, other: impl Into<Operand<'t>>) -> Self {
                self.tape.binary(Binary::$op, self, other)
            }
        )*}
    };
}

binary!(equal Equal, not_equal NotEqual, less Less, less_equal LessEqual, greater Greater);
binary!(greater_equal GreaterEqual, logical_and LogicalAnd, logical_or LogicalOr, logaddexp LogAddExp);
binary!(maximum Maximum, minimum Minimum, power Power, floor_divide FloorDivide, remainder Remainder);
