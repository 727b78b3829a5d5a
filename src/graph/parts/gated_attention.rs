//! Attention whose output is gated by a second half of the query projection.

use super::prelude::*;

/// Its projections, inside the scope of its module.
pub struct GatedAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    rope: RopeModule,
    heads: Heads,
}

/// What is read of the hidden states: queries, their gate, and all keys and values.
pub struct GatedRead<'t> {
    /// Queries by head.
    pub q: Var<'t>,
    /// Logits of the gate, as wide as all queries.
    pub gate: Var<'t>,
    /// Keys and values of all tokens.
    pub kv: (KvArray<'t>, KvArray<'t>),
}

impl GatedAttention {
    /// The projections of hidden states of `width`, whose norms have `eps`.
    pub fn new(
        p: &mut ParamBuilder,
        (width, eps, bias): (u64, f64, bool),
        h: Heads,
        rope: RopeModule,
    ) -> Self {
        let (q, kv) = (h.query * h.dim, h.kv * h.dim);
        Self {
            q: Linear::new(p, "q_proj", width, 2 * q, bias),
            k: Linear::new(p, "k_proj", width, kv, bias),
            v: Linear::new(p, "v_proj", width, kv, bias),
            o: Linear::new(p, "o_proj", q, width, bias),
            q_norm: RmsNorm::new(p, "q_norm", h.dim, eps),
            k_norm: RmsNorm::new(p, "k_norm", h.dim, eps),
            rope,
            heads: h,
        }
    }

    /// Projects hidden states, and caches their keys and values.
    pub fn read<'t>(&self, x: Var<'t>, cache: &mut Cache) -> GatedRead<'t> {
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let [q, gate] = Heads::rows(self.q.forward(x), self.heads.query).split_equal(-1);
        let gate = gate.reshape(&[b, n, -1]);
        let (k, v) = (self.k.forward(x), self.v.forward(x));
        let q = self.q_norm.forward(q).transpose(&[0, 2, 1, 3]);
        let k = prepare(k, self.heads.kv, Some((&self.k_norm, NormPlace::Rows)));
        let v = Heads::split(v, self.heads.kv);
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(q, offset), self.rope.forward(k, offset));
        GatedRead { q, gate, kv: cache.update(k, v) }
    }

    /// The factor on scores.
    #[must_use]
    pub fn scale(&self) -> f64 {
        (self.heads.dim as f64).powf(-0.5)
    }

    /// Gates what the heads read, and projects it.
    pub fn write<'t>(&self, y: Var<'t>, gate: Var<'t>) -> Var<'t> {
        self.o.forward(Heads::join(y) * gate.sigmoid())
    }
}

impl Mixer for GatedAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let GatedRead { q, gate, kv } = self.read(x, cache);
        self.write(attend(q, kv, self.scale(), mask, None), gate)
    }
}
