//! Gradients of element-wise operations.

use super::recorded::Recorded;
use crate::graph::op::{Binary, Unary};
use crate::graph::tape::Var;

/// The gradient of the input of an operation of one input.
pub(super) fn unary<'t>(op: Unary, r: &Recorded<'t>) -> Var<'t> {
    let (x, y, g) = (r.x(), r.outputs[0], r.g());
    let t = g.tape();
    let number = |v: f64| t.scalar(v, x.dtype());
    match op {
        Unary::Abs => g * x.sign(),
        Unary::Ceil | Unary::Floor | Unary::LogicalNot | Unary::Round | Unary::Sign => {
            x.zeros_like()
        }
        Unary::Cos => g * -x.sin(),
        Unary::Cosh => g * ((x.exp() - (-x).exp()) * number(0.5)),
        Unary::Erf => number(std::f64::consts::FRAC_2_SQRT_PI) * g * (-x.square()).exp(),
        Unary::Exp => g * y,
        Unary::Expm1 => g * (y + number(1.0)),
        Unary::Log => g / x,
        Unary::Log1p => g / (number(1.0) + x),
        Unary::Log2 => number(std::f64::consts::LOG2_E) * (g / x),
        Unary::Negative => -g,
        Unary::Rsqrt => number(-0.5) * g * (y / x),
        Unary::Sigmoid => g * (y * (number(1.0) - y)),
        Unary::Sin => g * x.cos(),
        Unary::Sqrt => number(0.5) * g / y,
        Unary::Square => x * (number(2.0) * g),
        Unary::Tanh => g / x.unary(Unary::Cosh).square(),
    }
}

/// The gradient of input `i` of an operation of two.
pub(super) fn binary<'t>(op: Binary, r: &Recorded<'t>, i: usize) -> Var<'t> {
    let (a, b, g) = (r.inputs[0], r.inputs[1], r.g());
    let first = i == 0;
    match op {
        Binary::Add => g,
        Binary::Subtract => {
            if first {
                g
            } else {
                -g
            }
        }
        Binary::Multiply => r.inputs[1 - i] * g,
        Binary::Divide if first => g / b,
        Binary::Divide => -(g * a / b.square()),
        Binary::Maximum => g * if first { a.greater(b) } else { a.less_equal(b) },
        Binary::Minimum => g * if first { a.less(b) } else { a.greater_equal(b) },
        Binary::Power if first => g * (a.power(b - g.tape().scalar(1.0, a.dtype())) * b),
        Binary::Power => {
            let y = r.outputs[0];
            let zero = g.tape().scalar(0.0, y.dtype());
            g * y.select(a.log() * y, zero)
        }
        Binary::LogAddExp => {
            let s = (a - b).sigmoid();
            g * if first { s } else { g.tape().scalar(1.0, s.dtype()) - s }
        }
        Binary::Remainder if first => g,
        Binary::Remainder => -((a / b).floor() * g),
        Binary::BitwiseAnd
        | Binary::BitwiseOr
        | Binary::Equal
        | Binary::FloorDivide
        | Binary::Greater
        | Binary::GreaterEqual
        | Binary::Less
        | Binary::LessEqual
        | Binary::LogicalAnd
        | Binary::LogicalOr
        | Binary::NotEqual => r.inputs[i].zeros_like(),
    }
}

/// The gradient of input `i` of a choice between two arrays.
pub(super) fn select<'t>(r: &Recorded<'t>, i: usize) -> Var<'t> {
    let (condition, g) = (r.x(), r.g());
    match i {
        0 => condition.zeros_like(),
        1 => condition.astype(g.dtype()) * g,
        _ => condition.logical_not().astype(g.dtype()) * g,
    }
}
