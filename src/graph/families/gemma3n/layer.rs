//! One layer of Gemma 3n.

use super::Settings;
use super::altup::AltUp;

use crate::graph::parts::prelude::*;
use crate::stats::normal_quantile;

/// What the layers share: the extra inputs, and the position of the first new token.
#[derive(Clone, Copy)]
pub(super) struct Gemma3nCarried {
    pub(super) extra: Var,
    pub(super) offset: u32,
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
    fn extra(&self, t: &Tape<'_>, corrected: Var, extra: Var) -> Var {
        let mut x = t.row(corrected, self.altup.active);
        if self.correct_scale {
            x = t.mul(x, t.weight(self.altup.correct_output_scale));
        }
        let gated = t.mul(activations::gelu_approx(t, self.extra_gate.forward(t, x)), extra);
        self.extra_norm.forward(t, self.extra_projection.forward(t, gated))
    }
}

impl Layer<Gemma3nCarried> for Layer3n {
    /// All copies `[copies, batch, tokens, width]` after the layer.
    fn run(&self, t: &Tape<'_>, x: Var, at: At<'_, Gemma3nCarried>) -> Var {
        let Gemma3nCarried { extra, offset } = *at.shared;
        let first_call = offset == 0;
        let extra = t.at(extra, 2, self.index as u32);
        let predictions = self.altup.predict(t, x, first_call);
        let active = t.row(predictions, self.altup.active);
        let normed = self.input_norm.forward(t, active);
        let laurel = self.laurel.forward(t, normed);
        let r = self.attention.forward(t, normed, at.mask, offset, at.cache);
        let h = t.add(t.add(active, self.post_attention_norm.forward(t, r)), laurel);
        let h = t.mul(h, 2f64.powf(-0.5));
        let r = self.post_mlp_norm.forward(t, self.mlp.forward(t, self.pre_mlp_norm.forward(t, h)));
        let corrected = self.altup.correct(t, predictions, t.add(h, r), first_call);
        let r = self.extra(t, corrected, extra);
        t.slice_update(corrected, t.add(t.slice(corrected, 0, 1, u32::MAX), r), 0, 1)
    }
}

/// The learned residual `x + norm(right(left(x)))`.
struct Laurel {
    left: Linear,
    right: Linear,
    norm: RmsNorm,
}

impl Laurel {
    fn forward(&self, t: &Tape<'_>, x: Var) -> Var {
        let y = self.norm.forward(t, self.right.forward(t, self.left.forward(t, x)));
        t.add(x, y)
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

    fn rows(&self, t: &Tape<'_>, linear: &Linear, x: Var) -> Var {
        let (b, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 1)));
        t.reshape(linear.forward(t, x), &[b, n, -1, self.dim])
    }

    fn forward(&self, t: &Tape<'_>, x: Var, mask: Mask, offset: u32, cache: &mut Cache) -> Var {
        let q = t.transpose(self.q_norm.forward(t, self.rows(t, &self.q, x)), &[0, 2, 1, 3]);
        let q = self.rope.forward(t, q, offset);
        let kv = if self.shared {
            cache.keys_and_values(t)
        } else {
            let k = t.transpose(self.k_norm.forward(t, self.rows(t, &self.k, x)), &[0, 2, 1, 3]);
            let k = self.rope.forward(t, k, offset);
            let v = t.transpose(self.v_norm.forward(t, self.rows(t, &self.v, x)), &[0, 2, 1, 3]);
            cache.update(t, k, v)
        };
        self.o.forward(t, Heads::join(t, attend(t, q, kv, 1.0, mask, None)))
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

    fn forward(&self, t: &Tape<'_>, x: Var) -> Var {
        let gate = self.gate.forward(t, x);
        let gate = match self.cutoff {
            Some(cutoff) => {
                let cutoff = t.scalar(cutoff, DType::F32);
                let [gate] = t.compiled(|t| [sparse_gelu(t, gate, cutoff)]);
                gate
            }
            None => activations::gelu_approx(t, gate),
        };
        self.down.forward(t, t.mul(gate, self.up.forward(t, x)))
    }
}

/// GELU of what exceeds the mean by `cutoff` standard deviations.
fn sparse_gelu(t: &Tape<'_>, x: Var, cutoff: Var) -> Var {
    let mean = t.mean(x, -1, true);
    let variance = t.mean(t.unary(Unary::Square, t.sub(x, mean)), -1, true);
    let deviation = t.unary(Unary::Sqrt, variance);
    let cutoff = t.mul(deviation, t.astype(cutoff, t.dtype(deviation)));
    let above = t.sub(x, t.add(mean, cutoff));
    let above = t.binary(Binary::Maximum, t.scalar(0.0, t.dtype(above)), above);
    activations::gelu_approx(t, above)
}
