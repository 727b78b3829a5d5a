//! Element-wise arithmetic with MLX's type promotion and broadcasting.

use super::{Tape, Var};
use crate::graph::op::{Binary, Op, Unary};
use crate::model::DType;

/// The second operand of an arithmetic operation: an array or a Python number.
#[derive(Clone, Copy, Debug)]
pub enum Operand {
    /// An array.
    Var(Var),
    /// A Python float: takes the floating type of the other operand.
    Float(f64),
    /// A Python integer: takes the type of the other operand.
    Int(i64),
}

impl From<Var> for Operand {
    fn from(v: Var) -> Self {
        Self::Var(v)
    }
}

impl From<f64> for Operand {
    fn from(v: f64) -> Self {
        Self::Float(v)
    }
}

impl From<i64> for Operand {
    fn from(v: i64) -> Self {
        Self::Int(v)
    }
}

impl Tape<'_> {
    fn operand(&self, x: Operand, other: DType) -> Var {
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

    /// `x.astype(dtype)`; no operation when the type is right already.
    pub fn astype(&self, x: Var, dtype: DType) -> Var {
        if self.dtype(x) == dtype {
            return x;
        }
        let shape = self.shape(x);
        self.push(Op::AsType, &[x], shape, dtype)
    }

    /// An element-wise operation of one input. Integers become float32 first where MLX does so.
    pub fn unary(&self, op: Unary, x: Var) -> Var {
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
            _ if keeps || self.dtype(x).is_float() => self.dtype(x),
            _ => DType::F32,
        };
        let x = self.astype(x, dtype);
        let shape = self.shape(x);
        self.push(Op::Unary(op), &[x], shape, dtype)
    }

    /// An element-wise operation of two inputs.
    pub fn binary(&self, op: Binary, a: impl Into<Operand>, b: impl Into<Operand>) -> Var {
        let (a, b) = (a.into(), b.into());
        let known = |t: &Self, x: Operand| match x {
            Operand::Var(v) => Some(t.dtype(v)),
            _ => None,
        };
        let hint = known(self, a).or(known(self, b)).unwrap_or(DType::F32);
        let (a, b) = (self.operand(a, hint), self.operand(b, hint));
        let mut dtype = self.dtype(a).promote(self.dtype(b));
        match op {
            Binary::Divide | Binary::LogAddExp if !dtype.is_float() => dtype = DType::F32,
            Binary::LogicalAnd | Binary::LogicalOr => dtype = DType::Bool,
            _ => {}
        }
        let (a, b) = (self.astype(a, dtype), self.astype(b, dtype));
        let Some(shape) = self.shape(a).broadcast(&self.shape(b)) else {
            let (sa, sb) = (self.shape(a), self.shape(b));
            return self.fail(format!("{op:?} of arrays of shapes {sa:?} and {sb:?}"));
        };
        let (a, b) = (self.broadcast_to(a, shape), self.broadcast_to(b, shape));
        let out = if op.compares() { DType::Bool } else { dtype };
        self.push(Op::Binary(op), &[a, b], shape, out)
    }

    /// `a + b`.
    pub fn add(&self, a: Var, b: impl Into<Operand>) -> Var {
        self.binary(Binary::Add, a, b)
    }

    /// `a - b`.
    pub fn sub(&self, a: Var, b: impl Into<Operand>) -> Var {
        self.binary(Binary::Subtract, a, b)
    }

    /// `a * b`.
    pub fn mul(&self, a: Var, b: impl Into<Operand>) -> Var {
        self.binary(Binary::Multiply, a, b)
    }

    /// `a / b`.
    pub fn div(&self, a: Var, b: impl Into<Operand>) -> Var {
        self.binary(Binary::Divide, a, b)
    }

    /// `mx.clip` with lower and upper bound.
    pub fn clip(&self, x: Var, low: impl Into<Operand>, high: impl Into<Operand>) -> Var {
        let x = self.binary(Binary::Maximum, x, low);
        self.binary(Binary::Minimum, x, high)
    }

    /// `mx.where(condition, a, b)`.
    pub fn select(&self, condition: Var, a: impl Into<Operand>, b: impl Into<Operand>) -> Var {
        let (a, b) = (a.into(), b.into());
        let hint = match (a, b) {
            (Operand::Var(v), _) | (_, Operand::Var(v)) => self.dtype(v),
            _ => DType::F32,
        };
        let (a, b) = (self.operand(a, hint), self.operand(b, hint));
        let dtype = self.dtype(a).promote(self.dtype(b));
        let condition = self.astype(condition, DType::Bool);
        let (a, b) = (self.astype(a, dtype), self.astype(b, dtype));
        let shape = self
            .shape(condition)
            .broadcast(&self.shape(a))
            .and_then(|s| s.broadcast(&self.shape(b)));
        let Some(shape) = shape else {
            return self.fail("where: shapes do not fit");
        };
        let condition = self.broadcast_to(condition, shape);
        let (a, b) = (self.broadcast_to(a, shape), self.broadcast_to(b, shape));
        self.push(Op::Select, &[condition, a, b], shape, dtype)
    }

    /// `mx.to_fp8`: 8-bit floats (e4m3), stored as bytes.
    pub fn to_fp8(&self, x: Var) -> Var {
        let shape = self.shape(x);
        self.push(Op::ConvertFp8 { to: true }, &[x], shape, DType::U8)
    }

    /// `mx.from_fp8`.
    pub fn from_fp8(&self, x: Var, dtype: DType) -> Var {
        let shape = self.shape(x);
        self.push(Op::ConvertFp8 { to: false }, &[x], shape, dtype)
    }

    /// `mx.sigmoid`.
    pub fn sigmoid(&self, x: Var) -> Var {
        self.unary(Unary::Sigmoid, x)
    }

    /// `mx.exp`.
    pub fn exp(&self, x: Var) -> Var {
        self.unary(Unary::Exp, x)
    }

    /// `-x`.
    pub fn neg(&self, x: Var) -> Var {
        self.unary(Unary::Negative, x)
    }
}
