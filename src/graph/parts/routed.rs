//! Routed experts with any router, with or without shared experts.

use super::block::FeedForward;
use super::mlp::Gated;
use super::moe::combine;
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
}

impl Gate {
    /// `x W^T`.
    pub fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        match self {
            Self::Linear(linear) => linear.forward(t, x),
            Self::Raw(weight) => t.matmul(x, t.transpose(t.weight(*weight), &[1, 0])),
        }
    }
}

/// Routed experts, and shared ones that every token uses.
pub struct RoutedMlp {
    router: Box<dyn Router>,
    experts: SwitchGlu,
    activation: Gated,
    shared: Option<Box<dyn FeedForward>>,
}

impl RoutedMlp {
    /// Routed experts with the SwiGLU activation and without shared ones.
    pub fn new(router: impl Router + 'static, experts: SwitchGlu) -> Self {
        Self {
            router: Box::new(router),
            experts,
            activation: Box::new(activations::swiglu),
            shared: None,
        }
    }

    /// Shared experts, whose output is added.
    #[must_use]
    pub fn with_shared(mut self, shared: Option<impl FeedForward + 'static>) -> Self {
        self.shared = shared.map(|s| Box::new(s) as Box<dyn FeedForward>);
        self
    }

    /// Another activation of the routed experts.
    #[must_use]
    pub fn with_activation(
        mut self,
        activation: impl Fn(&Tape<'_>, Var, Var) -> Var + Send + Sync + 'static,
    ) -> Self {
        self.activation = Box::new(activation);
        self
    }
}

impl FeedForward for RoutedMlp {
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        let (indices, scores) = self.router.route(t, x);
        let y = combine(t, self.experts.forward(t, x, indices, &self.activation), scores);
        match &self.shared {
            None => y,
            Some(shared) => t.add(y, shared.apply(t, x)),
        }
    }
}

/// Number of routed experts and how many a token uses, under the family's keys and with its defaults.
///
/// # Errors
/// When a value is zero or out of range, or a token would use more experts than there are.
pub fn experts_or(
    c: &Config,
    total: (&str, u64),
    chosen: (&str, u64),
) -> Result<Experts, ConfigError> {
    let c = &c
        .clone()
        .with(total.0, c.dim_or(total.0, total.1)?)
        .with(chosen.0, c.dim_or(chosen.0, chosen.1)?);
    super::moe::experts(c, total.0, chosen.0)
}
