//! Baichuan-M1: one matrix for queries, keys and values; keys and values are mixed with those of the token before;
//! some layers have a sliding window and their own number of heads.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let heads = checked_heads(c, &d, d.heads(c)?, "num_attention_heads")?;
    let own = |key: &str, all: u64| Ok(c.opt_dim(key)?.filter(|n| *n > 0).unwrap_or(all));
    let local = Heads {
        query: own("num_swa_attention_heads", heads.query)?,
        kv: own("num_swa_key_value_heads", heads.kv)?,
        dim: 0,
    };
    let local = Heads { dim: d.width / local.query, ..local };
    let local = checked_heads(c, &d, local, "num_swa_attention_heads")?;
    if c.dim("conv_window")? != 2 {
        return Err(c.invalid("conv_window", "2, the only window mlx-lm has"));
    }
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let window = MaskRule::Window(c.positive("sliding_window")? as u32);
    let listed = c.opt_dims("sliding_window_layers")?;
    let listed = listed.ok_or_else(|| c.invalid("sliding_window_layers", "a list of layers"))?;
    if listed.first().is_some_and(|i| *i >= d.layers as u64) {
        return Err(c.invalid("sliding_window_layers", format!("layers below {}", d.layers)));
    }
    let tied = c.bool_or("tie_word_embeddings", false)?;
    let head = if tied { HeadKind::Tied } else { HeadKind::Own };
    let mut decoder = d.outline(head, eps).decoder(p, |p, i| {
        let rule = if listed.contains(&i) { window } else { MaskRule::Full };
        let heads = if rule == MaskRule::Full { heads } else { local };
        let attention = p.scope("self_attn", |p| MixedAttention {
            qkv: Projections::fused(p, "W_pack", d.width, heads, false),
            o: Linear::new(p, "o_proj", heads.query * heads.dim, d.width, false),
            keys: Convolution(p.raw("conv_k", &[1, 1, heads.kv, 1, 2])),
            values: Convolution(p.raw("conv_v", &[1, 1, heads.kv, 1, 2])),
            rope: RopeModule::plain(heads.dim, false, theta),
            heads,
        });
        let mlp = GatedMlp::up_first(p, "mlp", d.width, d.hidden, false);
        let caches = [Some(CacheKind::Arrays(2)), rule.cache()].into_iter().flatten().collect();
        let block = Sandwich::pre_norm(p, d.width, eps, attention, mlp);
        Ok((rule, CacheKind::List(caches), block))
    })?;
    decoder.mask_cache = 1;
    if tied {
        decoder.on_logits = Some(Box::new(|x| {
            x.tape().fail("mlx-lm has no output head for this model with 'tie_word_embeddings'")
        }));
    }
    Ok(decoder.built())
}

fn checked_heads(c: &Config, d: &Dims, heads: Heads, key: &str) -> Result<Heads, ConfigError> {
    if heads.query * heads.dim == d.width {
        return Ok(heads);
    }
    Err(c.invalid(key, format!("a divisor of hidden_size ({})", d.width)))
}

/// Attention over keys and values that are weighted sums of a token's own and the one before.
struct MixedAttention {
    qkv: Projections,
    o: Linear,
    keys: Convolution,
    values: Convolution,
    rope: RopeModule,
    heads: Heads,
}

impl Mixer for MixedAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let Heads { query, kv, dim } = self.heads;
        let [q, k, v] = self.qkv.forward(x, self.heads);
        let (q, k, v) = (Heads::split(q, query), Heads::split(k, kv), Heads::split(v, kv));
        let states = cache.part(0);
        let (last_k, last_v) = (states.state(x.tape(), 0), states.state(x.tape(), 1));
        let offset = cache.part(1).offset();
        let mixed_k = self.keys.forward(k, last_k);
        let mixed_v = self.values.forward(v, last_v);
        let q = self.rope.forward(q, offset);
        let mixed_k = self.rope.forward(mixed_k, offset);
        let (last_k, last_v) = (k.last(2, 1), v.last(2, 1));
        cache.part(0).set_state(0, last_k);
        cache.part(0).set_state(1, last_v);
        let scale = (dim as f64).powf(-0.5);
        self.o.forward(attend_cached([q, mixed_k, mixed_v], scale, mask, cache.part(1)))
    }
}

/// A convolution over two tokens with one pair of weights per head.
struct Convolution(ModuleId);

impl Convolution {
    fn forward<'t>(&self, x: Var<'t>, last: Option<Var<'t>>) -> Var<'t> {
        let t = x.tape();
        let shape = x.shape();
        let (heads, n) = (i64::from(shape.dim(1)), shape.dim(2));
        let w = t.weight(self.0).reshape(&[1, heads, 2, 1, 1]);
        let (before, own) = (w.at(2, 0), w.at(2, 1));
        let dtype = x.dtype();
        let last = last.unwrap_or_else(|| t.full(shape.with(2, 1), 0.0, dtype));
        let previous = if n > 1 {
            let rest = x.slice(2, 0, n - 1);
            concat([last, rest], 2)
        } else {
            last
        };
        previous * before + x * own
    }
}
