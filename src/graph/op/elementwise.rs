//! Element-wise operations and reductions.

/// Element-wise operations of one input `x`; the output has its shape and, unless said otherwise, its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unary {
    /// `|x|`.
    Abs,
    /// The smallest whole number not below `x`.
    Ceil,
    /// The cosine of `x`, in radians.
    Cos,
    /// The hyperbolic cosine of `x`.
    Cosh,
    /// The error function of `x`.
    Erf,
    /// `e` to the power of `x`.
    Exp,
    /// `e` to the power of `x`, minus one.
    Expm1,
    /// The largest whole number not above `x`.
    Floor,
    /// The natural logarithm of `x`.
    Log,
    /// The natural logarithm of `1 + x`.
    Log1p,
    /// The logarithm of `x` to base 2.
    Log2,
    /// Whether `x` is zero; the output is a truth value.
    LogicalNot,
    /// `-x`.
    Negative,
    /// The nearest whole number, the even one of two.
    Round,
    /// `1 / sqrt(x)`.
    Rsqrt,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// -1, 0 or 1 as `x` is below, equal to or above zero.
    Sign,
    /// The sine of `x`, in radians.
    Sin,
    /// The square root of `x`.
    Sqrt,
    /// `x * x`.
    Square,
    /// The hyperbolic tangent of `x`.
    Tanh,
}

impl Unary {
    /// MLX's name of the primitive.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Abs => "Abs",
            Self::Ceil => "Ceil",
            Self::Cos => "Cos",
            Self::Cosh => "Cosh",
            Self::Erf => "Erf",
            Self::Exp => "Exp",
            Self::Expm1 => "Expm1",
            Self::Floor => "Floor",
            // One primitive with a base.
            Self::Log | Self::Log2 => "Log",
            Self::Log1p => "Log1p",
            Self::LogicalNot => "LogicalNot",
            Self::Negative => "Negative",
            Self::Round => "Round",
            // One primitive with a flag.
            Self::Rsqrt => "Sqrt",
            Self::Sigmoid => "Sigmoid",
            Self::Sign => "Sign",
            Self::Sin => "Sin",
            Self::Sqrt => "Sqrt",
            Self::Square => "Square",
            Self::Tanh => "Tanh",
        }
    }

    /// Whether it computes an exponential, a logarithm or their like, which take the arithmetic units longer.
    #[must_use]
    pub const fn is_transcendental(self) -> bool {
        match self {
            Self::Cos
            | Self::Cosh
            | Self::Erf
            | Self::Exp
            | Self::Expm1
            | Self::Log
            | Self::Log1p
            | Self::Log2
            | Self::Sigmoid
            | Self::Sin
            | Self::Tanh => true,
            Self::Abs
            | Self::Ceil
            | Self::Floor
            | Self::LogicalNot
            | Self::Negative
            | Self::Round
            | Self::Rsqrt
            | Self::Sign
            | Self::Sqrt
            | Self::Square => false,
        }
    }
}

/// Element-wise operations of two inputs `a` and `b`, which broadcast to the shape of the output. The output has their
/// common type, or is a truth value where [`Binary::compares`] says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// The bits that are set in both whole numbers.
    BitwiseAnd,
    /// The bits that are set in either whole number.
    BitwiseOr,
    /// `a / b`, always a floating-point number.
    Divide,
    /// Whether `a = b`.
    Equal,
    /// `a / b`, rounded down to a whole number.
    FloorDivide,
    /// Whether `a > b`.
    Greater,
    /// Whether `a >= b`.
    GreaterEqual,
    /// Whether `a < b`.
    Less,
    /// Whether `a <= b`.
    LessEqual,
    /// The natural logarithm of `exp(a) + exp(b)`.
    LogAddExp,
    /// Whether neither is zero.
    LogicalAnd,
    /// Whether not both are zero.
    LogicalOr,
    /// The larger one.
    Maximum,
    /// The smaller one.
    Minimum,
    /// `a * b`.
    Multiply,
    /// Whether `a` and `b` differ.
    NotEqual,
    /// `a` to the power of `b`.
    Power,
    /// What is left of `a` divided by `b`, with the sign of `b`.
    Remainder,
    /// `a - b`.
    Subtract,
}

impl Binary {
    /// MLX's name of the primitive.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Add => "Add",
            Self::BitwiseAnd | Self::BitwiseOr => "BitwiseBinary",
            Self::Divide => "Divide",
            Self::Equal => "Equal",
            Self::FloorDivide => "FloorDivide",
            Self::Greater => "Greater",
            Self::GreaterEqual => "GreaterEqual",
            Self::Less => "Less",
            Self::LessEqual => "LessEqual",
            Self::LogAddExp => "LogAddExp",
            Self::LogicalAnd => "LogicalAnd",
            Self::LogicalOr => "LogicalOr",
            Self::Maximum => "Maximum",
            Self::Minimum => "Minimum",
            Self::Multiply => "Multiply",
            Self::NotEqual => "NotEqual",
            Self::Power => "Power",
            Self::Remainder => "Remainder",
            Self::Subtract => "Subtract",
        }
    }

    /// Whether the result is a truth value.
    #[must_use]
    pub const fn compares(self) -> bool {
        match self {
            Self::Equal
            | Self::NotEqual
            | Self::Greater
            | Self::GreaterEqual
            | Self::Less
            | Self::LessEqual
            | Self::LogicalAnd
            | Self::LogicalOr => true,
            Self::Add
            | Self::BitwiseAnd
            | Self::BitwiseOr
            | Self::Divide
            | Self::FloorDivide
            | Self::LogAddExp
            | Self::Maximum
            | Self::Minimum
            | Self::Multiply
            | Self::Power
            | Self::Remainder
            | Self::Subtract => false,
        }
    }

    /// Whether it computes exponentials or logarithms.
    #[must_use]
    pub const fn is_transcendental(self) -> bool {
        matches!(self, Self::LogAddExp | Self::Power)
    }
}

/// How a reduction combines the elements along its axes. The output has the type of the input unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Their sum; of truth values a whole number.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// Their product; of truth values a whole number.
    Prod,
    /// Whether none is zero: a truth value.
    And,
    /// Whether one is not zero: a truth value.
    Or,
}
