//! Ministral 3: Llama's block, with queries that are scaled up at long positions.

use super::llama::dims_and_rules;
use crate::graph::parts::prelude::*;

/// The growth of attention queries with their position: `1 + beta log(1 + floor(position / original))`.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueryScale {
    beta: f64,
    original: f64,
}

impl QueryScale {
    /// Reads `llama_4_scaling_beta` and `original_max_position_embeddings` of `rope_parameters`.
    pub(super) fn read(parameters: &Config) -> Result<Self, ConfigError> {
        let number = |key: &str| match parameters.opt_number(key)? {
            Some(n) => Ok(n),
            None => Err(parameters.invalid(key, "a number")),
        };
        Ok(Self {
            beta: number("llama_4_scaling_beta")?,
            original: number("original_max_position_embeddings")?,
        })
    }

    /// The factors of the tokens of a call, in the type of the embedding.
    pub(super) fn at<'t>(&self, call: &Opening<'_, 't>) -> Var<'t> {
        self.factors(call.embedded.tape(), call.tokens.dim(1), call.offset())
            .astype(call.embedded.dtype())
    }

    /// The factors `[n, 1]` of the tokens from `offset` on, in float32.
    fn factors<'t>(&self, t: &'t Tape<'t>, n: u32, offset: u32) -> Var<'t> {
        let positions = t.arange(0, n) + i64::from(offset);
        let turns = if self.original.fract() == 0.0 {
            positions / self.original as i64
        } else {
            positions / self.original
        };
        ((turns.floor() + 1.0).log() * self.beta + 1.0).expand_dims(&[1])
    }
}

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let (d, rules) = dims_and_rules(c)?;
    let heads = d.optional_heads(c)?;
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let tied = c.bool_or("tie_word_embeddings", true)?;
    let scaling = RopeScaling::read(c, "rope_parameters")?
        .ok_or_else(|| c.invalid("rope_parameters", "an object"))?;
    let query_scale = QueryScale::read(scaling.values())?;
    let theta = scaling.values().number_or("rope_theta", 10_000.0)?;
    let rope = RopeModule::new(heads.dim, theta, false, Some(&scaling), d.max_context)?;
    let o = d.outline(HeadKind::tied(tied), eps);
    let decoder = (Outline { layers: rules.len() as u64, ..o }).sharing(
        p,
        |p, i| {
            let (biases, rope) = (Biases::default(), Some(rope.clone()));
            let layer = ScaledLayer {
                attention: Attention::new(p, "self_attn", d.width, heads, biases, rope),
                mlp: GatedMlp::new(p, "mlp", d.width, d.hidden, false),
                input_norm: RmsNorm::new(p, "input_layernorm", d.width, eps),
                post_norm: RmsNorm::new(p, "post_attention_layernorm", d.width, eps),
            };
            Ok(Place::new(rules[i as usize], layer))
        },
        move |call| (call.embedded, query_scale.at(&call)),
    )?;
    Ok(decoder.built())
}

/// Llama's layer with factors on the queries.
struct ScaledLayer {
    attention: Attention,
    mlp: GatedMlp,
    input_norm: RmsNorm,
    post_norm: RmsNorm,
}

impl Layer<Var<'static>> for ScaledLayer {
    fn run<'t>(&self, x: Var<'t>, at: At<'_, 't, Var<'static>>) -> Var<'t> {
        let r = self.input_norm.forward(x);
        let r = self.attention.heads(r, at.mask, at.cache, Some(*at.shared));
        let h = x + self.attention.project(r);
        h + self.mlp.apply(self.post_norm.forward(h))
    }
}
