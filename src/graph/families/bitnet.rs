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

    fn forward<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        let from = x.shape();
        if u64::from(from.dim(-1)) != self.inputs {
            return t.fail(format!("product of {from:?} with a matrix of {} columns", self.inputs));
        }
        let outputs = self.outputs as u32;
        let rows = x.reshape(&[-1, self.inputs as i64]);
        let (weight, scale) = (t.weight(self.weight), t.weight(self.scale));
        let (shape, dtype) = (Shape::new(&[rows.dim(0), outputs]), scale.dtype());
        let y = t.kernel_one(Kernel::BitLinear, &[rows, weight, scale], shape, dtype);
        let to = from.with(-1, outputs).signed();
        let y = y.reshape(&to);
        match self.bias {
            None => y,
            Some(bias) => y + t.weight(bias),
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
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let Heads { query, kv, dim } = self.heads;
        let [q, k, v] = self.qkv.each_ref().map(|linear| linear.forward(x));
        let (q, k, v) = (Heads::split(q, query), Heads::split(k, kv), Heads::split(v, kv));
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(q, offset), self.rope.forward(k, offset));
        let y = attend_cached([q, k, v], (dim as f64).powf(-0.5), mask, cache);
        self.o.forward(self.norm.forward(y))
    }
}

struct Mlp {
    gate: BitLinear,
    up: BitLinear,
    down: BitLinear,
    norm: RmsNorm,
}

impl FeedForward for Mlp {
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        let hidden = activations::relu2(self.gate.forward(x)) * self.up.forward(x);
        self.down.forward(self.norm.forward(hidden))
    }
}
