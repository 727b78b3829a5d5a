//! Ling and Ring (Bailing MoE): fused attention, softmax or sigmoid routing in one compiled function, shared experts.

use crate::graph::parts::prelude::*;

/// The modules around the layers of the Bailing models.
pub(super) const WORD_EMBEDDINGS: Names = Names { embed: "word_embeddings", ..Names::LLAMA };

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline {
        names: WORD_EMBEDDINGS,
        ..Outline::read(c, c.bool_or("tie_word_embeddings", false)?)?
    };
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: c.positive("num_key_value_heads")?, dim: o.width / query };
    let rotated = match c.opt_dim("rotary_dim")? {
        Some(n) => n,
        None => (heads.dim as f64 * c.number_or("partial_rotary_factor", 1.0)?) as u64,
    };
    let attention = BailingAttentionSettings::read(c, heads, rotated, false)?;
    let hidden = c.positive("intermediate_size")?;
    let moe = MoeSettings::read(c, Order::Ascending, 1e-20)?;
    let decoder = o.decoder(p, |p, i| {
        let attention = attention.declare(p, o.width, o.eps);
        let mlp: Box<dyn FeedForward> = match &moe {
            Some(moe) if i >= moe.first => Box::new(moe.layer(p, o.width, true)),
            _ => Box::new(GatedMlp::new(p, "mlp", o.width, hidden, attention_bias(c)?)),
        };
        Ok((MaskRule::Full, Sandwich::pre_norm(p, o.width, o.eps, attention, mlp)))
    })?;
    let decoder = decoder.with_packing(QuantOverride::EightBit, ROUTERS);
    Ok(decoder.with_experts(moe.map(|m| m.experts)).built())
}

/// `use_bias`, which holds for output projections and MLPs.
pub(super) fn attention_bias(c: &Config) -> Result<bool, ConfigError> {
    c.bool_or("use_bias", false)
}

/// The router, which is packed at 8 bits.
pub(super) const ROUTERS: &[&str] = &["mlp.gate.gate_proj"];

/// Settings of the full attention layers.
#[derive(Debug)]
pub(super) struct BailingAttentionSettings {
    heads: Heads,
    biases: Biases,
    norms: bool,
    pub(super) rope: RopeModule,
}

impl BailingAttentionSettings {
    pub(super) fn read(
        c: &Config,
        heads: Heads,
        rotated: u64,
        traditional: bool,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            heads,
            biases: Biases { qkv: c.bool_or("use_qkv_bias", false)?, output: attention_bias(c)? },
            norms: c.bool_or("use_qk_norm", false)?,
            rope: RopeModule::new(
                rotated,
                c.number_or("rope_theta", 10_000.0)?,
                traditional,
                RopeScaling::read(c, "rope_scaling")?.as_ref(),
                c.opt_dim("max_position_embeddings")?,
            )?,
        })
    }

    /// Declares a layer `attention`.
    pub(super) fn declare(&self, p: &mut ParamBuilder, width: u64, eps: f64) -> Attention {
        let Self { heads, biases, .. } = *self;
        p.scope("attention", |p| {
            let qkv = Projections::fused(p, "query_key_value", width, heads, biases.qkv);
            let out = Linear::new(p, "dense", heads.query * heads.dim, width, biases.output);
            let attention = Attention::of(qkv, out, heads, Some(self.rope.clone()));
            if !self.norms {
                return attention;
            }
            let key = RmsNorm::new(p, "key_layernorm", heads.dim, eps);
            let query = RmsNorm::new(p, "query_layernorm", heads.dim, eps);
            attention.with_norms(query, key, NormPlace::Heads)
        })
    }
}

/// Settings of the routed layers.
#[derive(Debug)]
pub(super) struct MoeSettings {
    pub(super) experts: Experts,
    /// First routed layer.
    pub(super) first: u64,
    /// Hidden features of an expert.
    pub(super) hidden: u64,
    /// Hidden features of the shared experts together.
    pub(super) shared: Option<u64>,
    /// Whether the experts have biases.
    pub(super) bias: bool,
    /// Whether there is a correction bias.
    pub(super) expert_bias: bool,
    /// The router.
    pub(super) routing: ScoreRouting,
}

impl MoeSettings {
    /// Reads the keys of Bailing MoE; `None` without routed experts.
    pub(super) fn read(
        c: &Config,
        order: Order,
        epsilon: f64,
    ) -> Result<Option<Self>, ConfigError> {
        c.require(&["num_experts"])?;
        if c.opt_dim("num_experts")?.is_none() {
            return Ok(None);
        }
        let experts = experts(c, "num_experts", "num_experts_per_tok")?;
        let hidden = c.positive("moe_intermediate_size")?;
        let shared_hidden = match c.opt_dim("moe_shared_expert_intermediate_size")? {
            Some(n) if n > 0 => n,
            _ => hidden,
        };
        let shared = c.dim("num_shared_experts")?;
        let with_shared = shared > 0 && c.bool_or("moe_router_enable_shared_expert", true)?;
        let divide = experts.chosen > 1 && c.bool("norm_topk_prob")?;
        let divisor =
            if epsilon > 0.0 { Divisor::sum_plus(divide, epsilon) } else { Divisor::sum(divide) };
        let mut routing = ScoreRouting::new(experts.chosen)
            .divided(divisor)
            .scaled(c.number_or("routed_scaling_factor", 1.0)?);
        routing.order = order;
        if c.opt_str("score_function")?.unwrap_or("softmax") != "sigmoid" {
            routing = routing.softmax();
        }
        let groups = c.dim_or("n_group", 1)?;
        if groups > 1 {
            routing = routing.grouped(groups, c.dim_or("topk_group", 4)?, 0.0);
        }
        Ok(Some(Self {
            experts,
            first: c.dim("first_k_dense_replace")?,
            hidden,
            shared: with_shared.then(|| shared * shared_hidden),
            bias: attention_bias(c)?,
            expert_bias: c.bool_or("moe_router_enable_expert_bias", false)?,
            routing,
        }))
    }

    /// Declares a routed layer `mlp`.
    pub(super) fn layer(&self, p: &mut ParamBuilder, width: u64, compiled: bool) -> RoutedMlp {
        let n = self.experts.total;
        p.scope("mlp", |p| {
            let experts = SwitchGlu::new(p, "switch_mlp", width, self.hidden, n, self.bias);
            let gate = Gate::Linear(Linear::new(p, "gate.gate_proj", width, n, false));
            let bias = self.expert_bias.then(|| p.raw_f32("gate.expert_bias", &[n]));
            let router = ScoreRouter::new(gate, bias, self.routing).with_narrow_scores();
            let shared = self.shared;
            let shared = shared.map(|n| GatedMlp::new(p, "shared_experts", width, n, self.bias));
            if compiled {
                RoutedMlp::new(router.compiled(), experts).combined(Combine::Compiled)
            } else {
                RoutedMlp::new(router, experts).combined(Combine::Wide)
            }
            .with_shared(shared)
        })
    }
}

/// Which layers are full ones: the last of every group, and those behind the last whole group.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerGroups {
    pub(super) size: u64,
    layers: u64,
}

impl LayerGroups {
    /// Reads `layer_group_size`.
    pub(super) fn read(c: &Config, layers: u64) -> Result<Self, ConfigError> {
        Ok(Self { size: c.positive("layer_group_size")?, layers })
    }

    /// Whether layer `i` is a full one.
    pub(super) fn is_global(&self, i: u64) -> bool {
        (i + 1) % self.size == 0 || i >= self.layers / self.size * self.size
    }
}
