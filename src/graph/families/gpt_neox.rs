//! GPT-NeoX (Pythia): partly rotated heads, attention and MLP side by side.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let width = c.positive("hidden_size")?;
    let query = c.positive("num_attention_heads")?;
    if width % query != 0 {
        return Err(c.invalid("num_attention_heads", "a divisor of hidden_size"));
    }
    kv_heads(c, query)?;
    let dim = width / query;
    let eps = c.number_or("layer_norm_eps", 1e-5)?;
    let vocabulary = c.positive("vocab_size")?;
    let part = c.opt_number("rotary_pct")?.ok_or_else(|| c.invalid("rotary_pct", "a number"))?;
    let base = c.number_or("rotary_emb_base", 10_000.0)?;
    let rope = RopeModule::plain((dim as f64 * part) as u64, false, base);
    let parallel = c.bool_or("use_parallel_residual", true)?;
    let names = Names { model: "model", embed: "embed_in", layers: "h", norm: "final_layer_norm" };
    let o = Outline {
        head: HeadKind::Tied,
        eps,
        max_context: c.opt_dim("max_position_embeddings")?,
        names,
        norm: NormKind::LAYER,
        ..Outline::new(width, layer_count(c)?, vocabulary)
    };
    let norm = |p: &mut ParamBuilder, name: &str| LayerNorm::new(p, name, width, eps, true);
    let mut decoder = o.layered(p, &o.full(), |p, _| {
        let attention = p.scope("attention", |p| NeoxAttention {
            qkv: Linear::new(p, "query_key_value", width, 3 * width, true),
            dense: Linear::new(p, "dense", width, width, true),
            rope: rope.clone(),
            heads: query,
            dim,
        });
        let mlp = p.scope("mlp", |p| {
            let names = ["dense_h_to_4h", "dense_4h_to_h"];
            PlainMlp::new(p, names, width, 4 * width, true, activations::gelu_approx)
        });
        let (first, second) = (norm(p, "input_layernorm"), norm(p, "post_attention_layernorm"));
        let block: Box<dyn Block> = if parallel {
            Box::new(Parallel::new(first, attention, mlp).with_mlp_norm(second))
        } else {
            Box::new(Sandwich::with_norms(first, attention, second, mlp))
        };
        block
    });
    decoder.head =
        p.scope("model", |p| Head::Own(Linear::new(p, "embed_out", width, vocabulary, false)));
    Ok(decoder.built())
}

/// Attention whose matrix holds queries, keys and values head by head.
struct NeoxAttention {
    qkv: Linear,
    dense: Linear,
    rope: RopeModule,
    heads: u64,
    dim: u64,
}

impl Mixer for NeoxAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let all = self.qkv.forward(x).reshape(&[b, n, self.heads as i64, 3 * self.dim as i64]);
        let parts: [Var<'_>; 3] = all.split_equal(-1);
        let [q, k, v] = parts.map(|part| part.transpose(&[0, 2, 1, 3]));
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(q, offset), self.rope.forward(k, offset));
        let y = attend_cached([q, k, v], (self.dim as f64).powf(-0.5), mask, cache);
        self.dense.forward(y)
    }
}
