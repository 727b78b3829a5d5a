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

    /// The factors `[n, 1]` of the tokens from `offset` on, in float32.
    pub(super) fn factors(&self, t: &Tape<'_>, n: u32, offset: u32) -> Var {
        let positions = t.arange(0, n);
        let positions = t.add(positions, i64::from(offset));
        let turns = if self.original.fract() == 0.0 {
            t.binary(Binary::Divide, positions, self.original as i64)
        } else {
            t.div(positions, self.original)
        };
        let turns = t.unary(Unary::Floor, turns);
        let turns = t.add(turns, 1.0);
        let growth = t.unary(Unary::Log, turns);
        let growth = t.mul(growth, self.beta);
        let scale = t.add(growth, 1.0);
        t.expand_dims(scale, &[1])
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

    let (embed, layers, norm) = p.scope("model", |p| {
        let embed = Embedding::new(p, "embed_tokens", d.vocabulary, d.width);
        let layers = rules.iter().enumerate().map(|(i, rule)| {
            p.scope(&format!("layers.{i}"), |p| {
                let (biases, rope) = (Biases::default(), Some(rope.clone()));
                let layer = Layer {
                    attention: Attention::new(p, "self_attn", d.width, heads, biases, rope),
                    mlp: GatedMlp::new(p, "mlp", d.width, d.hidden, false),
                    input_norm: RmsNorm::new(p, "input_layernorm", d.width, eps),
                    post_norm: RmsNorm::new(p, "post_attention_layernorm", d.width, eps),
                };
                (*rule, layer)
            })
        });
        let layers: Vec<_> = layers.collect();
        (embed, layers, RmsNorm::new(p, "norm", d.width, eps))
    });
    let head = Head::new(p, embed, tied, d.width, d.vocabulary);
    Ok(Built {
        layers: rules.len() as u64,
        network: Box::new(Ministral { embed, layers, norm, head, query_scale }),
        caches: rules.iter().filter_map(|rule| rule.cache()).collect(),
        experts: None,
        max_context: d.max_context,
    })
}

struct Layer {
    attention: Attention,
    mlp: GatedMlp,
    input_norm: RmsNorm,
    post_norm: RmsNorm,
}

impl Layer {
    fn forward(&self, t: &Tape<'_>, x: Var, scale: Var, mask: Mask, cache: &mut Cache) -> Var {
        let r = self.input_norm.norm(t, x);
        let r = self.attention.heads(t, r, mask, cache, Some(scale));
        let r = self.attention.project(t, r);
        let h = t.add(x, r);
        let r = self.post_norm.norm(t, h);
        let r = self.mlp.apply(t, r);
        t.add(h, r)
    }
}

struct Ministral {
    embed: Embedding,
    layers: Vec<(MaskRule, Layer)>,
    norm: RmsNorm,
    head: Head,
    query_scale: QueryScale,
}

impl Network for Ministral {
    fn forward(&self, t: &Tape<'_>, tokens: Var, caches: &mut [Cache]) -> Var {
        let mut h = self.embed.forward(t, tokens);
        let n = t.dim(tokens, 1);
        let rules: Vec<MaskRule> = self.layers.iter().map(|l| l.0).collect();
        let masks = MaskRule::build_all(t, n, &rules, &*caches);
        let offset = caches.first().map_or(0, |c| c.offset());
        let scale = self.query_scale.factors(t, n, offset);
        let scale = t.astype(scale, t.dtype(h));
        let layers = self.layers.iter().zip(masks).zip(caches);
        for (i, (((_, layer), mask), cache)) in layers.enumerate() {
            if t.skips(i) {
                continue;
            }
            t.layer(i);
            h = layer.forward(t, h, scale, mask, cache);
        }
        t.set_stage(Stage::Head);
        let h = self.norm.forward(t, h);
        self.head.forward(t, h)
    }

    fn layers(&self) -> Option<Vec<LayerUse>> {
        let layer = |(i, (rule, _)): (usize, &(MaskRule, _))| LayerUse {
            cache: Some(i),
            mask: rule.number(),
        };
        Some(self.layers.iter().enumerate().map(layer).collect())
    }
}
