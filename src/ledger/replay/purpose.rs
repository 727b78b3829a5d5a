//! What buffers are for, so that a peak can be taken apart.

use schemars::JsonSchema;
use serde::Serialize;

/// What a buffer is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The batch, and whatever no other name fits.
    #[default]
    Other,
    /// Attention scores and masks.
    Scores,
    /// Tensors of the model, trained ones included.
    Weights,
    /// Adapters.
    Adapters,
    /// What the optimizer keeps.
    Optimizer,
    /// Gradients of what is trained.
    Gradients,
    /// Arrays as wide as the vocabulary.
    Logits,
    /// What the backward pass still needs of the forward pass.
    Activations,
    /// Other intermediates of the backward pass.
    Backward,
    /// No longer needed, but bound by a command buffer that has not completed.
    RunAhead,
}

impl Purpose {
    /// How many there are.
    pub const COUNT: usize = 10;

    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Weights,
        Self::Adapters,
        Self::Optimizer,
        Self::Gradients,
        Self::Activations,
        Self::Scores,
        Self::Logits,
        Self::Backward,
        Self::RunAhead,
        Self::Other,
    ];

    /// The words of tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Scores => "attention scores",
            Self::Weights => "weights",
            Self::Adapters => "adapters",
            Self::Optimizer => "optimizer",
            Self::Gradients => "gradients",
            Self::Logits => "logits",
            Self::Activations => "activations",
            Self::Backward => "backward pass",
            Self::RunAhead => "run-ahead",
        }
    }
}
