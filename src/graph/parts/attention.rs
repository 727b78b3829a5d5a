//! Grouped-query attention with a rotary embedding, as most families have it.

use super::block::Mixer;
use crate::graph::prelude::*;

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
    /// `num_attention_heads`, `num_key_value_heads` and `head_dim`, all of them required.
    ///
    /// # Errors
    /// When a key is missing or out of range.
    pub fn read(c: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            query: c.positive("num_attention_heads")?,
            kv: c.positive("num_key_value_heads")?,
            dim: c.positive("head_dim")?,
        })
    }

    /// The same keys with the family's defaults.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn read_or(c: &Config, [query, kv, dim]: [u64; 3]) -> Result<Self, ConfigError> {
        Ok(Self {
            query: c.dim_or("num_attention_heads", query)?,
            kv: c.dim_or("num_key_value_heads", kv)?,
            dim: c.dim_or("head_dim", dim)?,
        })
    }

    /// Splits a projection `[batch, tokens, heads * dim]` into `[batch, heads, tokens, dim]`.
    pub fn split(t: &Tape<'_>, x: Var, heads: u64) -> Var {
        t.transpose(Self::rows(t, x, heads), &[0, 2, 1, 3])
    }

    /// Splits a projection into `[batch, tokens, heads, dim]`.
    pub fn rows(t: &Tape<'_>, x: Var, heads: u64) -> Var {
        let (b, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 1)));
        t.reshape(x, &[b, n, heads as i64, -1])
    }

    /// Joins `[batch, heads, tokens, dim]` to `[batch, tokens, heads * dim]`.
    pub fn join(t: &Tape<'_>, x: Var) -> Var {
        let (b, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 2)));
        t.reshape(t.transpose(x, &[0, 2, 1, 3]), &[b, n, -1])
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
    pub fn forward(&self, t: &Tape<'_>, x: Var, heads: Heads) -> [Var; 3] {
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

    /// RMS norms `names` (query, key), declared in the current scope.
    #[must_use]
    pub fn with_rms_norms(
        self,
        p: &mut ParamBuilder,
        names: [&str; 2],
        place: NormPlace,
        eps: f64,
    ) -> Self {
        let Heads { query, kv, dim } = self.heads;
        let [q, k] = match place {
            NormPlace::Projection => [query * dim, kv * dim],
            NormPlace::Rows | NormPlace::Heads | NormPlace::Rotated => [dim, dim],
        };
        let query = RmsNorm::new(p, names[0], q, eps);
        let key = RmsNorm::new(p, names[1], k, eps);
        self.with_norms(query, key, place)
    }

    /// The usual norms `self_attn.q_norm` and `self_attn.k_norm`.
    #[must_use]
    pub fn with_usual_norms(self, p: &mut ParamBuilder, place: NormPlace, eps: f64) -> Self {
        self.with_rms_norms(p, ["self_attn.q_norm", "self_attn.k_norm"], place, eps)
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
    pub fn project(&self, t: &Tape<'_>, y: Var) -> Var {
        self.o.forward(t, y)
    }

    /// Queries, keys and values `[batch, heads, tokens, dim]`, rotated for tokens from `offset` on.
    pub fn prepared(&self, t: &Tape<'_>, x: Var, offset: u32) -> [Var; 3] {
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
            (q, k) = (query.forward(t, q), key.forward(t, k));
        }
        [q, k, v]
    }

    /// The heads' outputs side by side, `[batch, tokens, heads * dim]`, before the output projection. With
    /// `query_scale` the queries are multiplied by it.
    pub fn heads(
        &self,
        t: &Tape<'_>,
        x: Var,
        mask: Mask,
        cache: &mut Cache,
        query_scale: Option<Var>,
    ) -> Var {
        let [mut q, k, v] = self.prepared(t, x, cache.offset());
        if let Some(scale) = query_scale {
            q = t.mul(q, scale);
        }
        let y = self.attend(t, q, cache.update(t, k, v), mask);
        match self.gate {
            None => Heads::join(t, y),
            Some(gate) => gate.join(t, y, x),
        }
    }

    /// Attention of the prepared queries to keys and values, `[batch, heads, tokens, dim]`.
    pub fn attend(&self, t: &Tape<'_>, q: Var, kv: (KvArray, KvArray), mask: Mask) -> Var {
        let sinks = self.sinks.map(|s| t.weight(s));
        let (before, wide) = (t.dtype(q), DType::F32);
        match self.precision {
            Precision::Same => attend(t, q, kv, self.scale, mask, sinks),
            Precision::Half => {
                let q = if before == DType::F16 { t.astype(q, wide) } else { q };
                t.astype(attend(t, q, kv, self.scale, mask, sinks), before)
            }
            Precision::Queries | Precision::QueriesAndKeys => {
                let (k, v) = (kv.0.dense(t), kv.1.dense(t));
                let q = t.astype(q, wide);
                let keys = self.precision == Precision::QueriesAndKeys;
                let k = if keys { t.astype(k, wide) } else { k };
                t.astype(t.attention(q, k, v, self.scale, mask, sinks), t.dtype(v))
            }
        }
    }
}

impl Mixer for Attention {
    fn mix(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        self.project(t, self.heads(t, x, mask, cache, None))
    }
}

/// Stores keys and values, lets the queries attend to all there are, and puts the heads' outputs side by side.
pub fn attend_cached(
    t: &Tape<'_>,
    [q, k, v]: [Var; 3],
    scale: f64,
    mask: Mask,
    cache: &mut Cache,
) -> Var {
    Heads::join(t, attend(t, q, cache.update(t, k, v), scale, mask, None))
}

impl OutputGate {
    /// Joins the heads of `y [batch, heads, tokens, dim]` and gates the result.
    fn join(self, t: &Tape<'_>, y: Var, x: Var) -> Var {
        match self {
            Self::Features(linear) => t.mul(Heads::join(t, y), t.sigmoid(linear.forward(t, x))),
            Self::Heads(linear) => {
                let y = t.transpose(y, &[0, 2, 1, 3]);
                let gate = t.expand_dims(t.sigmoid(linear.forward(t, x)), &[-1]);
                let y = t.mul(y, gate);
                let (b, n) = (i64::from(t.dim(y, 0)), i64::from(t.dim(y, 1)));
                t.reshape(y, &[b, n, -1])
            }
        }
    }
}

/// Splits a projection into heads `[batch, heads, tokens, dim]` and applies its norm.
pub fn prepare(t: &Tape<'_>, x: Var, heads: u64, norm: Option<(&dyn Norm, NormPlace)>) -> Var {
    let mut x = x;
    if let Some((norm, NormPlace::Projection)) = norm {
        x = norm.forward(t, x);
    }
    x = Heads::rows(t, x, heads);
    if let Some((norm, NormPlace::Rows)) = norm {
        x = norm.forward(t, x);
    }
    x = t.transpose(x, &[0, 2, 1, 3]);
    if let Some((norm, NormPlace::Heads)) = norm {
        x = norm.forward(t, x);
    }
    x
}
