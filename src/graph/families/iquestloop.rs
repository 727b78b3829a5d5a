//! IQuest-Coder with loops: the layers run twice; the second time, attention to all keys and values of the first
//! round and to a window of its own are mixed by a gate per head.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let max = c.dim_or("max_position_embeddings", 131_072)?;
    let d = Dims { max_context: Some(max), ..Dims::read(c)? };
    let heads = Heads { dim: c.positive("head_dim")?, ..d.heads(c)? };
    if c.dim_or("loop_num", 2)? != 2 {
        return Err(c.invalid("loop_num", "2, the only number mlx-lm supports"));
    }
    let window = match c.dim_or("loop_window_size", 64)? {
        0 => return Err(c.invalid("loop_window_size", "a whole number of at least 1")),
        n => n as u32,
    };
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let tied = c.bool_or("tie_word_embeddings", false)?;
    let theta = c.number_or("rope_theta", 500_000.0)?;
    let scaling = RopeScaling::read(c, "rope_scaling")?;
    let rope = RopeModule::new(heads.dim, theta, false, scaling.as_ref(), d.max_context)?;
    let (embed, layers, norm) = p.scope("model", |p| {
        let embed = Embedding::new(p, "embed_tokens", d.vocabulary, d.width);
        let layers = (0..d.layers).map(|i| {
            let gate = p.scope(&format!("gate_projections.{i}"), |p| Gate {
                weight: p.raw("weight", &[heads.query, heads.dim]),
                bias: p.raw("bias", &[heads.query]),
            });
            p.scope(&format!("layers.{i}"), |p| {
                let rope = Some(rope.clone());
                Layer {
                    attention: Attention::new(p, "self_attn", d.width, heads, biases, rope),
                    mlp: GatedMlp::new(p, "mlp", d.width, d.hidden, mlp_bias),
                    input_norm: RmsNorm::new(p, "input_layernorm", d.width, eps),
                    post_norm: RmsNorm::new(p, "post_attention_layernorm", d.width, eps),
                    gate,
                }
            })
        });
        let layers: Vec<Layer> = layers.collect();
        (embed, layers, RmsNorm::new(p, "norm", d.width, eps))
    });
    let head = Head::new(p, embed, tied, d.width, d.vocabulary);
    let mut caches = vec![CacheKind::Kv; d.layers];
    caches.resize(2 * d.layers, CacheKind::Rotating { max_size: window, keep: 0 });
    Ok(Built {
        layers: d.layers as u64,
        network: Box::new(Looped { embed, layers, norm, head, window }),
        caches,
        experts: None,
        max_context: d.max_context,
    })
}

/// The share of global attention per head and token.
struct Gate {
    weight: ModuleId,
    bias: ModuleId,
}

impl Gate {
    fn forward(&self, t: &Tape<'_>, q: Var) -> Var {
        let (w, b) = (t.weight(self.weight), t.weight(self.bias));
        let [gate] = t.compiled(|t| {
            let w = t.expand_dims(w, &[1]);
            let w = t.swapaxes(w, -1, -2);
            let logits = t.matmul(q, w);
            let b = t.expand_dims(b, &[-1, -2]);
            let logits = t.add(logits, b);
            [t.sigmoid(logits)]
        });
        gate
    }
}

struct Layer {
    attention: Attention,
    mlp: GatedMlp,
    input_norm: RmsNorm,
    post_norm: RmsNorm,
    gate: Gate,
}

impl Layer {
    fn finish(&self, t: &Tape<'_>, h: Var, y: Var) -> Var {
        let y = Heads::join(t, y);
        let r = self.attention.project(t, y);
        let h = t.add(h, r);
        let r = self.post_norm.forward(t, h);
        let r = self.mlp.apply(t, r);
        t.add(h, r)
    }

    /// The first round; returns the hidden state and the keys and values attended to.
    fn first(
        &self,
        t: &Tape<'_>,
        h: Var,
        mask: Mask,
        cache: &mut Cache,
    ) -> (Var, (KvArray, KvArray)) {
        let x = self.input_norm.forward(t, h);
        let [q, k, v] = self.attention.prepared(t, x, cache.offset());
        let kv = cache.update(t, k, v);
        let y = self.attention.attend(t, q, kv, mask);
        (self.finish(t, h, y), kv)
    }

    /// The second round, over the keys and values of the first as well.
    fn second(
        &self,
        t: &Tape<'_>,
        h: Var,
        masks: [Mask; 2],
        first: (KvArray, KvArray),
        cache: &mut Cache,
    ) -> Var {
        let x = self.input_norm.forward(t, h);
        let [q, k, v] = self.attention.prepared(t, x, cache.offset());
        let gate = self.gate.forward(t, q);
        let (all_k, all_v) = (first.0.dense(t), first.1.dense(t));
        let all = (KvArray::Dense(all_k), KvArray::Dense(all_v));
        let global = self.attention.attend(t, q, all, masks[0]);
        let near = cache.update(t, k, v);
        let local = self.attention.attend(t, q, near, masks[1]);
        let [mixed] = t.compiled(|t| {
            let global = t.mul(gate, global);
            let one = t.scalar(1.0, t.dtype(gate));
            let rest = t.binary(Binary::Subtract, one, gate);
            let local = t.mul(rest, local);
            [t.add(global, local)]
        });
        self.finish(t, h, mixed)
    }
}

struct Looped {
    embed: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Head,
    window: u32,
}

impl Network for Looped {
    fn forward(&self, t: &Tape<'_>, tokens: Var, caches: &mut [Cache]) -> Var {
        let mut h = self.embed.forward(t, tokens);
        let n = t.dim(tokens, 1);
        let Some((first, second)) = caches.split_at_mut_checked(self.layers.len()) else {
            return t.fail("fewer caches than layers");
        };
        let mask = first.first().map_or(Mask::None, |c| c.mask(t, n, None, false));
        let window = Some(self.window);
        let near = second.first().map_or(Mask::None, |c| c.mask(t, n, window, false));
        let mut stored = Vec::with_capacity(self.layers.len());
        for (i, (layer, cache)) in self.layers.iter().zip(first).enumerate() {
            t.layer(i);
            let (out, kv) = layer.first(t, h, mask, cache);
            h = out;
            stored.push(kv);
        }
        for (i, ((layer, cache), kv)) in self.layers.iter().zip(second).zip(stored).enumerate() {
            t.layer(i);
            h = layer.second(t, h, [mask, near], kv, cache);
        }
        t.set_stage(Stage::Head);
        let h = self.norm.forward(t, h);
        self.head.forward(t, h)
    }
}
