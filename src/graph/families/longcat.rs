//! LongCat Flash: two latent attentions and two MLPs per layer, with routed experts on a shortcut beside them; some
//! "experts" pass their input through. The n-gram variant adds hashed embeddings of the last tokens.

use crate::graph::parts::ngram::NgramEmbedding;
use crate::graph::parts::prelude::*;
use crate::versions::MLX_LM;

/// `longcat_flash`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    c.require(&["attention_method", "zero_expert_type"])?;
    Ok(decoder(c, p, "embed_tokens")?.built())
}

/// `longcat_flash_ngram`.
pub(super) fn build_ngram(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let mut decoder = decoder(c, p, "ngram_embeddings.word_embeddings")?;
    let (vocabulary, width) = (c.positive("vocab_size")?, c.positive("hidden_size")?);
    let words = decoder.embed;
    let embed = p.scope("model", |p| NgramEmbedding::new(c, p, words, vocabulary, width))?;
    decoder.embed = Box::new(embed);
    Ok(decoder.built())
}

/// The decoder with the word embedding `embed`.
fn decoder(c: &Config, p: &mut ParamBuilder, embed: &'static str) -> Result<Decoder, ConfigError> {
    let o = Outline {
        eps: c.number_or("rms_norm_eps", 1e-5)?,
        max_context: c.opt_dim("max_position_embeddings")?,
        names: Names { embed, ..Names::LLAMA },
        ..Outline::new(
            c.positive("hidden_size")?,
            layer_count_at(c, "num_layers")?,
            c.positive("vocab_size")?,
        )
    };
    let s = Settings::read(c, o.width)?;
    let pair = CacheKind::List(vec![CacheKind::Kv; 2]);
    let decoder = o.decoder(p, |p, _| {
        Ok(Place::new(MaskRule::FullArray, LongcatLayer::new(p, &o, &s)).caching(pair.clone()))
    })?;
    let decoder = decoder.with_packing(QuantOverride::EightBit, &["classifier"]);
    Ok(decoder.with_experts(s.experts))
}

/// What all layers share.
struct Settings {
    dims: MlaDims,
    latent: LatentSettings,
    factors: (f64, f64),
    hidden: u64,
    expert_hidden: u64,
    experts: Experts,
    zero_experts: u64,
    router_bias: bool,
    divisor: Divisor,
    routed_scale: f64,
}

impl Settings {
    fn read(c: &Config, width: u64) -> Result<Self, ConfigError> {
        if c.opt_str("zero_expert_type")?.unwrap_or("identity") != "identity" {
            return Err(c.invalid("zero_expert_type", "'identity', the only one mlx-lm has"));
        }
        for key in ["mla_scale_q_lora", "mla_scale_kv_lora"] {
            if !c.bool(key)? {
                return Err(c.invalid(key, format!("true; mlx-lm {MLX_LM} fails without it")));
            }
        }
        let q_rank = Some(c.positive("q_lora_rank")?);
        let dims = MlaDims { q_rank, ..MlaDims::required(c, width)? };
        let scaling = RopeScaling::read(c, "rope_scaling")?;
        let theta = c.number_or("rope_theta", 10_000.0)?;
        let max = c.opt_dim("max_position_embeddings")?;
        let root = |rank: u64| (width as f64 / rank as f64).sqrt();
        let zero_experts = c.dim("zero_expert_num")?;
        let routed = c.positive("n_routed_experts")?;
        let all = c.clone().with("n_routed_experts", routed.saturating_add(zero_experts));
        let chosen = experts(&all, "n_routed_experts", "moe_topk")?.chosen;
        Ok(Self {
            latent: LatentSettings {
                bias: c.bool_or("attention_bias", false)?,
                eps: 1e-5,
                rope: Some(RopeModule::new(dims.rope, theta, true, scaling.as_ref(), max)?),
                scale: dims.scale(scaling.as_ref())?,
                gated: false,
            },
            factors: (root(dims.q_rank.unwrap_or(1)), root(dims.kv_rank)),
            dims,
            hidden: c.positive("ffn_hidden_size")?,
            expert_hidden: c.positive("expert_ffn_hidden_size")?,
            experts: Experts { total: routed, chosen },
            zero_experts,
            router_bias: c.bool_or("router_bias", false)?,
            divisor: Divisor::sum_plus(c.bool_or("norm_topk_prob", false)?, 1e-20),
            routed_scale: c.number_or("routed_scaling_factor", 1.0)?,
        })
    }
}

struct LongcatHalf {
    input_norm: RmsNorm,
    attention: LatentAttention,
    post_norm: RmsNorm,
    mlp: GatedMlp,
}

struct LongcatLayer {
    halves: [LongcatHalf; 2],
    moe: ShortcutMoe,
}

impl LongcatLayer {
    fn new(p: &mut ParamBuilder, o: &Outline, s: &Settings) -> Self {
        let halves = [0, 1].map(|i| {
            let names = [&*format!("self_attn.{i}"), "o_proj"];
            let attention = LatentAttention::named(p, names, s.dims, s.latent.clone());
            LongcatHalf {
                input_norm: RmsNorm::new(p, &format!("input_layernorm.{i}"), o.width, o.eps),
                attention: attention.with_factors(s.factors.0, s.factors.1),
                post_norm: RmsNorm::new(
                    p,
                    &format!("post_attention_layernorm.{i}"),
                    o.width,
                    o.eps,
                ),
                mlp: GatedMlp::up_first(p, &format!("mlps.{i}"), o.width, s.hidden, false),
            }
        });
        Self { halves, moe: ShortcutMoe::new(p, o.width, s) }
    }
}

impl Block for LongcatLayer {
    fn forward<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let mut h = x;
        let mut shortcut = None;
        for (i, half) in self.halves.iter().enumerate() {
            h = h + half.attention.mix(half.input_norm.forward(h), mask, cache.part(i));
            let r = half.post_norm.forward(h);
            if i == 0 {
                shortcut = Some(self.moe.apply(r));
            }
            h = h + half.mlp.apply(r);
        }
        match shortcut {
            None => h,
            Some(shortcut) => h + shortcut,
        }
    }
}

/// Routed experts, some of which are the identity.
struct ShortcutMoe {
    classifier: Linear,
    bias: ModuleId,
    experts: SwitchGlu,
    routed: u64,
    chosen: u64,
    divisor: Divisor,
    scale: f64,
}

impl ShortcutMoe {
    fn new(p: &mut ParamBuilder, width: u64, s: &Settings) -> Self {
        let routed = s.experts.total;
        let all = routed.saturating_add(s.zero_experts);
        p.scope("mlp", |p| Self {
            classifier: Linear::new(p, "router.classifier", width, all, s.router_bias),
            bias: p.raw_f32("router.e_score_correction_bias", &[all]),
            experts: SwitchGlu::new(p, "switch_mlp", width, s.expert_hidden, routed, false),
            routed,
            chosen: s.experts.chosen,
            divisor: s.divisor,
            scale: s.routed_scale,
        })
    }
}

impl FeedForward for ShortcutMoe {
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        let scores = self.classifier.forward(x).softmax(false);
        let indices = best(scores + x.tape().weight(self.bias), self.chosen, Order::Ascending);
        let weights = self.divisor.apply(scores.take_along_axis(indices, -1));
        let weights = (weights * self.scale).astype(x.dtype());

        let identity = indices.greater_equal(self.routed as i64);
        let indices = identity.select(0i64, indices);
        let routed = identity.select(0.0, weights);
        let y = self.experts.forward(x, indices, activations::swiglu);
        let y = (y * routed.expand_dims(&[-1])).sum(-2, false);
        let passed = x * identity.select(weights, 0.0).sum(-1, true);
        y + passed
    }
}
