//! DeepSeek-V4: sliding-window attention with pooled older tokens, hyper-connections, hash-routed first layers.
//!
//! mlx-lm 0.32.2 does not implement this type. The tensors are those of the published checkpoints: they add up to
//! the published parameter counts of V4-Flash and V4-Pro exactly. Caches and operations follow pull request 1192 of
//! ml-explore/mlx-lm (commit 5c105381, not released).

use crate::graph::parts::deepseek_v4_attention::DeepseekV4Attention;
use crate::graph::parts::deepseek_v4_settings::DeepseekV4AttentionSettings;
use crate::graph::parts::hyper::{HyperConnection, HyperHead, HyperSettings, expand_fused};
use crate::graph::parts::prelude::*;
use crate::versions::mlx_lm;

/// Why the runtime the plan is made for cannot run these models.
pub(super) const NOT_IN_MLX_LM: &str = concat!(
    "mlx-lm ",
    mlx_lm!(),
    " cannot load deepseek_v4; tensor shapes are exact, caches and operations follow pull request 1192 of \
     ml-explore/mlx-lm (commit 5c105381), which is not released"
);

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with_defaults(&[
        ("num_hidden_layers", 43.into()),
        ("n_routed_experts", 256.into()),
        ("num_experts_per_tok", 6.into()),
    ]);
    let count = layer_count(c)?;
    let width = c.dim_or("hidden_size", 4096)?;
    let eps = c.number_or("rms_norm_eps", 1e-6)?;
    let vocabulary = c.dim_or("vocab_size", 129_280)?;
    let attention = DeepseekV4AttentionSettings::read(c, width, eps, count)?;
    let hyper = HyperSettings::read(c, width, eps)?;
    if hyper.streams != 4 {
        return Err(c.invalid("hc_mult", "4, the only number of streams its kernel is written for"));
    }
    let routing = Routing::read(c, width, vocabulary)?;
    let o = Outline {
        eps,
        max_context: Some(c.dim_or("max_position_embeddings", 1_048_576)?),
        ..Outline::new(width, count, vocabulary)
    };
    let window = MaskRule::WindowArray(attention.window());
    let mut decoder = o.sharing(
        p,
        |p, i| {
            let layer = HyperLayer {
                attention: DeepseekV4Attention::new(p, &attention, i),
                mlp: Moe::new(p, &routing, i),
                input_norm: RmsNorm::new(p, "attn_norm", width, eps),
                post_norm: RmsNorm::new(p, "ffn_norm", width, eps),
                attention_mix: HyperConnection::new(p, "attn_hc", hyper),
                mlp_mix: HyperConnection::new(p, "ffn_hc", hyper),
            };
            Ok(Place::new(window, layer).caching(attention.cache(i)))
        },
        |call| {
            let h = call.embedded.expand_dims(&[2]);
            let streams = h.broadcast_to(h.shape().with(2, 4));
            (streams.contiguous(), call.tokens)
        },
    )?;
    let stream_head = p.scope("model", |p| HyperHead::new(p, "hc_head", hyper));
    decoder.end = Some(Box::new(move |streams, _| stream_head.forward(streams)));
    Ok(decoder.with_experts(routing.experts).built())
}

/// A layer between hyper-connections; layers share the tokens, by which the first ones choose their experts.
struct HyperLayer {
    attention: DeepseekV4Attention,
    mlp: Moe,
    input_norm: RmsNorm,
    post_norm: RmsNorm,
    attention_mix: HyperConnection,
    mlp_mix: HyperConnection,
}

impl Layer<Var<'static>> for HyperLayer {
    fn run<'t>(&self, streams: Var<'t>, at: At<'_, 't, Var<'static>>) -> Var<'t> {
        let (x, post, between) = self.attention_mix.collapse_fused(streams);
        let x = self.attention.forward(self.input_norm.forward(x), at.mask, at.cache);
        let streams = expand_fused(x, streams, (post, between));
        let (x, post, between) = self.mlp_mix.collapse_fused(streams);
        let x = self.mlp.forward(self.post_norm.forward(x), *at.shared);
        expand_fused(x, streams, (post, between))
    }
}

/// Settings of the routed experts.
struct Routing {
    experts: Experts,
    width: u64,
    hidden: u64,
    shared: u64,
    vocabulary: u64,
    hash_layers: u64,
    choice: Choice,
    limit: f64,
}

/// How the weights of the experts are found.
#[derive(Clone, Copy, Debug)]
struct Choice {
    chosen: u64,
    scores: Score,
    normalize: bool,
    scale: f64,
}

impl Routing {
    fn read(c: &Config, width: u64, vocabulary: u64) -> Result<Self, ConfigError> {
        let experts = experts(c, "n_routed_experts", "num_experts_per_tok")?;
        let hidden = c.dim_or("moe_intermediate_size", 2048)?;
        let scores = match c.opt_str("scoring_func")?.unwrap_or("sqrtsoftplus") {
            "softmax" => Score::Softmax,
            "sigmoid" => Score::Sigmoid,
            "sqrtsoftplus" => Score::SqrtSoftplus,
            _ => return Err(c.invalid("scoring_func", "'softmax', 'sigmoid' or 'sqrtsoftplus'")),
        };
        Ok(Self {
            experts,
            width,
            hidden,
            shared: hidden * c.dim_or("n_shared_experts", 1)?,
            vocabulary,
            hash_layers: c.dim_or("num_hash_layers", 3)?,
            choice: Choice {
                chosen: experts.chosen,
                scores,
                normalize: scores != Score::Softmax && c.bool_or("norm_topk_prob", true)?,
                scale: c.number_or("routed_scaling_factor", 1.5)?,
            },
            limit: c.number_or("swiglu_limit", 10.0)?,
        })
    }
}

/// What chooses the experts of a token.
enum Gate {
    /// The highest scores, with this correction bias.
    Scores(ModuleId),
    /// A table by token id.
    Table(ModuleId),
}

struct Moe {
    weight: ModuleId,
    gate: Gate,
    experts: SwitchGlu,
    shared: GatedMlp,
    choice: Choice,
    limit: f64,
}

impl Moe {
    fn new(p: &mut ParamBuilder, r: &Routing, layer: u64) -> Self {
        let total = r.experts.total;
        p.scope("ffn", |p| Self {
            weight: p.raw("gate.weight", &[total, r.width]),
            gate: if layer < r.hash_layers {
                Gate::Table(p.raw_i32("gate.tid2eid", &[r.vocabulary, r.experts.chosen]))
            } else {
                Gate::Scores(p.raw_f32("gate.e_score_correction_bias", &[total]))
            },
            experts: SwitchGlu::new(p, "switch_mlp", r.width, r.hidden, total, false),
            shared: GatedMlp::new(p, "shared_experts", r.width, r.shared, false),
            choice: r.choice,
            limit: r.limit,
        })
    }

    /// Chosen experts and their weights: one compiled function.
    fn route<'t>(&self, x: Var<'t>, tokens: Var<'t>) -> (Var<'t>, Var<'t>) {
        let t = x.tape();
        let logits = x.matmul(t.weight(self.weight).transpose(&[1, 0]));
        let table = match self.gate {
            Gate::Scores(id) | Gate::Table(id) => t.weight(id),
        };
        let k = self.choice.chosen;
        let [chosen, weights] = tokens.compiled(|tokens| {
            let logits = logits.astype(DType::F32);
            let scores = match self.choice.scores {
                Score::Softmax => logits.softmax(true),
                Score::Sigmoid => logits.sigmoid(),
                Score::SqrtSoftplus => activations::softplus(logits).sqrt(),
            };
            let chosen = match self.gate {
                Gate::Table(_) => table.take(tokens),
                Gate::Scores(_) => best(scores + table, k, Order::Descending),
            };
            let divisor = Divisor::sum_plus(self.choice.normalize, 1e-20);
            let weights = divisor.apply(scores.take_along_axis(chosen, -1));
            [chosen, weights * self.choice.scale]
        });
        (chosen, weights)
    }

    fn forward<'t>(&self, x: Var<'t>, tokens: Var<'t>) -> Var<'t> {
        let (chosen, weights) = self.route(x, tokens);
        let limit = self.limit;
        let y = self
            .experts
            .forward(x, chosen, |gate, up| activations::limited_swiglu(gate, up, limit));
        (y * weights.expand_dims(&[-1]).astype(y.dtype())).sum(-2, false) + self.shared.apply(x)
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::Graph;
    use crate::model::{Config, DType};

    const FLASH: &str = r#"{"model_type": "deepseek_v4", "hidden_size": 4096, "num_hidden_layers": 43,
        "num_attention_heads": 64, "head_dim": 512, "q_lora_rank": 1024, "qk_rope_head_dim": 64, "o_groups": 8,
        "o_lora_rank": 1024, "moe_intermediate_size": 2048, "n_routed_experts": 256, "num_experts_per_tok": 6,
        "n_shared_experts": 1, "num_hash_layers": 3, "index_n_heads": 64, "index_head_dim": 128,
        "vocab_size": 129280, "hc_mult": 4}"#;

    /// The checkpoint of DeepSeek-V4-Flash has 290 944 616 402 parameters: the model itself, one multi-token-prediction
    /// layer, the two matrices and three norms that lead into it, and a stream head of its own.
    #[test]
    fn tensors_add_up_to_the_published_count() {
        let ratios = (0..43).map(|i: u32| match i {
            0 | 1 => 0,
            i if i % 2 == 0 => 4,
            _ => 128,
        });
        let ratios: Vec<u32> = ratios.collect();
        let parameters = |layers: u32, ratios: &[u32]| -> u64 {
            let config = Config::parse(FLASH).expect("valid JSON");
            let config = config.with("num_hidden_layers", layers).with("compress_ratios", ratios);
            let graph = Graph::new(&config, DType::BF16).expect("a valid model");
            graph.params().modules().iter().map(|m| m.parameters()).sum()
        };
        let model = parameters(43, &ratios);
        assert_eq!(model, 284_334_567_511);
        let mut longer = ratios.clone();
        longer.push(0);
        let layer = parameters(44, &longer) - model;
        let (width, streams) = (4096, 4);
        let stream_head = streams * streams * width + streams + 1;
        let way_in = 2 * width * width + 3 * width;
        assert_eq!(model + layer + way_in + stream_head, 290_944_616_402);
    }
}
