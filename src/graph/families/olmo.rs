//! OLMo 1 in its original format (`olmo`): layer norms without weights, attention in elementary steps.
//!
//! mlx-lm 0.32.2 adds the mask to the scores, which fails for more than one token at a time, and cannot sample from a
//! model with a tied head.

use crate::graph::parts::prelude::*;

const NORM: LayerNorm = LayerNorm::plain(1e-5);

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let width = c.positive("d_model")?;
    let query = c.positive("n_heads")?;
    let heads = Heads { query, kv: query, dim: width / query };
    if heads.query * heads.dim != width {
        return Err(c.invalid("n_heads", "a divisor of d_model"));
    }
    c.positive("vocab_size")?;
    let vocabulary = c.positive("embedding_size")?;
    if !c.has("mlp_hidden_size") {
        return Err(c.invalid("mlp_hidden_size", "a whole number or null"));
    }
    let rows = c.dim_or("mlp_hidden_size", c.dim_or("mlp_ratio", 4)?.saturating_mul(width))?;
    if rows % 2 != 0 {
        return Err(c.invalid("mlp_hidden_size", "an even number"));
    }
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let rope = RopeModule::plain(heads.dim, c.bool_or("rope_traditional", false)?, theta);
    let tied = c.bool_or("weight_tying", false)?;
    let names = Names { model: "model.transformer", embed: "wte", layers: "blocks", norm: "" };
    let o = Outline {
        head: HeadKind::Tied,
        max_context: c.opt_dim("max_sequence_length")?,
        names,
        norm: NormKind::PlainLayer,
        ..Outline::new(width, layer_count_at(c, "n_layers")?, vocabulary)
    };
    let mut decoder = o.layered(p, &o.full(), |p, _| {
        let attention = StepwiseAttention {
            qkv: Projections::fused(p, "att_proj", width, heads, false),
            out: Linear::new(p, "attn_out", width, width, false),
            rope: rope.clone(),
            heads,
        };
        let mlp = FusedMlp::new(p, ["ff_proj", "ff_out"], width, rows / 2).gate_last();
        Sandwich::with_norms(NORM, attention, NORM, mlp)
    });
    if tied {
        decoder.on_logits = Some(Box::new(|x| {
            x.tape().fail("mlx-lm returns no logits for an OLMo model with 'weight_tying'")
        }));
    } else {
        let scope = "model.transformer";
        let head = p.scope(scope, |p| Linear::new(p, "ff_out", width, vocabulary, false));
        decoder.head = Head::Own(head);
    }
    Ok(decoder.built())
}

/// Attention in elementary steps, with the softmax in float32.
struct StepwiseAttention {
    qkv: Projections,
    out: Linear,
    rope: RopeModule,
    heads: Heads,
}

impl Mixer for StepwiseAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let parts = self.qkv.forward(x, self.heads);
        let [q, k, v] = parts.map(|part| Heads::split(part, self.heads.query));
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(q, offset), self.rope.forward(k, offset));
        let (k, v) = cache.update(k, v);
        let (k, v) = (k.dense(t), v.dense(t));
        let q = q * (self.heads.dim as f64).powf(-0.5);
        let scores = q.matmul(k.transpose(&[0, 1, 3, 2]));
        if mask != Mask::None {
            return t
                .fail("mlx-lm cannot process more than one token at a time with an OLMo model");
        }
        let dtype = scores.dtype();
        let weights = scores.astype(DType::F32).softmax(false).astype(dtype);
        self.out.forward(Heads::join(weights.matmul(v)))
    }
}
