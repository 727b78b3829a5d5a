//! One layer of Gemma 4.

use super::Settings;
use crate::graph::parts::prelude::*;

/// The keys and values that a layer attended to, and the position of the first new token.
#[derive(Clone, Copy)]
pub(super) struct Stored<'t> {
    kv: (KvArray<'t>, KvArray<'t>),
    offset: u32,
    offset_array: Var<'t>,
}

/// What the layers share: the extra inputs, and by layer what those with keys and values of their own attended to.
pub(super) struct Gemma4Carried<'t> {
    pub(super) extra: Option<Var<'t>>,
    pub(super) stored: Vec<(usize, Stored<'t>)>,
}

impl Carry for Gemma4Carried<'static> {
    type On<'t> = Gemma4Carried<'t>;
}

pub(super) struct Layer4 {
    index: usize,
    /// The layer whose keys and values this one attends to, if it has none of its own.
    from: Option<usize>,
    attention: Attention,
    mlp: GatedMlp,
    input_norm: RmsNorm,
    post_attention_norm: RmsNorm,
    pre_mlp_norm: RmsNorm,
    post_mlp_norm: RmsNorm,
    routed: Option<Routed>,
    extra: Option<Extra>,
    scalar: ModuleId,
}

impl Layer4 {
    pub(super) fn new(p: &mut ParamBuilder, s: &Settings, i: usize, from: Option<usize>) -> Self {
        let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, s.width, s.eps);
        let shared = i >= s.shared_from && s.shared_from > 0;
        let hidden = if shared && s.wide_shared { 2 * s.hidden } else { s.hidden };
        Self {
            index: i,
            from,
            attention: p.scope("self_attn", |p| Attention::new(p, s, i)),
            mlp: GatedMlp::new(p, "mlp", s.width, hidden, false)
                .with_activation(activations::geglu),
            input_norm: norm(p, "input_layernorm"),
            post_attention_norm: norm(p, "post_attention_layernorm"),
            pre_mlp_norm: norm(p, "pre_feedforward_layernorm"),
            post_mlp_norm: norm(p, "post_feedforward_layernorm"),
            routed: s.routed.map(|(experts, hidden)| Routed::new(p, s, experts, hidden)),
            extra: (s.per_layer > 0).then(|| Extra {
                gate: Linear::new(p, "per_layer_input_gate", s.width, s.per_layer, false),
                projection: Linear::new(p, "per_layer_projection", s.per_layer, s.width, false),
                norm: norm(p, "post_per_layer_input_norm"),
            }),
            scalar: p.raw("layer_scalar", &[1]),
        }
    }
}

impl Layer<Gemma4Carried<'static>> for Layer4 {
    fn run<'t>(&self, x: Var<'t>, at: At<'_, 't, Gemma4Carried<'static>>) -> Var<'t> {
        let Gemma4Carried { extra, stored } = at.shared;
        let r = self.input_norm.forward(x);
        let from = self.from.and_then(|from| stored.iter().find(|s| s.0 == from));
        let shared = from.map(|&(_, shared)| shared);
        let (r, own) = self.attention.forward(r, at.mask, at.cache, shared);
        if self.from.is_none() {
            stored.push((self.index, own));
        }
        let h = x + self.post_attention_norm.forward(r);
        let mut r = self.mlp.apply(self.pre_mlp_norm.forward(h));
        if let Some(routed) = &self.routed {
            r = routed.join(h, r);
        }
        let mut h = h + self.post_mlp_norm.forward(r);
        if let (Some(block), Some(extra)) = (&self.extra, *extra) {
            let extra = extra.at(2, self.index as u32);
            h = h + block.forward(h, extra);
        }
        h * x.tape().weight(self.scalar)
    }
}

/// The extra input of a layer, let in through a gate.
struct Extra {
    gate: Linear,
    projection: Linear,
    norm: RmsNorm,
}

impl Extra {
    fn forward<'t>(&self, h: Var<'t>, extra: Var<'t>) -> Var<'t> {
        let gated = activations::gelu_approx(self.gate.forward(h)) * extra;
        self.norm.forward(self.projection.forward(gated))
    }
}

/// Attention with norms over queries, keys and values; full layers may use the keys as values.
struct Attention {
    q: Linear,
    kv: Option<OwnKv>,
    o: Linear,
    q_norm: RmsNorm,
    rope: RopeModule,
    heads: Heads,
}

/// The projections of a layer with keys and values of its own.
struct OwnKv {
    k: Linear,
    v: Option<Linear>,
    k_norm: RmsNorm,
    v_norm: UnitNorm,
}

impl Attention {
    fn new(p: &mut ParamBuilder, s: &Settings, i: usize) -> Self {
        let full = s.rules[i] == MaskRule::Full;
        let dim = if full { s.full_head } else { s.head };
        let keys_are_values = s.keys_are_values && full;
        let kv = if keys_are_values { s.full_kv.unwrap_or(s.kv) } else { s.kv };
        let heads = Heads { query: s.query, kv, dim };
        let (q_rows, kv_rows) = (heads.query * dim, heads.kv * dim);
        let q = Linear::new(p, "q_proj", s.width, q_rows, false);
        let own = (i < s.shared_from).then(|| {
            let mut linear = |name| Linear::new(p, name, s.width, kv_rows, false);
            (linear("k_proj"), (!keys_are_values).then(|| linear("v_proj")))
        });
        let o = Linear::new(p, "o_proj", q_rows, s.width, false);
        let q_norm = RmsNorm::new(p, "q_norm", dim, s.eps);
        let kv = own.map(|(k, v)| {
            let k_norm = RmsNorm::new(p, "k_norm", dim, s.eps);
            OwnKv { k, v, k_norm, v_norm: UnitNorm::new(s.eps) }
        });
        Self {
            q,
            kv,
            o,
            q_norm,
            rope: if full { s.full_rope.clone() } else { s.local_rope.clone() },
            heads,
        }
    }

    fn forward<'t>(
        &self,
        x: Var<'t>,
        mask: Mask<'t>,
        cache: &mut Cache,
        shared: Option<Stored<'t>>,
    ) -> (Var<'t>, Stored<'t>) {
        let t = x.tape();
        let q = self.q_norm.forward(self.rows(self.q.forward(x), self.heads.query));
        let q = q.transpose(&[0, 2, 1, 3]);
        let (stored, q) = match (&self.kv, shared) {
            (Some(own), _) => self.store(own, x, q, cache),
            (None, Some(stored)) => {
                let q = self.rope.forward_at(q, stored.offset, stored.offset_array);
                let kv = (stored.kv.0.dense(t), stored.kv.1.dense(t));
                (Stored { kv: (KvArray::Dense(kv.0), KvArray::Dense(kv.1)), ..stored }, q)
            }
            (None, None) => {
                let failed = t.fail("a layer without keys and values to attend to");
                let kv = (KvArray::Dense(failed), KvArray::Dense(failed));
                (Stored { kv, offset: 0, offset_array: failed }, failed)
            }
        };
        let y = Heads::join(attend(q, stored.kv, 1.0, mask, None));
        (self.o.forward(y), stored)
    }

    fn rows<'t>(&self, x: Var<'t>, heads: u64) -> Var<'t> {
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        x.reshape(&[b, n, heads as i64, self.heads.dim as i64])
    }

    /// Stores keys and values of the layer; rotates the queries as well.
    fn store<'t>(
        &self,
        own: &OwnKv,
        x: Var<'t>,
        q: Var<'t>,
        cache: &mut Cache,
    ) -> (Stored<'t>, Var<'t>) {
        let k = self.rows(own.k.forward(x), self.heads.kv);
        let v = match &own.v {
            None => k,
            Some(v) => self.rows(v.forward(x), self.heads.kv),
        };
        let offset = cache.offset();
        let offset_array = x.tape().scalar(f64::from(offset), DType::I32);
        let k = own.k_norm.forward(k).transpose(&[0, 2, 1, 3]);
        let k = self.rope.forward_at(k, offset, offset_array);
        let v = own.v_norm.forward(v).transpose(&[0, 2, 1, 3]);
        let q = self.rope.forward_at(q, offset, offset_array);
        let kv = cache.update(k, v);
        (Stored { kv, offset, offset_array }, q)
    }
}

/// Routed experts beside the MLP.
struct Routed {
    router: Linear,
    router_scale: ModuleId,
    expert_scale: ModuleId,
    experts: SwitchGlu,
    chosen: u64,
    mlp_norm: RmsNorm,
    experts_norm: RmsNorm,
    input_norm: RmsNorm,
    root: f64,
    eps: f64,
}

impl Routed {
    fn new(p: &mut ParamBuilder, s: &Settings, experts: Experts, hidden: u64) -> Self {
        let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, s.width, s.eps);
        Self {
            router: Linear::new(p, "router.proj", s.width, experts.total, false),
            router_scale: p.raw("router.scale", &[s.width]),
            expert_scale: p.raw("router.per_expert_scale", &[experts.total]),
            experts: SwitchGlu::new(p, "experts.switch_glu", s.width, hidden, experts.total, false),
            chosen: experts.chosen,
            mlp_norm: norm(p, "post_feedforward_layernorm_1"),
            experts_norm: norm(p, "post_feedforward_layernorm_2"),
            input_norm: norm(p, "pre_feedforward_layernorm_2"),
            root: (s.width as f64).powf(-0.5),
            eps: s.eps,
        }
    }

    /// The sum of the MLP's result and that of the experts for `h`, each behind its norm.
    fn join<'t>(&self, h: Var<'t>, mlp: Var<'t>) -> Var<'t> {
        let mlp = self.mlp_norm.forward(mlp);
        let (indices, weights) = self.route(h);
        let x = self.input_norm.forward(h);
        let weights = weights.expand_dims(&[-1]);
        let y = weights * self.experts.forward(x, indices, activations::geglu);
        mlp + self.experts_norm.forward(y.sum(-2, false))
    }

    fn route<'t>(&self, h: Var<'t>) -> (Var<'t>, Var<'t>) {
        let t = h.tape();
        let scale = t.weight(self.router_scale) * self.root;
        let scores = self.router.forward(h.rms_norm(Some(scale), self.eps));
        let (indices, scores) = top_k(scores, self.chosen);
        let weights = scores.softmax(false);
        let scales = t.weight(self.expert_scale).take(indices);
        (indices, weights * scales)
    }
}
