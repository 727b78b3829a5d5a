//! What many families share: grouped-query attention, the gated MLP and the frame of a decoder.

use super::frame::{FeedForward, Mixer, Norm};
use crate::graph::cache::Cache;
use crate::graph::nn::activations::{self, Clamp, Situ};
use crate::graph::nn::{Embedding, Linear, RopeModule, attend};
use crate::graph::params::ParamBuilder;
use crate::graph::tape::{Mask, Stage, Tape, Var};
use crate::model::{Config, ConfigError};

/// Heads of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: u64,
    /// Key and value heads.
    pub kv: u64,
    /// Features per head.
    pub dim: u64,
}

impl Heads {
    /// Splits a projection `[batch, tokens, heads * dim]` into `[batch, heads, tokens, dim]`.
    pub fn split(t: &mut Tape<'_>, x: Var, heads: u64) -> Var {
        let x = Self::rows(t, x, heads);
        t.transpose(x, &[0, 2, 1, 3])
    }

    /// Splits a projection into `[batch, tokens, heads, dim]`.
    pub fn rows(t: &mut Tape<'_>, x: Var, heads: u64) -> Var {
        let (b, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 1)));
        t.reshape(x, &[b, n, heads as i64, -1])
    }

    /// Joins `[batch, heads, tokens, dim]` to `[batch, tokens, heads * dim]`.
    pub fn join(t: &mut Tape<'_>, x: Var) -> Var {
        let (b, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 2)));
        let x = t.transpose(x, &[0, 2, 1, 3]);
        t.reshape(x, &[b, n, -1])
    }
}

/// Norms over queries and keys.
pub struct HeadNorms {
    /// Norm of the queries.
    pub query: Box<dyn Norm>,
    /// Norm of the keys.
    pub key: Box<dyn Norm>,
    /// Where they are applied.
    pub place: NormPlace,
}

/// Where the norms over queries and keys are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlace {
    /// To the whole projection, before it is split into heads.
    Projection,
    /// To each head, before heads and tokens change places.
    Rows,
    /// To each head, after heads and tokens have changed places.
    Heads,
}

/// Grouped-query attention with separate projections `q_proj`, `k_proj`, `v_proj`, `o_proj`.
pub struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    norms: Option<HeadNorms>,
    rope: Option<RopeModule>,
    heads: Heads,
    scale: f64,
}

/// Which projections of an attention layer have a bias.
#[derive(Clone, Copy, Debug, Default)]
pub struct Biases {
    /// Query, key and value projections.
    pub qkv: bool,
    /// Output projection.
    pub output: bool,
}

impl Biases {
    /// The same for all four projections.
    #[must_use]
    pub const fn all(bias: bool) -> Self {
        Self { qkv: bias, output: bias }
    }
}

impl Attention {
    /// Declares the projections under `name.`.
    pub fn new(
        p: &mut ParamBuilder,
        name: &str,
        width: u64,
        heads: Heads,
        biases: Biases,
        rope: Option<RopeModule>,
    ) -> Self {
        let (q, kv) = (heads.query * heads.dim, heads.kv * heads.dim);
        p.scope(name, |p| Self {
            q: Linear::new(p, "q_proj", width, q, biases.qkv),
            k: Linear::new(p, "k_proj", width, kv, biases.qkv),
            v: Linear::new(p, "v_proj", width, kv, biases.qkv),
            o: Linear::new(p, "o_proj", q, width, biases.output),
            norms: None,
            rope,
            heads,
            scale: (heads.dim as f64).powf(-0.5),
        })
    }

    /// Norms over queries and keys, before the rotation.
    #[must_use]
    pub fn with_norms(
        mut self,
        query: impl Norm + 'static,
        key: impl Norm + 'static,
        place: NormPlace,
    ) -> Self {
        self.norms = Some(HeadNorms { query: Box::new(query), key: Box::new(key), place });
        self
    }

    /// Another attention scale than `dim^-0.5`.
    #[must_use]
    pub fn with_scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }
}

impl Mixer for Attention {
    fn mix(&self, t: &mut Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let (q, k, v) = (self.q.forward(t, x), self.k.forward(t, x), self.v.forward(t, x));
        let (query, key) = match &self.norms {
            Some(n) => (Some((&*n.query, n.place)), Some((&*n.key, n.place))),
            None => (None, None),
        };
        let q = prepare(t, q, self.heads.query, query);
        let k = prepare(t, k, self.heads.kv, key);
        let v = Heads::split(t, v, self.heads.kv);
        let offset = cache.offset();
        let (q, k) = match &self.rope {
            Some(rope) => (rope.forward(t, q, offset), rope.forward(t, k, offset)),
            None => (q, k),
        };
        let kv = cache.update(t, k, v);
        let y = attend(t, q, kv, self.scale, mask, None);
        let y = Heads::join(t, y);
        self.o.forward(t, y)
    }
}

/// Splits a projection into heads `[batch, heads, tokens, dim]` and applies its norm.
pub fn prepare(t: &mut Tape<'_>, x: Var, heads: u64, norm: Option<(&dyn Norm, NormPlace)>) -> Var {
    let mut x = x;
    if let Some((norm, NormPlace::Projection)) = norm {
        x = norm.norm(t, x);
    }
    x = Heads::rows(t, x, heads);
    if let Some((norm, NormPlace::Rows)) = norm {
        x = norm.norm(t, x);
    }
    x = t.transpose(x, &[0, 2, 1, 3]);
    if let Some((norm, NormPlace::Heads)) = norm {
        x = norm.norm(t, x);
    }
    x
}

/// The gated MLP `down(act(gate(x)) * up(x))`.
#[derive(Debug)]
pub struct GatedMlp {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
}

/// Which gated activation an MLP has.
#[derive(Clone, Copy, Debug)]
enum Activation {
    Plain(Gated),
    Situ(Situ),
    Clamp(Clamp),
}

/// A fused gated activation: `act(gate) * x`.
pub type Gated = fn(&mut Tape<'_>, Var, Var) -> Var;

impl GatedMlp {
    /// Declares `name.{gate,up,down}_proj` with the SwiGLU activation.
    pub fn new(p: &mut ParamBuilder, name: &str, width: u64, hidden: u64, bias: bool) -> Self {
        p.scope(name, |p| Self {
            gate: Linear::new(p, "gate_proj", width, hidden, bias),
            up: Linear::new(p, "up_proj", width, hidden, bias),
            down: Linear::new(p, "down_proj", hidden, width, bias),
            activation: Activation::Plain(activations::swiglu),
        })
    }

    /// Another activation.
    #[must_use]
    pub fn with_activation(mut self, activation: Gated) -> Self {
        self.activation = Activation::Plain(activation);
        self
    }

    /// The clamped SwiGLU activation.
    #[must_use]
    pub fn with_clamp(mut self, clamp: Clamp) -> Self {
        self.activation = Activation::Clamp(clamp);
        self
    }

    /// The SiTU activation.
    #[must_use]
    pub fn with_situ(mut self, situ: Situ) -> Self {
        self.activation = Activation::Situ(situ);
        self
    }
}

impl FeedForward for GatedMlp {
    fn apply(&self, t: &mut Tape<'_>, x: Var) -> Var {
        let (gate, up) = (self.gate.forward(t, x), self.up.forward(t, x));
        let hidden = match self.activation {
            Activation::Plain(activation) => activation(t, gate, up),
            Activation::Situ(situ) => situ.apply(t, gate, up),
            Activation::Clamp(clamp) => clamp.apply(t, gate, up),
        };
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
    pub fn forward(&self, t: &mut Tape<'_>, x: Var) -> Var {
        t.set_stage(Stage::Head);
        match self {
            Self::Own(linear) => linear.forward(t, x),
            Self::Tied(embedding) => embedding.as_linear(t, x),
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
    match c.positive("num_hidden_layers")? {
        n if n <= 4096 => Ok(n),
        _ => Err(c.invalid("num_hidden_layers", "a whole number from 1 to 4096")),
    }
}
