//! What many families share: grouped-query attention, the gated MLP and the frame of a decoder.

use super::frame::{FeedForward, Mixer, Norm};
use crate::graph::cache::{Cache, KvArray};
use crate::graph::nn::activations::{self, Clamp};
use crate::graph::nn::{Embedding, Linear, RopeModule, attend};
use crate::graph::params::{ModuleId, ParamBuilder};
use crate::graph::tape::{Mask, Stage, Tape, Var};
use crate::model::{Config, ConfigError, DType};
use std::fmt;

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
    /// To each head, after the rotation.
    Rotated,
}

/// The projections to queries, keys and values.
#[derive(Debug)]
pub enum Projections {
    /// One matrix each.
    Separate([Linear; 3]),
    /// One matrix, cut into queries, keys and values.
    Fused(Linear),
}

impl Projections {
    /// Declares three matrices.
    pub fn separate(
        p: &mut ParamBuilder,
        names: [&str; 3],
        width: u64,
        heads: Heads,
        bias: bool,
    ) -> Self {
        let (q, kv) = (heads.query * heads.dim, heads.kv * heads.dim);
        Self::Separate([
            Linear::new(p, names[0], width, q, bias),
            Linear::new(p, names[1], width, kv, bias),
            Linear::new(p, names[2], width, kv, bias),
        ])
    }

    /// Declares one matrix for all three.
    pub fn fused(p: &mut ParamBuilder, name: &str, width: u64, heads: Heads, bias: bool) -> Self {
        let rows = (heads.query + 2 * heads.kv) * heads.dim;
        Self::Fused(Linear::new(p, name, width, rows, bias))
    }

    /// Queries, keys and values `[batch, tokens, heads * dim]`.
    pub fn forward(&self, t: &mut Tape<'_>, x: Var, heads: Heads) -> [Var; 3] {
        match self {
            Self::Separate(all) => all.map(|linear| linear.forward(t, x)),
            Self::Fused(linear) => {
                let all = linear.forward(t, x);
                let (q, kv) = (heads.query * heads.dim, heads.kv * heads.dim);
                t.split(all, &[q as u32, (q + kv) as u32], -1)
            }
        }
    }
}

/// What the attention kernel computes in, where it is not the type of its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// The type of the inputs.
    Same,
    /// float32; queries are cast (MLX casts keys and values).
    Queries,
    /// float32; queries and keys are cast (MLX casts the values).
    QueriesAndKeys,
    /// float32 for float16 inputs only.
    Half,
}

/// Grouped-query attention with a rotary embedding.
pub struct Attention {
    qkv: Projections,
    o: Linear,
    norms: Option<HeadNorms>,
    rope: Option<RopeModule>,
    heads: Heads,
    scale: f64,
    precision: Precision,
    sinks: Option<ModuleId>,
    gate: Option<OutputGate>,
}

/// What the output of attention is multiplied with before the output projection: the sigmoid of a projection of the
/// layer's input.
#[derive(Clone, Copy, Debug)]
pub enum OutputGate {
    /// One factor per feature.
    Features(Linear),
    /// One factor per head.
    Heads(Linear),
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
    /// Declares the projections `{q,k,v,o}_proj` under `name.`.
    pub fn new(
        p: &mut ParamBuilder,
        name: &str,
        width: u64,
        heads: Heads,
        biases: Biases,
        rope: Option<RopeModule>,
    ) -> Self {
        Self::named(p, name, "o_proj", width, heads, biases, rope)
    }

    /// [`Attention::new`] with another name of the output projection.
    pub fn named(
        p: &mut ParamBuilder,
        name: &str,
        output: &str,
        width: u64,
        heads: Heads,
        biases: Biases,
        rope: Option<RopeModule>,
    ) -> Self {
        p.scope(name, |p| {
            let names = ["q_proj", "k_proj", "v_proj"];
            let qkv = Projections::separate(p, names, width, heads, biases.qkv);
            let o = Linear::new(p, output, heads.query * heads.dim, width, biases.output);
            Self::of(qkv, o, heads, rope)
        })
    }

    /// Attention of given projections.
    pub fn of(qkv: Projections, o: Linear, heads: Heads, rope: Option<RopeModule>) -> Self {
        let scale = (heads.dim as f64).powf(-0.5);
        Self {
            qkv,
            o,
            norms: None,
            rope,
            heads,
            scale,
            precision: Precision::Same,
            sinks: None,
            gate: None,
        }
    }

    /// Norms over queries and keys.
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

    /// Attention sinks: a score per head that takes part in the softmax.
    #[must_use]
    pub fn with_sinks(mut self, sinks: ModuleId) -> Self {
        self.sinks = Some(sinks);
        self
    }

    /// A gate on the output.
    #[must_use]
    pub fn with_gate(mut self, gate: OutputGate) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Another type inside the attention kernel.
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// The output projection of [`Attention::heads`].
    pub fn project(&self, t: &mut Tape<'_>, y: Var) -> Var {
        self.o.forward(t, y)
    }

    /// Queries, keys and values `[batch, heads, tokens, dim]`, rotated for tokens from `offset` on.
    pub fn prepared(&self, t: &mut Tape<'_>, x: Var, offset: u32) -> [Var; 3] {
        let [q, k, v] = self.qkv.forward(t, x, self.heads);
        let (query, key) = match &self.norms {
            Some(n) => (Some((&*n.query, n.place)), Some((&*n.key, n.place))),
            None => (None, None),
        };
        let mut q = prepare(t, q, self.heads.query, query);
        let mut k = prepare(t, k, self.heads.kv, key);
        let v = Heads::split(t, v, self.heads.kv);
        if let Some(rope) = &self.rope {
            (q, k) = (rope.forward(t, q, offset), rope.forward(t, k, offset));
        }
        if let Some(HeadNorms { query, key, place: NormPlace::Rotated }) = &self.norms {
            (q, k) = (query.norm(t, q), key.norm(t, k));
        }
        [q, k, v]
    }

    /// The heads' outputs side by side, `[batch, tokens, heads * dim]`, before the output projection. With
    /// `query_scale` the queries are multiplied by it.
    pub fn heads(
        &self,
        t: &mut Tape<'_>,
        x: Var,
        mask: Mask,
        cache: &mut Cache,
        query_scale: Option<Var>,
    ) -> Var {
        let [mut q, k, v] = self.prepared(t, x, cache.offset());
        if let Some(scale) = query_scale {
            q = t.mul(q, scale);
        }
        let kv = cache.update(t, k, v);
        let y = self.attend(t, q, kv, mask);
        match self.gate {
            None => Heads::join(t, y),
            Some(gate) => gate.join(t, y, x),
        }
    }

    /// Attention of the prepared queries to keys and values, `[batch, heads, tokens, dim]`.
    pub fn attend(&self, t: &mut Tape<'_>, q: Var, kv: (KvArray, KvArray), mask: Mask) -> Var {
        let sinks = self.sinks.map(|s| t.weight(s));
        let (before, wide) = (t.dtype(q), DType::F32);
        match self.precision {
            Precision::Same => attend(t, q, kv, self.scale, mask, sinks),
            Precision::Half => {
                let q = if before == DType::F16 { t.astype(q, wide) } else { q };
                let y = attend(t, q, kv, self.scale, mask, sinks);
                t.astype(y, before)
            }
            Precision::Queries | Precision::QueriesAndKeys => {
                let (k, v) = (kv.0.dense(t), kv.1.dense(t));
                let q = t.astype(q, wide);
                let keys = self.precision == Precision::QueriesAndKeys;
                let k = if keys { t.astype(k, wide) } else { k };
                let y = t.attention(q, k, v, self.scale, mask, sinks);
                t.astype(y, t.dtype(v))
            }
        }
    }
}

impl Mixer for Attention {
    fn mix(&self, t: &mut Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let y = self.heads(t, x, mask, cache, None);
        self.project(t, y)
    }
}

/// Stores keys and values, lets the queries attend to all there are, and puts the heads' outputs side by side.
pub fn attend_cached(
    t: &mut Tape<'_>,
    [q, k, v]: [Var; 3],
    scale: f64,
    mask: Mask,
    cache: &mut Cache,
) -> Var {
    let kv = cache.update(t, k, v);
    let y = attend(t, q, kv, scale, mask, None);
    Heads::join(t, y)
}

impl OutputGate {
    /// Joins the heads of `y [batch, heads, tokens, dim]` and gates the result.
    fn join(self, t: &mut Tape<'_>, y: Var, x: Var) -> Var {
        match self {
            Self::Features(linear) => {
                let y = Heads::join(t, y);
                let gate = linear.forward(t, x);
                let gate = t.sigmoid(gate);
                t.mul(y, gate)
            }
            Self::Heads(linear) => {
                let y = t.transpose(y, &[0, 2, 1, 3]);
                let gate = linear.forward(t, x);
                let gate = t.sigmoid(gate);
                let gate = t.expand_dims(gate, &[-1]);
                let y = t.mul(y, gate);
                let (b, n) = (i64::from(t.dim(y, 0)), i64::from(t.dim(y, 1)));
                t.reshape(y, &[b, n, -1])
            }
        }
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
pub struct GatedMlp {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Gated,
}

/// A gated activation of (gate, x), for example `act(gate) * x`.
pub type Gated = Box<dyn Fn(&mut Tape<'_>, Var, Var) -> Var + Send + Sync>;

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
        activation: impl Fn(&mut Tape<'_>, Var, Var) -> Var + Send + Sync + 'static,
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
    fn apply(&self, t: &mut Tape<'_>, x: Var) -> Var {
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
    pub fn forward(&self, t: &mut Tape<'_>, x: Var) -> Var {
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
