//! One layer of Gemma 3n.

use super::Settings;
use super::altup::AltUp;

use crate::graph::parts::prelude::*;
use crate::stats::normal_quantile;

/// What the layers share: the extra inputs, and the position of the first new token.
#[derive(Clone, Copy)]
pub(super) struct Gemma3nCarried<'t> {
    pub(super) extra: Var<'t>,
    pub(super) offset: u32,
}

impl Carry for Gemma3nCarried<'static> {
    type On<'t> = Gemma3nCarried<'t>;
}

pub(super) struct Layer3n {
    index: usize,
    attention: Attention,
    mlp: Mlp,
    input_norm: RmsNorm,
    post_attention_norm: RmsNorm,
    pre_mlp_norm: RmsNorm,
    post_mlp_norm: RmsNorm,
    altup: AltUp,
    laurel: Laurel,
    extra_gate: Linear,
    extra_projection: Linear,
    extra_norm: RmsNorm,
    correct_scale: bool,
}

impl Layer3n {
    pub(super) fn new(p: &mut ParamBuilder, s: &Settings, i: usize) -> Self {
        let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, s.width, s.eps);
        Self {
            index: i,
            attention: p.scope("self_attn", |p| Attention::new(p, s, i)),
            mlp: p.scope("mlp", |p| Mlp::new(p, s, i)),
            input_norm: norm(p, "input_layernorm"),
            post_attention_norm: norm(p, "post_attention_layernorm"),
            pre_mlp_norm: norm(p, "pre_feedforward_layernorm"),
            post_mlp_norm: norm(p, "post_feedforward_layernorm"),
            altup: p.scope("altup", |p| AltUp::new(p, s)),
            laurel: p.scope("laurel", |p| Laurel {
                left: Linear::new(p, "linear_left", s.width, s.laurel_rank, false),
                right: Linear::new(p, "linear_right", s.laurel_rank, s.width, false),
                norm: norm(p, "post_laurel_norm"),
            }),
            extra_gate: Linear::new(p, "per_layer_input_gate", s.width, s.per_layer, false),
            extra_projection: Linear::new(p, "per_layer_projection", s.per_layer, s.width, false),
            extra_norm: norm(p, "post_per_layer_input_norm"),
            correct_scale: s.correct_scale,
        }
    }

    /// What the extra input adds to the inactive copies.
    fn extra<'t>(&self, corrected: Var<'t>, extra: Var<'t>) -> Var<'t> {
        let mut x = corrected.row(self.altup.active);
        if self.correct_scale {
            x = x * corrected.tape().weight(self.altup.correct_output_scale);
        }
        let gated = activations::gelu_approx(self.extra_gate.forward(x)) * extra;
        self.extra_norm.forward(self.extra_projection.forward(gated))
    }
}

impl Layer<Gemma3nCarried<'static>> for Layer3n {
    /// All copies `[copies, batch, tokens, width]` after the layer.
    fn run<'t>(&self, x: Var<'t>, at: At<'_, 't, Gemma3nCarried<'static>>) -> Var<'t> {
        let Gemma3nCarried { extra, offset } = *at.shared;
        let first_call = offset == 0;
        let extra = extra.at(2, self.index as u32);
        let predictions = self.altup.predict(x, first_call);
        let active = predictions.row(self.altup.active);
        let normed = self.input_norm.forward(active);
        let laurel = self.laurel.forward(normed);
        let r = self.attention.forward(normed, at.mask, offset, at.cache);
        let h = (active + self.post_attention_norm.forward(r) + laurel) * 2f64.powf(-0.5);
        let r = self.post_mlp_norm.forward(self.mlp.forward(self.pre_mlp_norm.forward(h)));
        let corrected = self.altup.correct(predictions, h + r, first_call);
        let r = self.extra(corrected, extra);
        corrected.slice_update(corrected.slice(0, 1, u32::MAX) + r, 0, 1)
    }
}

/// The learned residual `x + norm(right(left(x)))`.
struct Laurel {
    left: Linear,
    right: Linear,
    norm: RmsNorm,
}

impl Laurel {
    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let y = self.norm.forward(self.right.forward(self.left.forward(x)));
        x + y
    }
}

/// Attention with norms over queries, keys and values. Layers that share keys and values have the projections, but
/// do not use them.
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    v_norm: UnitNorm,
    rope: RopeModule,
    dim: i64,
    shared: bool,
}

impl Attention {
    fn new(p: &mut ParamBuilder, s: &Settings, i: usize) -> Self {
        let (q_rows, kv_rows) = (s.query * s.head, s.kv * s.head);
        let full = s.rules[i] == MaskRule::Full;
        Self {
            q: Linear::new(p, "q_proj", s.width, q_rows, false),
            k: Linear::new(p, "k_proj", s.width, kv_rows, false),
            v: Linear::new(p, "v_proj", s.width, kv_rows, false),
            o: Linear::new(p, "o_proj", q_rows, s.width, false),
            q_norm: RmsNorm::new(p, "q_norm", s.head, s.eps),
            k_norm: RmsNorm::new(p, "k_norm", s.head, s.eps),
            v_norm: UnitNorm::new(s.eps),
            rope: if full { s.full_rope.clone() } else { s.local_rope.clone() },
            dim: s.head as i64,
            shared: i >= s.shared_from,
        }
    }

    fn rows<'t>(&self, linear: &Linear, x: Var<'t>) -> Var<'t> {
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        linear.forward(x).reshape(&[b, n, -1, self.dim])
    }

    fn forward<'t>(&self, x: Var<'t>, mask: Mask<'t>, offset: u32, cache: &mut Cache) -> Var<'t> {
        let q = self.q_norm.forward(self.rows(&self.q, x)).transpose(&[0, 2, 1, 3]);
        let q = self.rope.forward(q, offset);
        let kv = if self.shared {
            cache.keys_and_values(x.tape())
        } else {
            let k = self.k_norm.forward(self.rows(&self.k, x)).transpose(&[0, 2, 1, 3]);
            let k = self.rope.forward(k, offset);
            let v = self.v_norm.forward(self.rows(&self.v, x)).transpose(&[0, 2, 1, 3]);
            cache.update(k, v)
        };
        self.o.forward(Heads::join(attend(q, kv, 1.0, mask, None)))
    }
}

/// The MLP; in early layers only activations well above the mean survive.
struct Mlp {
    gate: Linear,
    up: Linear,
    down: Linear,
    /// Standard deviations above the mean below which the gate is closed.
    cutoff: Option<f64>,
}

impl Mlp {
    fn new(p: &mut ParamBuilder, s: &Settings, i: usize) -> Self {
        let hidden = s.hidden[i];
        Self {
            gate: Linear::new(p, "gate_proj", s.width, hidden, false),
            up: Linear::new(p, "up_proj", s.width, hidden, false),
            down: Linear::new(p, "down_proj", hidden, s.width, false),
            cutoff: (s.sparsity[i] > 0.0).then(|| normal_quantile(s.sparsity[i])),
        }
    }

    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        let gate = self.gate.forward(x);
        let gate = match self.cutoff {
            Some(cutoff) => {
                let cutoff = t.scalar(cutoff, DType::F32);
                gate.compiled(|gate| sparse_gelu(gate, cutoff))
            }
            None => activations::gelu_approx(gate),
        };
        self.down.forward(gate * self.up.forward(x))
    }
}

/// GELU of what exceeds the mean by `cutoff` standard deviations.
fn sparse_gelu<'t>(x: Var<'t>, cutoff: Var<'t>) -> Var<'t> {
    let mean = x.mean(-1, true);
    let variance = (x - mean).square().mean(-1, true);
    let deviation = variance.sqrt();
    let cutoff = deviation * cutoff.astype(deviation.dtype());
    let above = x - (mean + cutoff);
    let above = x.tape().scalar(0.0, above.dtype()).maximum(above);
    activations::gelu_approx(above)
}
