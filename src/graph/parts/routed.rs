//! A mixture of experts as a value: a router, the experts it chooses from, and what is done with their outputs.

use super::block::FeedForward;
use super::mlp::{Activation, Gated};
use crate::graph::prelude::*;

/// Chooses the experts of every token.
pub trait Router: Send + Sync {
    /// The chosen experts `[…, k]` and their scores.
    fn route<'t>(&self, x: Var<'t>) -> (Var<'t>, Var<'t>);
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
    pub fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        match self {
            Self::Linear(linear) => linear.forward(x),
            Self::Raw(weight) => x.matmul(t.weight(*weight).transpose(&[1, 0])),
            Self::Wide(weight) => {
                let x = x.astype(DType::F32);
                let w = t.weight(*weight).astype(DType::F32).transpose(&[1, 0]);
                x.matmul(w)
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
    fn apply<'t>(self, y: Var<'t>, scores: Var<'t>) -> Var<'t> {
        match self {
            Self::Narrow => combine(y, scores),
            Self::Compiled => y.compiled(|y| combine(y, scores)),
            Self::Wide => weighted_sum(y, scores),
            Self::Precise => {
                let dtype = y.dtype();
                (y * scores.expand_dims(&[-1]).astype(DType::F32)).sum(-2, false).astype(dtype)
            }
        }
    }
}

/// Divides the scores of a token by their sum.
pub fn normalize(scores: Var<'_>) -> Var<'_> {
    scores / scores.sum(-1, true)
}

/// The sum of the experts' outputs `[…, k, width]` weighted by their scores, in the type of the outputs.
fn combine<'t>(y: Var<'t>, scores: Var<'t>) -> Var<'t> {
    let dtype = y.dtype();
    weighted_sum(y, scores).astype(dtype)
}

/// The sum of the experts' outputs weighted by their scores.
pub fn weighted_sum<'t>(y: Var<'t>, scores: Var<'t>) -> Var<'t> {
    (y * scores.expand_dims(&[-1])).sum(-2, false)
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
        activation: impl for<'t> Fn(Var<'t>, Var<'t>) -> Var<'t> + Send + Sync + 'static,
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

    fn rows<'t>(&self, x: Var<'t>) -> Var<'t> {
        let (indices, scores) = self.router.route(x);
        let input = self.latent.map_or(x, |latent| latent.down.forward(x));
        let y = match &self.bank {
            Bank::Gated(experts, activation) => experts.forward(input, indices, activation),
            Bank::Plain(experts, activation) => experts.forward(input, indices, activation),
        };
        let mut y = self.combine.apply(y, scores);
        if let Some(factor) = self.scale {
            y = y * factor;
        }
        if let Some(Latent { norm, up, .. }) = &self.latent {
            let normed = norm.map_or(y, |norm| norm.forward(y));
            y = up.forward(normed);
        }
        match &self.shared {
            None => y,
            Some(shared) => y + self.gated(x, shared.apply(x)),
        }
    }

    fn gated<'t>(&self, x: Var<'t>, shared: Var<'t>) -> Var<'t> {
        match &self.shared_gate {
            None => shared,
            Some(gate) => gate.forward(x).sigmoid() * shared,
        }
    }
}

impl FeedForward for RoutedMlp {
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        if !self.flat {
            return self.rows(x);
        }
        let dims = x.shape().signed();
        let flat = x.reshape(&[-1, i64::from(x.dim(-1))]);
        self.rows(flat).reshape(&dims)
    }
}
