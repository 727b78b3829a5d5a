//! The GPT line: GPT-2, GPT-BigCode (StarCoder, SantaCoder), GPT-NeoX (Pythia), GPT-J. Layer norms, one matrix for
//! queries, keys and values (not GPT-J), an ungated MLP.

use crate::graph::parts::prelude::*;

/// Sizes under the keys of the GPT-2 generation.
struct Sizes {
    width: u64,
    heads: u64,
    vocabulary: u64,
    eps: f64,
    max_context: u64,
}

impl Sizes {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            width: c.positive("n_embd")?,
            heads: c.positive("n_head")?,
            vocabulary: c.positive("vocab_size")?,
            eps: c.number_or("layer_norm_epsilon", 1e-5)?,
            max_context: c.positive("n_positions")?,
        })
    }

    fn norm(&self, p: &mut ParamBuilder, name: &str) -> LayerNorm {
        LayerNorm::new(p, name, self.width, self.eps, true)
    }

    /// What stands around the layers, which are counted by `n_layer`.
    fn outline(&self, c: &Config, names: Names, head: HeadKind) -> Result<Outline, ConfigError> {
        Ok(Outline {
            head,
            eps: self.eps,
            max_context: Some(self.max_context),
            names,
            norm: NormKind::LAYER,
            ..Outline::new(self.width, layer_count_at(c, "n_layer")?, self.vocabulary)
        })
    }
}

/// `gpt2`.
pub(super) fn build_2(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let s = Sizes::read(c)?;
    if s.width % s.heads != 0 {
        return Err(c.invalid("n_head", "a divisor of n_embd"));
    }
    let heads = Heads { query: s.heads, kv: s.heads, dim: s.width / s.heads };
    let names = Names { model: "model", ..Names::GPT };
    let o = s.outline(c, names, HeadKind::Tied)?;
    let norm = |p: &mut ParamBuilder, name: &str| s.norm(p, name);
    let mut decoder = o.layered(p, &o.full(), |p, _| {
        let attention = p.scope("attn", |p| {
            let qkv = Projections::fused(p, "c_attn", s.width, heads, true);
            Attention::of(qkv, Linear::new(p, "c_proj", s.width, s.width, true), heads, None)
        });
        let mlp = p.scope("mlp", |p| {
            let names = ["c_fc", "c_proj"];
            PlainMlp::new(p, names, s.width, 4 * s.width, true, activations::gelu_approx)
        });
        Sandwich::with_norms(norm(p, "ln_1"), attention, norm(p, "ln_2"), mlp)
    });
    let table = p.scope("model", |p| Embedding::new(p, "wpe", s.max_context, s.width));
    decoder.start = Box::new(move |t, call| {
        let first = t.scalar(f64::from(call.offset()), DType::I32);
        let first = t.expand_dims(first, &[0]);
        let positions = t.add(t.arange(0, t.dim(call.tokens, 1)), first);
        (t.add(call.embedded, table.forward(t, positions)), ())
    });
    Ok(decoder.built())
}

/// `gpt_bigcode`.
pub(super) fn build_bigcode(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let s = Sizes::read(c)?;
    let kv = if c.bool_or("multi_query", true)? { 1 } else { s.heads };
    let heads = Heads { query: s.heads, kv, dim: s.width / s.heads };
    if heads.query * heads.dim != s.width {
        return Err(c.invalid("n_head", "a divisor of n_embd"));
    }
    let hidden = c.positive("n_inner")?;
    let bias = c.bool_or("attention_bias", true)?;
    let mlp_bias = c.bool_or("mlp_bias", true)?;
    let head = HeadKind::tied(c.bool_or("tie_word_embeddings", true)?);
    let o = s.outline(c, Names::GPT, head)?;
    let norm = |p: &mut ParamBuilder, name: &str| s.norm(p, name);
    let mut decoder = o.layered(p, &o.full(), |p, _| {
        let attention = p.scope("attn", |p| {
            let qkv = Projections::fused(p, "c_attn", s.width, heads, bias);
            Attention::of(qkv, Linear::new(p, "c_proj", s.width, s.width, bias), heads, None)
        });
        let mlp = p.scope("mlp", |p| {
            let names = ["c_fc", "c_proj"];
            PlainMlp::new(p, names, s.width, hidden, mlp_bias, activations::gelu)
        });
        Sandwich::with_norms(norm(p, "ln_1"), attention, norm(p, "ln_2"), mlp)
    });
    let table = p.scope("transformer", |p| Embedding::new(p, "wpe", s.max_context, s.width));
    decoder.start = Box::new(move |t, call| {
        let first = i64::from(call.offset());
        let positions = (first..first + i64::from(t.dim(call.tokens, 1))).collect();
        let rows = table.forward(t, t.integers(positions, DType::I64));
        (t.add(call.embedded, rows), ())
    });
    Ok(decoder.built())
}

/// `gpt_neox`.
pub(super) fn build_neox(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
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
    fn mix(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let (b, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 1)));
        let all = self.qkv.forward(t, x);
        let all = t.reshape(all, &[b, n, self.heads as i64, 3 * self.dim as i64]);
        let parts: [Var; 3] = t.split_equal(all, -1);
        let [q, k, v] = parts.map(|part| t.transpose(part, &[0, 2, 1, 3]));
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(t, q, offset), self.rope.forward(t, k, offset));
        let y = attend_cached(t, [q, k, v], (self.dim as f64).powf(-0.5), mask, cache);
        self.dense.forward(t, y)
    }
}

const GPTJ: [(&str, u64); 5] = [
    ("n_embd", 4096),
    ("vocab_size", 50_400),
    ("n_positions", 2048),
    ("n_head", 16),
    ("n_layer", 28),
];

/// `gptj`.
pub(super) fn build_j(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with_sizes(&GPTJ);
    let s = Sizes::read(c)?;
    let heads = Heads { query: s.heads, kv: s.heads, dim: s.width / s.heads };
    if heads.query * heads.dim != s.width {
        return Err(c.invalid("n_head", "a divisor of n_embd"));
    }
    let rotated = match c.opt_dim("rotary_dim")? {
        Some(n) if n > 0 => n,
        None if !c.has("rotary_dim") => 64,
        _ => heads.dim,
    };
    let names = Names { model: "model", ..Names::GPT };
    let o = s.outline(c, names, HeadKind::OwnWithBias)?;
    let norm = |p: &mut ParamBuilder, name: &str| s.norm(p, name);
    let decoder = o.layered(p, &o.full(), |p, _| {
        let attention = p.scope("attn", |p| {
            let names = ["q_proj", "k_proj", "v_proj"];
            SlicedRopeAttention {
                qkv: Projections::separate(p, names, s.width, heads, false),
                out: Linear::new(p, "out_proj", s.width, s.width, false),
                rope: RopeModule::plain(rotated, true, 10_000.0),
                rotated: u32::try_from(rotated).unwrap_or(0),
                heads,
            }
        });
        let mlp = p.scope("mlp", |p| {
            let names = ["fc_in", "fc_out"];
            PlainMlp::new(p, names, s.width, 4 * s.width, true, activations::gelu_approx)
        });
        Parallel::new(norm(p, "ln_1"), attention, mlp)
    });
    Ok(decoder.built())
}

/// Attention that cuts off the rotated features and joins them again.
struct SlicedRopeAttention {
    qkv: Projections,
    out: Linear,
    rope: RopeModule,
    rotated: u32,
    heads: Heads,
}

impl SlicedRopeAttention {
    fn rotate(&self, t: &Tape<'_>, x: Var, offset: u32) -> Var {
        let (front, rest) = (t.slice(x, 3, 0, self.rotated), t.slice(x, 3, self.rotated, u32::MAX));
        let front = self.rope.forward(t, front, offset);
        t.concat(&[front, rest], -1)
    }
}

impl Mixer for SlicedRopeAttention {
    fn mix(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let qkv = self.qkv.forward(t, x, self.heads);
        let [q, k, v] = qkv.map(|part| Heads::split(t, part, self.heads.query));
        let offset = cache.offset();
        let (q, k) = (self.rotate(t, q, offset), self.rotate(t, k, offset));
        let y = attend_cached(t, [q, k, v], (self.heads.dim as f64).powf(-0.5), mask, cache);
        self.out.forward(t, y)
    }
}
