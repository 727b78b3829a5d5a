//! Gemma 1 and 2: norms with `1 + weight`, GELU, a tied head, the embedding scaled by the root of the hidden size.
//! Gemma 2 also has norms behind attention and MLP, and limits the attention scores and the logits with `tanh`.

use super::GgufTraits;
use super::gemma3::gelu_gate;
use crate::graph::parts::prelude::*;

struct Settings {
    dims: Dims,
    heads: Heads,
    eps: f64,
    rope: RopeModule,
}

impl Settings {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let dims = Dims::read(c)?;
        let heads = Heads { dim: c.positive("head_dim")?, ..dims.heads(c)? };
        let theta = c.number_or("rope_theta", 10_000.0)?;
        let rope = RopeModule::plain(heads.dim, c.bool_or("rope_traditional", false)?, theta);
        Ok(Self { dims, heads, eps: c.number_or("rms_norm_eps", 1e-5)?, rope })
    }

    fn norm(&self, p: &mut ParamBuilder, name: &str) -> GemmaNorm {
        GemmaNorm::new(p, name, self.dims.width, self.eps)
    }

    fn mlp(&self, p: &mut ParamBuilder) -> GatedMlp {
        GatedMlp::new(p, "mlp", self.dims.width, self.dims.hidden, false)
    }

    fn outline(&self) -> Outline {
        Outline { norm: NormKind::Gemma, ..self.dims.outline(HeadKind::Tied, self.eps) }
    }

    fn embedding_scale(&self) -> f64 {
        (self.dims.width as f64).sqrt()
    }
}

/// `gemma`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let s = Settings::read(c)?;
    let d = s.dims;
    let decoder = s.outline().layered(p, &d.full(), |p, _| {
        let (biases, rope) = (Biases::default(), Some(s.rope.clone()));
        Sandwich::with_norms(
            s.norm(p, "input_layernorm"),
            Attention::new(p, "self_attn", d.width, s.heads, biases, rope),
            s.norm(p, "post_attention_layernorm"),
            s.mlp(p).with_activation(activations::gelu_gate),
        )
    });
    Ok(decoder.with_embedding_scale(s.embedding_scale()).built())
}

/// What llama.cpp makes of `gemma2`: `hparams.n_swa` in `src/models/gemma2.cpp`, which mlx-lm does without.
pub(super) const GGUF_2: GgufTraits = GgufTraits::plain_with_windows(4096);

/// `gemma2`.
pub(super) fn build_2(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let s = Settings::read(c)?;
    let d = s.dims;
    let scale = 1.0 / c.number_or("query_pre_attn_scalar", 144.0)?.sqrt();
    let cap = c.number_or("attn_logit_softcapping", 50.0)?;
    let logit_cap = c.number_or("final_logit_softcapping", 30.0)?;
    let rules = vec![MaskRule::FullArray; d.layers];
    let mut decoder = s.outline().layered(p, &rules, |p, _| {
        let attention = p.scope("self_attn", |p| CappedAttention {
            qkv: Projections::separate(p, ["q_proj", "k_proj", "v_proj"], d.width, s.heads, false),
            o: Linear::new(p, "o_proj", s.heads.query * s.heads.dim, d.width, false),
            heads: s.heads,
            rope: s.rope.clone(),
            scale,
            cap,
        });
        let attention_norms =
            Norms::around(s.norm(p, "input_layernorm"), s.norm(p, "post_attention_layernorm"));
        let mlp_norms = Norms::around(
            s.norm(p, "pre_feedforward_layernorm"),
            s.norm(p, "post_feedforward_layernorm"),
        );
        let mlp = s.mlp(p).with_activation(gelu_gate);
        Sandwich::new(attention, attention_norms, mlp, mlp_norms)
    });
    decoder.on_logits = Some(Box::new(move |logits| soft_cap(logits, logit_cap)));
    Ok(decoder.with_embedding_scale(s.embedding_scale()).built())
}

/// `cap * tanh(x / cap)` in three kernels.
pub(super) fn soft_cap(x: Var<'_>, cap: f64) -> Var<'_> {
    (x / cap).tanh() * cap
}

/// Attention in elementary steps, with scores limited by `tanh`.
struct CappedAttention {
    qkv: Projections,
    o: Linear,
    heads: Heads,
    rope: RopeModule,
    scale: f64,
    cap: f64,
}

impl Mixer for CappedAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let Heads { query, kv, dim } = self.heads;
        let [q, k, v] = self.qkv.forward(x, self.heads);
        let (q, k, v) = (Heads::split(q, query), Heads::split(k, kv), Heads::split(v, kv));
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(q, offset), self.rope.forward(k, offset));
        let (k, v) = cache.update(k, v);
        let (mut k, mut v) = (k.dense(t), v.dense(t));
        let mut q = q * self.scale;
        let repeats = query / kv;
        if repeats > 1 {
            q = q.reshape(&[b, kv as i64, repeats as i64, n, dim as i64]);
            k = k.expand_dims(&[2]);
            v = v.expand_dims(&[2]);
        }
        let mut scores = soft_cap(q.matmul(k.swapaxes(-1, -2)), self.cap);
        if let Mask::Array(m) = mask {
            scores = if m.dtype() == DType::Bool {
                m.select(scores, t.scalar(scores.dtype().lowest(), scores.dtype()))
            } else {
                scores + m
            };
        }
        let mut y = scores.softmax(true).matmul(v);
        if repeats > 1 {
            y = y.reshape(&[b, query as i64, n, dim as i64]);
        }
        self.o.forward(Heads::join(y))
    }
}
