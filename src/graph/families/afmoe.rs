//! Trinity (AFMoE): gated attention that rotates in window layers only, norms around both halves of a layer, sigmoid
//! routing with shared experts.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    c.require(&["layer_types"])?;
    let types = c.opt_strings("layer_types")?.unwrap_or_default();
    if !types.iter().any(|t| t == "full_attention") || types.len() > 4096 {
        return Err(c.invalid("layer_types", "at most 4096 kinds, among them 'full_attention'"));
    }
    let o = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", false)?),
        eps: c.number_or("rms_norm_eps", 1e-5)?,
        max_context: Some(c.dim_or("max_position_embeddings", 131_072)?),
        ..Outline::new(
            c.dim_or("hidden_size", 2048)?,
            types.len() as u64,
            c.dim_or("vocab_size", 200_192)?,
        )
    };
    let heads = Heads::read_or(c, [32, 4, 64])?;
    let rope = RopeModule::read_as(c, heads.dim, 10_000.0, false, o.max_context)?;
    let window = c.dim_or("sliding_window", 2048)? as u32;
    let hidden = c.dim_or("intermediate_size", 6144)?;
    let dense = c.dim_or("num_dense_layers", 2)?;
    let moe = Moe::read(c)?;
    let mut decoder = o.decoder(p, |p, i| {
        let local = types.get(i as usize).is_some_and(|t| t == "sliding_attention");
        let rope = local.then(|| rope.clone());
        let attention = Attention::new(p, "self_attn", o.width, heads, Biases::default(), rope);
        let gate = Linear::new(p, "self_attn.gate_proj", o.width, heads.query * heads.dim, false);
        let attention = attention
            .with_usual_norms(p, NormPlace::Heads, o.eps)
            .with_gate(OutputGate::Features(gate));
        let mlp: Box<dyn FeedForward> = if i < dense {
            Box::new(GatedMlp::new(p, "mlp", o.width, hidden, false))
        } else {
            Box::new(moe.layer(p, o.width))
        };
        let mut norm = |name| RmsNorm::new(p, name, o.width, o.eps);
        let block = Sandwich::new(
            attention,
            Norms::around(norm("input_layernorm"), norm("post_attention_layernorm")),
            mlp,
            Norms::around(norm("pre_mlp_layernorm"), norm("post_mlp_layernorm")),
        );
        Ok((if local { MaskRule::Window(window) } else { MaskRule::Full }, block))
    })?;
    if c.bool_or("mup_enabled", true)? {
        let root = (o.width as f64).sqrt();
        decoder = decoder.with_embedding(move |h| h * root);
    }
    let decoder = decoder.with_packing(QuantOverride::EightBit, &["router.gate"]);
    Ok(decoder.with_experts(moe.experts).built())
}

/// Settings of the routed layers.
struct Moe {
    experts: Experts,
    hidden: u64,
    shared: Option<u64>,
    routing: ScoreRouting,
}

impl Moe {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let experts = experts_or(c, ("num_experts", 128), ("num_experts_per_tok", 8))?;
        let hidden = c.dim_or("moe_intermediate_size", 1024)?;
        let shared = c.dim_or("num_shared_experts", 1)?;
        let divide = experts.chosen > 1 && c.bool_or("route_norm", true)?;
        let mut routing = ScoreRouting::new(experts.chosen)
            .divided(Divisor::sum(divide))
            .scaled(c.number_or("route_scale", 2.826)?);
        if c.opt_str("score_func")?.unwrap_or("sigmoid") != "sigmoid" {
            routing = routing.softmax();
        }
        let groups = c.dim_or("n_group", 1)?;
        if groups > 1 {
            routing = routing.grouped(groups, c.dim_or("topk_group", 1)?, 0.0);
        }
        Ok(Self { experts, hidden, shared: (shared > 0).then(|| shared * hidden), routing })
    }

    fn layer(&self, p: &mut ParamBuilder, width: u64) -> RoutedMlp {
        let n = self.experts.total;
        p.scope("mlp", |p| {
            let gate = Gate::Linear(Linear::new(p, "router.gate", width, n, false));
            let bias = p.raw_f32("expert_bias", &[n]);
            let experts = SwitchGlu::new(p, "experts", width, self.hidden, n, false);
            let shared = self.shared.map(|h| GatedMlp::new(p, "shared_experts", width, h, false));
            RoutedMlp::new(ScoreRouter::new(gate, Some(bias), self.routing), experts)
                .with_shared(shared)
        })
    }
}
