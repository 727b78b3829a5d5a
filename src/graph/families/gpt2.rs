//! GPT-2: layer norms, one matrix for queries, keys and values, learned positions, an ungated MLP.

use crate::graph::parts::prelude::*;

/// Sizes under the keys of the GPT-2 generation.
pub(super) struct Sizes {
    pub(super) width: u64,
    pub(super) heads: u64,
    vocabulary: u64,
    eps: f64,
    pub(super) max_context: u64,
}

impl Sizes {
    pub(super) fn read(c: &Config) -> Result<Self, ConfigError> {
        Ok(Self {
            width: c.positive("n_embd")?,
            heads: c.positive("n_head")?,
            vocabulary: c.positive("vocab_size")?,
            eps: c.number_or("layer_norm_epsilon", 1e-5)?,
            max_context: c.positive("n_positions")?,
        })
    }

    pub(super) fn norm(&self, p: &mut ParamBuilder, name: &str) -> LayerNorm {
        LayerNorm::new(p, name, self.width, self.eps, true)
    }

    /// What stands around the layers, which are counted by `n_layer`.
    pub(super) fn outline(
        &self,
        c: &Config,
        names: Names,
        head: HeadKind,
    ) -> Result<Outline, ConfigError> {
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

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
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
    decoder.start = Box::new(move |call| {
        let first = call.embedded.tape().scalar(f64::from(call.offset()), DType::I32);
        let first = first.expand_dims(&[0]);
        let positions = call.embedded.tape().arange(0, call.tokens.dim(1)) + first;
        (call.embedded + table.forward(positions), ())
    });
    Ok(decoder.built())
}
