//! BitNet: ternary weights, four to a byte, multiplied by a custom kernel; norms before the output projections;
//! squared ReLU. Only embedding and head can be packed further.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let heads = d.sized_heads(c)?;
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let bias = c.bool_or("attention_bias", false)?;
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let rope = RopeModule::read(c, heads.dim, 10_000.0, d.max_context)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", true)?);
    let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, d.width, eps);
    let decoder = d.outline(head, eps).layered(p, &d.full(), |p, _| {
        let attention = p.scope("self_attn", |p| {
            let (q, kv) = (heads.query * heads.dim, heads.kv * heads.dim);
            Attention {
                qkv: [("q_proj", q), ("k_proj", kv), ("v_proj", kv)]
                    .map(|(name, rows)| BitLinear::new(p, name, d.width, rows, bias)),
                o: BitLinear::new(p, "o_proj", q, d.width, bias),
                norm: norm(p, "attn_sub_norm"),
                rope: rope.clone(),
                heads,
            }
        });
        let mlp = p.scope("mlp", |p| Mlp {
            gate: BitLinear::new(p, "gate_proj", d.width, d.hidden, mlp_bias),
            up: BitLinear::new(p, "up_proj", d.width, d.hidden, mlp_bias),
            down: BitLinear::new(p, "down_proj", d.hidden, d.width, mlp_bias),
            norm: RmsNorm::new(p, "ffn_sub_norm", d.hidden, eps),
        });
        Sandwich::pre_norm(p, d.width, eps, attention, mlp)
    });
    Ok(decoder.built())
}

/// A matrix of the values -1, 0 and 1 with one scale; four rows share a row of bytes.
struct BitLinear {
    weight: ModuleId,
    scale: ModuleId,
    bias: Option<ModuleId>,
    inputs: u64,
    outputs: u64,
}

impl BitLinear {
    fn new(p: &mut ParamBuilder, name: &str, inputs: u64, outputs: u64, bias: bool) -> Self {
        p.scope(name, |p| Self {
            weight: p.raw_bytes("weight", &[outputs.div_ceil(4), inputs]),
            scale: p.raw("weight_scale", &[1]),
            bias: bias.then(|| p.raw("bias", &[outputs])),
            inputs,
            outputs,
        })
    }

    fn forward(&self, t: &Tape<'_>, x: Var) -> Var {
        let from = t.shape(x);
        if u64::from(from.dim(-1)) != self.inputs {
            return t.fail(format!("product of {from:?} with a matrix of {} columns", self.inputs));
        }
        let outputs = self.outputs as u32;
        let rows = t.reshape(x, &[-1, self.inputs as i64]);
        let (weight, scale) = (t.weight(self.weight), t.weight(self.scale));
        let (shape, dtype) = (Shape::new(&[t.dim(rows, 0), outputs]), t.dtype(scale));
        let y = t.kernel_one(Kernel::BitLinear, &[rows, weight, scale], shape, dtype);
        let to: Vec<i64> = from.with(-1, outputs).dims().iter().map(|&n| i64::from(n)).collect();
        let y = t.reshape(y, &to);
        match self.bias {
            None => y,
            Some(bias) => t.add(y, t.weight(bias)),
        }
    }
}

struct Attention {
    qkv: [BitLinear; 3],
    o: BitLinear,
    norm: RmsNorm,
    rope: RopeModule,
    heads: Heads,
}

impl Mixer for Attention {
    fn mix(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let Heads { query, kv, dim } = self.heads;
        let [q, k, v] = self.qkv.each_ref().map(|linear| linear.forward(t, x));
        let (q, k, v) = (Heads::split(t, q, query), Heads::split(t, k, kv), Heads::split(t, v, kv));
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(t, q, offset), self.rope.forward(t, k, offset));
        let y = attend_cached(t, [q, k, v], (dim as f64).powf(-0.5), mask, cache);
        self.o.forward(t, self.norm.forward(t, y))
    }
}

struct Mlp {
    gate: BitLinear,
    up: BitLinear,
    down: BitLinear,
    norm: RmsNorm,
}

impl FeedForward for Mlp {
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        let hidden = t.mul(activations::relu2(t, self.gate.forward(t, x)), self.up.forward(t, x));
        self.down.forward(t, self.norm.forward(t, hidden))
    }
}
