//! IQuest-Coder with loops: the layers run twice; the second time, attention to all keys and values of the first
//! round and to a window of its own are mixed by a gate per head.

use crate::graph::parts::prelude::*;
use std::sync::Arc;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let max = c.dim_or("max_position_embeddings", 131_072)?;
    let d = Dims { max_context: Some(max), ..Dims::read(c)? };
    let heads = Heads { dim: c.positive("head_dim")?, ..d.heads(c)? };
    if c.dim_or("loop_num", 2)? != 2 {
        return Err(c.invalid("loop_num", "2, the only number mlx-lm supports"));
    }
    let window = c.positive_or("loop_window_size", 64)? as u32;
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let tied = c.bool_or("tie_word_embeddings", false)?;
    let rope = RopeModule::read_as(c, heads.dim, 500_000.0, false, d.max_context)?;
    let mut layers = Vec::with_capacity(d.layers);
    let o = d.outline(HeadKind::tied(tied), eps);
    let mut decoder = o.sharing(
        p,
        |p, index| {
            let index = index as usize;
            let layer = Arc::new(LoopLayer {
                attention: Attention::new(
                    p,
                    "self_attn",
                    d.width,
                    heads,
                    biases,
                    Some(rope.clone()),
                ),
                mlp: GatedMlp::new(p, "mlp", d.width, d.hidden, mlp_bias),
                input_norm: RmsNorm::new(p, "input_layernorm", d.width, eps),
                post_norm: RmsNorm::new(p, "post_attention_layernorm", d.width, eps),
            });
            layers.push(Arc::clone(&layer));
            Ok(Place::new(MaskRule::Full, First { layer, index }))
        },
        |call| (call.embedded, Round::default()),
    )?;
    decoder.places.extend(layers.into_iter().enumerate().map(|(index, layer)| {
        let gate = p.scope(&format!("model.gate_projections.{index}"), |p| Gate {
            weight: p.raw("weight", &[heads.query, heads.dim]),
            bias: p.raw("bias", &[heads.query]),
        });
        Place::new(MaskRule::Window(window), Second { layer, gate, index })
    }));
    decoder.rounds = 2;
    Ok(decoder.built())
}

/// The share of global attention per head and token.
struct Gate {
    weight: ModuleId,
    bias: ModuleId,
}

impl Gate {
    fn forward<'t>(&self, q: Var<'t>) -> Var<'t> {
        let t = q.tape();
        let (w, b) = (t.weight(self.weight), t.weight(self.bias));
        q.compiled(|q| {
            (q.matmul(w.expand_dims(&[1]).swapaxes(-1, -2)) + b.expand_dims(&[-1, -2])).sigmoid()
        })
    }
}

struct LoopLayer {
    attention: Attention,
    mlp: GatedMlp,
    input_norm: RmsNorm,
    post_norm: RmsNorm,
}

impl LoopLayer {
    fn finish<'t>(&self, h: Var<'t>, y: Var<'t>) -> Var<'t> {
        let h = h + self.attention.project(Heads::join(y));
        h + self.mlp.apply(self.post_norm.forward(h))
    }
}

/// What the first round leaves for the second: its mask, and the keys and values that each layer attended to, with the
/// layer's number.
#[derive(Default)]
struct Round<'t> {
    mask: Option<Mask<'t>>,
    stored: Vec<(usize, KvArray<'t>, KvArray<'t>)>,
}

impl Carry for Round<'static> {
    type On<'t> = Round<'t>;
}

/// The layer `index` in the first round.
struct First {
    layer: Arc<LoopLayer>,
    index: usize,
}

impl Layer<Round<'static>> for First {
    fn run<'t>(&self, h: Var<'t>, at: At<'_, 't, Round<'static>>) -> Var<'t> {
        let layer = &self.layer;
        let x = layer.input_norm.forward(h);
        let [q, k, v] = layer.attention.prepared(x, at.cache.offset());
        let kv = at.cache.update(k, v);
        at.shared.mask = Some(at.mask);
        at.shared.stored.push((self.index, kv.0, kv.1));
        layer.finish(h, layer.attention.attend(q, kv, at.mask))
    }
}

/// The layer `index` in the second round, which attends to the keys and values of the first as well.
struct Second {
    layer: Arc<LoopLayer>,
    gate: Gate,
    index: usize,
}

impl Layer<Round<'static>> for Second {
    fn run<'t>(&self, h: Var<'t>, at: At<'_, 't, Round<'static>>) -> Var<'t> {
        let t = h.tape();
        let attention = &self.layer.attention;
        let x = self.layer.input_norm.forward(h);
        let [q, k, v] = attention.prepared(x, at.cache.offset());
        let gate = self.gate.forward(q);
        let stored = at.shared.stored.iter().find(|(layer, _, _)| *layer == self.index);
        let (Some(mask), Some((_, keys, values))) = (at.shared.mask, stored) else {
            return t.fail("a second round without a first");
        };
        let all = (KvArray::Dense(keys.dense(t)), KvArray::Dense(values.dense(t)));
        let global = attention.attend(q, all, mask);
        let local = attention.attend(q, at.cache.update(k, v), at.mask);
        let mixed =
            gate.compiled(|gate| gate * global + (t.scalar(1.0, gate.dtype()) - gate) * local);
        self.layer.finish(h, mixed)
    }
}
