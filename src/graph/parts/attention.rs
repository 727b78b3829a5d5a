//! Grouped-query attention with a rotary embedding, as most families have it.

use super::block::Mixer;
use super::keys::head_dim;
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

    /// The same keys; without `head_dim`, or where it is 0, the heads share out the width.
    ///
    /// # Errors
    /// When the number of heads is missing, or a value is out of range.
    pub fn sized(c: &Config, width: u64) -> Result<Self, ConfigError> {
        let query = c.positive("num_attention_heads")?;
        let kv = c.positive("num_key_value_heads")?;
        Ok(Self { query, kv, dim: head_dim(c, width, query)? })
    }

    /// Splits a projection `[batch, tokens, heads * dim]` into `[batch, heads, tokens, dim]`.
    pub fn split(x: Var<'_>, heads: u64) -> Var<'_> {
        Self::rows(x, heads).transpose(&[0, 2, 1, 3])
    }

    /// Splits a projection into `[batch, tokens, heads, dim]`.
    pub fn rows(x: Var<'_>, heads: u64) -> Var<'_> {
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        x.reshape(&[b, n, heads as i64, -1])
    }

    /// Joins `[batch, heads, tokens, dim]` to `[batch, tokens, heads * dim]`.
    pub fn join(x: Var<'_>) -> Var<'_> {
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(2)));
        x.transpose(&[0, 2, 1, 3]).reshape(&[b, n, -1])
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
    /// One matrix, cut into queries, keys and values, which are clipped to `±limit` if there is one.
    Fused(Linear, Option<f64>),
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
        Self::Fused(Linear::new(p, name, width, rows, bias), None)
    }

    /// The same with queries, keys and values of one matrix clipped to `±limit`.
    #[must_use]
    pub fn clipped(self, limit: f64) -> Self {
        match self {
            Self::Fused(linear, _) => Self::Fused(linear, Some(limit)),
            Self::Separate(all) => Self::Separate(all),
        }
    }

    /// Queries, keys and values `[batch, tokens, heads * dim]`.
    pub fn forward<'t>(&self, x: Var<'t>, heads: Heads) -> [Var<'t>; 3] {
        match self {
            Self::Separate(all) => all.map(|linear| linear.forward(x)),
            Self::Fused(linear, limit) => {
                let all = linear.forward(x);
                let all = limit.map_or(all, |limit| all.clip(-limit, limit));
                let (q, kv) = (heads.query * heads.dim, heads.kv * heads.dim);
                all.split(&[q as u32, (q + kv) as u32], -1)
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
    /// One factor per head, the sigmoid in float32.
    WideHeads(Linear),
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

    /// Attention of the prepared queries to keys and values, and the output projection.
    pub fn output<'t>(
        &self,
        q: Var<'t>,
        kv: (KvArray<'t>, KvArray<'t>),
        mask: Mask<'t>,
    ) -> Var<'t> {
        self.project(Heads::join(self.attend(q, kv, mask)))
    }

    /// The output projection of [`Attention::heads`].
    pub fn project<'t>(&self, y: Var<'t>) -> Var<'t> {
        self.o.forward(y)
    }

    /// Queries, keys and values `[batch, heads, tokens, dim]`, rotated for tokens from `offset` on.
    pub fn prepared<'t>(&self, x: Var<'t>, offset: u32) -> [Var<'t>; 3] {
        let [q, k, v] = self.qkv.forward(x, self.heads);
        let (query, key) = match &self.norms {
            Some(n) => (Some((&*n.query, n.place)), Some((&*n.key, n.place))),
            None => (None, None),
        };
        let mut q = prepare(q, self.heads.query, query);
        let mut k = prepare(k, self.heads.kv, key);
        let v = Heads::split(v, self.heads.kv);
        if let Some(rope) = &self.rope {
            (q, k) = (rope.forward(q, offset), rope.forward(k, offset));
        }
        if let Some(HeadNorms { query, key, place: NormPlace::Rotated }) = &self.norms {
            (q, k) = (query.forward(q), key.forward(k));
        }
        [q, k, v]
    }

    /// The heads' outputs side by side, `[batch, tokens, heads * dim]`, before the output projection. With
    /// `query_scale` the queries are multiplied by it.
    pub fn heads<'t>(
        &self,
        x: Var<'t>,
        mask: Mask<'t>,
        cache: &mut Cache,
        query_scale: Option<Var<'t>>,
    ) -> Var<'t> {
        let [mut q, k, v] = self.prepared(x, cache.offset());
        if let Some(scale) = query_scale {
            q = q * scale;
        }
        let y = self.attend(q, cache.update(k, v), mask);
        OutputGate::join(self.gate, y, x)
    }

    /// Attention of the prepared queries to keys and values, `[batch, heads, tokens, dim]`.
    pub fn attend<'t>(
        &self,
        q: Var<'t>,
        kv: (KvArray<'t>, KvArray<'t>),
        mask: Mask<'t>,
    ) -> Var<'t> {
        let t = q.tape();
        let sinks = self.sinks.map(|s| t.weight(s));
        let (before, wide) = (q.dtype(), DType::F32);
        match self.precision {
            Precision::Same => attend(q, kv, self.scale, mask, sinks),
            Precision::Half => {
                let q = if before == DType::F16 { q.astype(wide) } else { q };
                attend(q, kv, self.scale, mask, sinks).astype(before)
            }
            Precision::Queries | Precision::QueriesAndKeys => {
                let (k, v) = (kv.0.dense(t), kv.1.dense(t));
                let q = q.astype(wide);
                let keys = self.precision == Precision::QueriesAndKeys;
                let k = if keys { k.astype(wide) } else { k };
                q.attention(k, v, self.scale, mask, sinks).astype(v.dtype())
            }
        }
    }
}

impl Mixer for Attention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        self.project(self.heads(x, mask, cache, None))
    }
}

/// Stores keys and values, lets the queries attend to all there are, and puts the heads' outputs side by side.
pub fn attend_cached<'t>(
    [q, k, v]: [Var<'t>; 3],
    scale: f64,
    mask: Mask<'t>,
    cache: &mut Cache,
) -> Var<'t> {
    Heads::join(attend(q, cache.update(k, v), scale, mask, None))
}

/// Makes the first of two caches depend on the second, an indexer's, so that both are evaluated in steps that do not read
/// them.
pub fn tie(t: &Tape<'_>, cache: &mut Cache) {
    let index = cache.part(1).stored(t);
    let own = cache.part(0);
    if let (Some((keys, values)), Some((index_keys, index_values))) = (own.stored(t), index) {
        own.store(keys.depends(&[index_keys, index_values]), values);
    }
}

impl OutputGate {
    /// Joins the heads of `y [batch, heads, tokens, dim]` and gates the result, if there is a gate.
    pub fn join<'t>(gate: Option<Self>, y: Var<'t>, x: Var<'t>) -> Var<'t> {
        match gate {
            None => Heads::join(y),
            Some(Self::Features(linear)) => Heads::join(y) * linear.forward(x).sigmoid(),
            Some(Self::Heads(linear)) => by_head(y, || linear.forward(x).sigmoid()),
            Some(Self::WideHeads(linear)) => {
                by_head(y, || linear.forward(x).astype(DType::F32).sigmoid().astype(y.dtype()))
            }
        }
    }
}

/// Every head of `y [batch, heads, tokens, dim]` times its factor, joined.
fn by_head<'t>(y: Var<'t>, factors: impl FnOnce() -> Var<'t>) -> Var<'t> {
    let y = y.transpose(&[0, 2, 1, 3]);
    let y = y * factors().expand_dims(&[-1]);
    let (b, n) = (i64::from(y.dim(0)), i64::from(y.dim(1)));
    y.reshape(&[b, n, -1])
}

/// Splits a projection into heads `[batch, heads, tokens, dim]` and applies its norm.
pub fn prepare<'t>(x: Var<'t>, heads: u64, norm: Option<(&dyn Norm, NormPlace)>) -> Var<'t> {
    let mut x = x;
    if let Some((norm, NormPlace::Projection)) = norm {
        x = norm.forward(x);
    }
    x = Heads::rows(x, heads);
    if let Some((norm, NormPlace::Rows)) = norm {
        x = norm.forward(x);
    }
    x = x.transpose(&[0, 2, 1, 3]);
    if let Some((norm, NormPlace::Heads)) = norm {
        x = norm.forward(x);
    }
    x
}
