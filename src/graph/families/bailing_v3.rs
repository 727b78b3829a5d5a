//! Ling 3 (`BailingMoeV3ForCausalLM`): Kimi Delta Attention with whole projections, every few layers latent attention
//! with a gate per head; grouped sigmoid routing with the router in float32.

use super::bailing_moe::{LayerGroups, WORD_EMBEDDINGS};
use crate::graph::parts::gated_delta::{bounded_decay, delta_rule, normalize_keys};
use crate::graph::parts::kimi_delta::{KimiDeltaDims, short_conv, zeros};
use crate::graph::parts::prelude::*;
use serde_json::Value;

/// The name by which a configuration of type `bailing_hybrid` says that it is this model.
pub(super) const ARCHITECTURE: &str = "BailingMoeV3ForCausalLM";

/// mlx-lm's default values.
fn defaults() -> [(&'static str, Value); 17] {
    [
        ("hidden_size", 1536.into()),
        ("intermediate_size", 4608.into()),
        ("moe_intermediate_size", 512.into()),
        ("moe_shared_expert_intermediate_size", 512.into()),
        ("num_attention_heads", 16.into()),
        ("num_experts", 128.into()),
        ("num_experts_per_tok", 8.into()),
        ("num_shared_experts", 1.into()),
        ("first_k_dense_replace", 1.into()),
        ("n_group", 8.into()),
        ("topk_group", 4.into()),
        ("layer_group_size", 4.into()),
        ("q_lora_rank", 256.into()),
        ("kv_lora_rank", 512.into()),
        ("qk_nope_head_dim", 128.into()),
        ("qk_rope_head_dim", 64.into()),
        ("v_head_dim", 128.into()),
    ]
}

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with_defaults(&defaults());
    for key in ["no_kda_lora", "kda_safe_gate", "rope_interleave"] {
        if !c.bool_or(key, true)? {
            return Err(c.invalid(key, "true, as mlx-lm requires"));
        }
    }
    let o = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", false)?),
        eps: c.number_or("rms_norm_eps", 1e-6)?,
        max_context: Some(c.dim_or("max_position_embeddings", 131_072)?),
        names: WORD_EMBEDDINGS,
        ..Outline::new(
            c.positive("hidden_size")?,
            layer_count_or(c, 24)?,
            c.dim_or("vocab_size", 157_184)?,
        )
    };
    let groups = LayerGroups::read(c, o.layers)?;
    let delta = KimiDeltaDims {
        width: o.width,
        heads: c.positive("num_attention_heads")?,
        dim: c.dim_or("head_dim", 128)?,
        kernel: KimiDeltaDims::kernel(c, Some(4))?,
    };
    let bound = c.number_or("kda_lower_bound", -5.0)?;
    let dims = MlaDims::required(c, o.width)?;
    let scaling = RopeScaling::read(c, "rope_scaling")?;
    let theta = c.number_or("rope_theta", 6e6)?;
    let latent = LatentSettings {
        bias: false,
        eps: o.eps,
        rope: Some(RopeModule::new(dims.rope, theta, true, scaling.as_ref(), o.max_context)?),
        scale: dims.scale(scaling.as_ref())?,
        gated: false,
    };
    let moe = MoeSettings::read(c)?;
    let first = c.dim("first_k_dense_replace")?;
    let hidden = c.positive("intermediate_size")?;
    let decoder = o.decoder(p, |p, i| {
        let global = groups.is_global(i);
        let mixer: Box<dyn Mixer> = if global {
            let attention = LatentAttention::named(p, ["attention", "dense"], dims, latent.clone());
            let gate = Linear::new(p, "attention.g_proj", o.width, dims.heads, false);
            Box::new(attention.with_gate(OutputGate::WideHeads(gate)))
        } else {
            Box::new(WholeDelta::new(p, delta, o.eps, bound))
        };
        let mlp: Box<dyn FeedForward> = if i >= first {
            Box::new(moe.layer(p, o.width))
        } else {
            Box::new(GatedMlp::up_first(p, "mlp", o.width, hidden, false))
        };
        let rule = if global { MaskRule::FullArray } else { MaskRule::Recurrent(4) };
        Ok((rule, Sandwich::pre_norm(p, o.width, o.eps, mixer, mlp)))
    })?;
    let decoder = decoder.with_quant_override(move |path| quant_override(path, &groups));
    Ok(decoder.with_experts(moe.experts).built())
}

/// Embedding, head, the small matrices of latent attention and all of its gates stay as they are.
fn quant_override(path: &str, groups: &LayerGroups) -> QuantOverride {
    let whole = ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "embed_q", "unembed_out", "b_proj"];
    let Some((start, name)) = path.rsplit_once("attention.") else {
        return match path {
            "model.word_embeddings" | "lm_head" => QuantOverride::Keep,
            _ => QuantOverride::Default,
        };
    };
    let layer = start.split('.').nth(2).and_then(|n| n.parse().ok()).unwrap_or(0);
    let latent = matches!(name, "q_proj" | "g_proj") && groups.is_global(layer);
    if latent || whole.contains(&name) { QuantOverride::Keep } else { QuantOverride::Default }
}

/// Kimi Delta Attention whose decay and output gate are whole projections.
struct WholeDelta {
    parts: [(Linear, Conv1d); 3],
    f: Linear,
    beta: Linear,
    gate: Linear,
    a_log: ModuleId,
    dt_bias: ModuleId,
    norm: RmsNorm,
    out: Linear,
    dims: KimiDeltaDims,
    /// Lower bound of the logarithm of the decay.
    bound: f64,
}

impl WholeDelta {
    fn new(p: &mut ParamBuilder, s: KimiDeltaDims, eps: f64, bound: f64) -> Self {
        let n = s.heads * s.dim;
        p.scope("attention", |p| Self {
            parts: ["q", "k", "v"].map(|name| {
                let conv = Conv1d::depthwise(p, &format!("{name}_conv1d"), n, s.kernel, false);
                (Linear::new(p, &format!("{name}_proj"), s.width, n, false), conv)
            }),
            f: Linear::new(p, "f_proj", s.width, n, false),
            beta: Linear::new(p, "b_proj", s.width, s.heads, false),
            gate: Linear::new(p, "g_proj", s.width, n, false),
            a_log: p.raw("A_log", &[s.heads]),
            dt_bias: p.raw("dt_bias", &[n]),
            norm: RmsNorm::new(p, "o_norm", s.dim, eps),
            out: Linear::new(p, "o_proj", n, s.width, false),
            dims: s,
            bound,
        })
    }
}

impl Mixer for WholeDelta {
    fn mix<'t>(&self, x: Var<'t>, _: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let d = &self.dims;
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let heads = [b, n, d.heads as i64, d.dim as i64];
        let keep = d.kernel as u32 - 1;
        let [q, k, v] = [0, 1, 2].map(|i| {
            let (linear, conv) = &self.parts[i];
            let x = linear.forward(x);
            let past = cache.state(t, i).unwrap_or_else(|| zeros(x, keep));
            short_conv(conv, x, past, keep, (cache, i)).reshape(&heads)
        });
        let (q, k) = normalize_keys(q, k);
        let step = self.f.forward(x).reshape(&heads);
        let beta = self.beta.forward(x).astype(DType::F32).sigmoid();
        let a_log = t.weight(self.a_log).reshape(&[heads[2], 1]);
        let dt_bias = t.weight(self.dt_bias).reshape(&heads[2..]);
        let g = bounded_decay(a_log, step, dt_bias, self.bound);
        let y = delta_rule([q, k, v, g, beta], cache, 3);
        let gate = self.gate.forward(x).reshape(&heads);
        let y = self.norm.forward(y);
        let gate = gate.astype(DType::F32).sigmoid().astype(y.dtype());
        self.out.forward((y * gate).reshape(&[b, n, -1]))
    }
}

/// Settings of the routed layers.
struct MoeSettings {
    experts: Experts,
    hidden: u64,
    shared: u64,
    routing: ScoreRouting,
}

impl MoeSettings {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let experts = experts(c, "num_experts", "num_experts_per_tok")?;
        let shared = c.positive("moe_shared_expert_intermediate_size")?;
        let routing = ScoreRouting::new(experts.chosen)
            .grouped(c.positive("n_group")?, c.positive("topk_group")?, f64::NEG_INFINITY)
            .divided(Divisor::SumPlus(1e-20))
            .scaled(c.number_or("routed_scaling_factor", 2.5)?);
        Ok(Self {
            experts,
            hidden: c.positive("moe_intermediate_size")?,
            shared: shared * c.positive("num_shared_experts")?,
            routing,
        })
    }

    /// Routed experts with a bare router matrix, and shared ones.
    fn layer(&self, p: &mut ParamBuilder, width: u64) -> RoutedMlp {
        let n = self.experts.total;
        p.scope("mlp", |p| {
            let gate = Gate::Wide(p.raw("gate.weight", &[n, width]));
            let bias = p.raw("gate.expert_bias", &[n]);
            let mlp = SwitchGlu::new(p, "switch_mlp", width, self.hidden, n, false);
            let shared = GatedMlp::up_first(p, "shared_experts", width, self.shared, false);
            RoutedMlp::new(ScoreRouter::new(gate, Some(bias), self.routing), mlp)
                .with_shared(Some(shared))
        })
    }
}
