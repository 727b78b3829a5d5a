//! What many families share: the gated MLP, the output head, and keys of the configuration.

use super::frame::FeedForward;
use crate::graph::nn::activations::Clamp;
use crate::graph::prelude::*;
use std::fmt;

/// The gated MLP `down(act(gate(x)) * up(x))`.
pub struct GatedMlp {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Gated,
}

/// A gated activation of (gate, x), for example `act(gate) * x`.
pub type Gated = Box<dyn Fn(&Tape<'_>, Var, Var) -> Var + Send + Sync>;

impl GatedMlp {
    /// Declares `name.{gate,up,down}_proj` with the SwiGLU activation.
    pub fn new(p: &mut ParamBuilder, name: &str, width: u64, hidden: u64, bias: bool) -> Self {
        let names = ["gate_proj", "up_proj", "down_proj"];
        p.scope(name, |p| Self::named(p, names, width, hidden, bias))
    }

    /// Declares the matrices under other names (gate, up, down).
    pub fn named(
        p: &mut ParamBuilder,
        names: [&str; 3],
        width: u64,
        hidden: u64,
        bias: bool,
    ) -> Self {
        Self {
            gate: Linear::new(p, names[0], width, hidden, bias),
            up: Linear::new(p, names[1], width, hidden, bias),
            down: Linear::new(p, names[2], hidden, width, bias),
            activation: Box::new(activations::swiglu),
        }
    }

    /// Another activation.
    #[must_use]
    pub fn with_activation(
        mut self,
        activation: impl Fn(&Tape<'_>, Var, Var) -> Var + Send + Sync + 'static,
    ) -> Self {
        self.activation = Box::new(activation);
        self
    }

    /// The clamped SwiGLU activation.
    #[must_use]
    pub fn with_clamp(self, clamp: Clamp) -> Self {
        self.with_activation(move |t, gate, x| clamp.apply(t, gate, x))
    }
}

impl fmt::Debug for GatedMlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatedMlp").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl FeedForward for GatedMlp {
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        let (gate, up) = (self.gate.forward(t, x), self.up.forward(t, x));
        let hidden = (self.activation)(t, gate, up);
        self.down.forward(t, hidden)
    }
}

/// The output head: its own matrix, or the embedding again.
#[derive(Debug)]
pub enum Head {
    /// `lm_head`.
    Own(Linear),
    /// Tied to the embedding.
    Tied(Embedding),
    /// Tied to the embedding, by a product that fails when the embedding is packed.
    TiedUnpacked(Embedding),
}

impl Head {
    /// Declares `lm_head` unless the head is tied.
    pub fn new(
        p: &mut ParamBuilder,
        embedding: Embedding,
        tied: bool,
        width: u64,
        vocabulary: u64,
    ) -> Self {
        if tied {
            Self::Tied(embedding)
        } else {
            Self::Own(Linear::new(p, "lm_head", width, vocabulary, false))
        }
    }

    /// The logits of `x`.
    pub fn forward(&self, t: &Tape<'_>, x: Var) -> Var {
        t.set_stage(Stage::Head);
        match self {
            Self::Own(linear) => linear.forward(t, x),
            Self::Tied(embedding) => embedding.as_linear(t, x),
            Self::TiedUnpacked(embedding) if embedding.is_packed(t) => t.fail(
                "mlx-lm multiplies with the tied embedding of this model as if it were not quantised",
            ),
            Self::TiedUnpacked(embedding) => embedding.as_linear(t, x),
        }
    }
}

/// Number of key and value heads; as many as query heads when the configuration does not say.
///
/// # Errors
/// When the value is out of range.
pub fn kv_heads(c: &Config, query: u64) -> Result<u64, ConfigError> {
    match c.opt_dim("num_key_value_heads")? {
        Some(0) => Err(c.invalid("num_key_value_heads", "a whole number of at least 1")),
        Some(n) => Ok(n),
        None => Ok(query),
    }
}

/// Number of layers, bounded so that a hostile configuration costs nothing.
///
/// # Errors
/// When the key is missing or out of range.
pub fn layer_count(c: &Config) -> Result<u64, ConfigError> {
    layer_count_at(c, "num_hidden_layers")
}

/// [`layer_count`] with the family's default.
///
/// # Errors
/// When the key is out of range.
pub fn layer_count_or(c: &Config, default: u64) -> Result<u64, ConfigError> {
    match c.opt_dim("num_hidden_layers")? {
        Some(_) => layer_count(c),
        None => Ok(default),
    }
}

/// [`layer_count`] under the family's key.
///
/// # Errors
/// When the key is missing or out of range.
pub fn layer_count_at(c: &Config, key: &str) -> Result<u64, ConfigError> {
    match c.positive(key)? {
        n if n <= 4096 => Ok(n),
        _ => Err(c.invalid(key, "a whole number from 1 to 4096")),
    }
}

/// Features per head: `head_dim`, or the width shared out among the query heads when it is absent or 0.
///
/// # Errors
/// When the value is out of range.
pub fn head_dim(c: &Config, width: u64, query: u64) -> Result<u64, ConfigError> {
    match c.opt_dim("head_dim")? {
        Some(d) if d > 0 => Ok(d),
        _ => Ok(width / query.max(1)),
    }
}
