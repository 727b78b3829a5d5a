//! A mixture of experts as a value: a router, the experts it chooses from, and what is done with their outputs.

use super::block::FeedForward;
use super::mlp::{Activation, Gated};
use crate::graph::prelude::*;

/// Chooses the experts of every token.
pub trait Router: Send + Sync {
    /// The chosen experts `[…, k]` and their scores.
    fn route(&self, t: &Tape<'_>, x: Var) -> (Var, Var);
}

/// The matrix of a router.
#[derive(Clone, Copy, Debug)]
pub enum Gate {
    /// A linear layer, which may be packed.
    Linear(Linear),
    /// A bare matrix, which never is.
    Raw(ModuleId),
    /// A bare matrix; the product is computed in float32.
    Wide(ModuleId),
}

impl Gate {
    /// `x W^T`.
    pub fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        match self {
            Self::Linear(linear) => linear.forward(t, x),
            Self::Raw(weight) => t.matmul(x, t.transpose(t.weight(*weight), &[1, 0])),
            Self::Wide(weight) => {
                let x = t.astype(x, DType::F32);
                let w = t.transpose(t.astype(t.weight(*weight), DType::F32), &[1, 0]);
                t.matmul(x, w)
            }
        }
    }
}

/// How the outputs of the chosen experts become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// Their weighted sum, in the type of the outputs.
    Narrow,
    /// [`Combine::Narrow`] as one compiled function.
    Compiled,
    /// Their weighted sum, in the wider of the types of outputs and scores.
    Wide,
    /// Their weighted sum with float32 scores, then in the type of the outputs.
    Precise,
}

impl Combine {
    fn apply(self, t: &Tape<'_>, y: Var, scores: Var) -> Var {
        match self {
            Self::Narrow => combine(t, y, scores),
            Self::Compiled => {
                let [y] = t.compiled(|t| [combine(t, y, scores)]);
                y
            }
            Self::Wide => weighted_sum(t, y, scores),
            Self::Precise => {
                let dtype = t.dtype(y);
                let y = t.mul(y, t.astype(t.expand_dims(scores, &[-1]), DType::F32));
                t.astype(t.sum(y, -2, false), dtype)
            }
        }
    }
}

/// Divides the scores of a token by their sum.
pub fn normalise(t: &Tape<'_>, scores: Var) -> Var {
    t.div(scores, t.sum(scores, -1, true))
}

/// The sum of the experts' outputs `[…, k, width]` weighted by their scores, in the type of the outputs.
fn combine(t: &Tape<'_>, y: Var, scores: Var) -> Var {
    let dtype = t.dtype(y);
    t.astype(weighted_sum(t, y, scores), dtype)
}

/// The sum of the experts' outputs weighted by their scores.
pub fn weighted_sum(t: &Tape<'_>, y: Var, scores: Var) -> Var {
    t.sum(t.mul(y, t.expand_dims(scores, &[-1])), -2, false)
}

/// The experts themselves.
enum Bank {
    /// Gated MLPs.
    Gated(SwitchGlu, Gated),
    /// MLPs of two matrices.
    Plain(SwitchMlp, Activation),
}

/// The way into a smaller space, in which experts work, and back.
#[derive(Clone, Copy, Debug)]
pub struct Latent {
    /// Into the space.
    pub down: Linear,
    /// Norm of the combined outputs.
    pub norm: Option<RmsNorm>,
    /// Back.
    pub up: Linear,
}

/// Routed experts, and shared ones that every token uses.
pub struct RoutedMlp {
    router: Box<dyn Router>,
    bank: Bank,
    combine: Combine,
    latent: Option<Latent>,
    shared: Option<Box<dyn FeedForward>>,
    shared_gate: Option<Linear>,
    /// Factor on the combined outputs.
    scale: Option<f64>,
    flat: bool,
}

impl RoutedMlp {
    /// Gated experts with the SwiGLU activation, without shared ones.
    pub fn new(router: impl Router + 'static, experts: SwitchGlu) -> Self {
        Self::of(router, Bank::Gated(experts, Box::new(activations::swiglu)))
    }

    /// Experts of two matrices.
    pub fn plain(
        router: impl Router + 'static,
        experts: SwitchMlp,
        activation: Activation,
    ) -> Self {
        Self::of(router, Bank::Plain(experts, activation))
    }

    fn of(router: impl Router + 'static, bank: Bank) -> Self {
        Self {
            router: Box::new(router),
            bank,
            combine: Combine::Narrow,
            latent: None,
            shared: None,
            shared_gate: None,
            scale: None,
            flat: false,
        }
    }

    /// Shared experts, whose output is added.
    #[must_use]
    pub fn with_shared(mut self, shared: Option<impl FeedForward + 'static>) -> Self {
        self.shared = shared.map(|s| Box::new(s) as Box<dyn FeedForward>);
        self
    }

    /// Multiplies the output of the shared experts by the sigmoid of a projection of the input.
    #[must_use]
    pub fn with_shared_gate(mut self, gate: Linear) -> Self {
        self.shared_gate = Some(gate);
        self
    }

    /// Another activation of gated experts.
    #[must_use]
    pub fn with_activation(
        mut self,
        activation: impl Fn(&Tape<'_>, Var, Var) -> Var + Send + Sync + 'static,
    ) -> Self {
        if let Bank::Gated(_, swiglu) = &mut self.bank {
            *swiglu = Box::new(activation);
        }
        self
    }

    /// Another way from the outputs of the chosen experts to one.
    #[must_use]
    pub fn combined(mut self, combine: Combine) -> Self {
        self.combine = combine;
        self
    }

    /// Experts that work in a smaller space.
    #[must_use]
    pub fn within(mut self, latent: Option<Latent>) -> Self {
        self.latent = latent;
        self
    }

    /// Multiplies the combined outputs of the routed experts by a factor.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        self.scale = Some(factor);
        self
    }

    /// Routes the tokens of all sequences in one row.
    #[must_use]
    pub fn flat(mut self) -> Self {
        self.flat = true;
        self
    }

    fn rows(&self, t: &Tape<'_>, x: Var) -> Var {
        let (indices, scores) = self.router.route(t, x);
        let input = self.latent.map_or(x, |latent| latent.down.forward(t, x));
        let y = match &self.bank {
            Bank::Gated(experts, activation) => experts.forward(t, input, indices, activation),
            Bank::Plain(experts, activation) => experts.forward(t, input, indices, activation),
        };
        let mut y = self.combine.apply(t, y, scores);
        if let Some(factor) = self.scale {
            y = t.mul(y, factor);
        }
        if let Some(Latent { norm, up, .. }) = &self.latent {
            let normed = norm.map_or(y, |norm| norm.forward(t, y));
            y = up.forward(t, normed);
        }
        match &self.shared {
            None => y,
            Some(shared) => t.add(y, self.gated(t, x, shared.apply(t, x))),
        }
    }

    fn gated(&self, t: &Tape<'_>, x: Var, shared: Var) -> Var {
        match &self.shared_gate {
            None => shared,
            Some(gate) => t.mul(t.sigmoid(gate.forward(t, x)), shared),
        }
    }
}

impl FeedForward for RoutedMlp {
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        if !self.flat {
            return self.rows(t, x);
        }
        let dims: Vec<i64> = t.shape(x).dims().iter().map(|&n| i64::from(n)).collect();
        let flat = t.reshape(x, &[-1, i64::from(t.dim(x, -1))]);
        t.reshape(self.rows(t, flat), &dims)
    }
}
