//! Step 3.5 Flash: window and full attention with different heads and rotations, a gate per head, sigmoid routing with a
//! shared expert and clamped activations.

use crate::graph::parts::prelude::*;
use serde_json::Value;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline::read(c, false)?;
    let moe = Moe::read(c, o.layers)?;
    let hidden = c.positive("intermediate_size")?;
    let gate = c.bool_or("use_head_wise_attn_gate", true)?;
    let window = c.dim_or("sliding_window", 512)? as u32;
    let types = c.opt_strings("layer_types")?.unwrap_or_default();
    if !types.is_empty() && (types.len() as u64) < o.layers {
        return Err(c.invalid("layer_types", format!("a kind for each of {} layers", o.layers)));
    }
    let decoder = o.decoder(p, |p, i| {
        let kind = types.get(i as usize).map(String::as_str);
        let sliding = kind.map_or(i % 2 == 0, |k| k == "sliding_attention");
        let heads = heads(c, sliding)?;
        let rope = Some(rope(c, i, kind, heads.dim)?);
        let attention = Attention::new(p, "self_attn", o.width, heads, Biases::default(), rope);
        let mut attention = attention.with_usual_norms(p, NormPlace::Rows, o.eps);
        if gate {
            let gate = Linear::new(p, "self_attn.g_proj", o.width, heads.query, false);
            attention = attention.with_gate(OutputGate::Heads(gate));
        }
        let mlp: Box<dyn FeedForward> = if moe.at(i) {
            Box::new(moe.layer(p, o.width, i))
        } else {
            Box::new(clamped_mlp(p, "mlp", o.width, hidden, limit(&moe.shared_limits, i)))
        };
        let rule = if sliding { MaskRule::Window(window) } else { MaskRule::Full };
        Ok((rule, Sandwich::pre_norm(p, o.width, o.eps, attention, mlp)))
    })?;
    let decoder = decoder.with_packing(QuantOverride::EightBit, &["mlp.gate.gate"]);
    Ok(decoder.with_experts(moe.experts).built())
}

/// Heads of a layer; window layers may have their own.
fn heads(c: &Config, sliding: bool) -> Result<Heads, ConfigError> {
    let other = c.opt_object("attention_other_setting")?;
    let from = other.as_ref().filter(|o| sliding && !o.values().is_empty()).unwrap_or(c);
    Ok(Heads {
        query: from.positive("num_attention_heads")?,
        kv: from.positive("num_attention_groups")?,
        dim: c.positive("head_dim")?,
    })
}

/// The rotation of layer `i`.
fn rope(c: &Config, i: u64, kind: Option<&str>, dim: u64) -> Result<RopeModule, ConfigError> {
    let theta = match c.get("rope_theta") {
        Some(Value::Array(list)) => list
            .get(i as usize)
            .and_then(Value::as_f64)
            .ok_or_else(|| c.invalid("rope_theta", "a number, or a number for each layer"))?,
        _ => c.number_or("rope_theta", 10_000.0)?,
    };
    let part = match c.get("partial_rotary_factors").and_then(Value::as_array) {
        Some(list) => list.get(i as usize).and_then(Value::as_f64).unwrap_or(1.0),
        None => 1.0,
    };
    let scaled = c.opt_strings("yarn_only_types")?.unwrap_or_default();
    let kind = kind.unwrap_or("full_attention");
    let plain = !scaled.is_empty() && !scaled.iter().any(|s| s == kind);
    let scaling = if plain { None } else { RopeScaling::read(c, "rope_scaling")? };
    let max = Some(c.dim_or("max_position_embeddings", 262_144)?);
    RopeModule::new((dim as f64 * part) as u64, theta, false, scaling.as_ref(), max)
}

/// An MLP whose activation is clamped when there is a limit.
fn clamped_mlp(
    p: &mut ParamBuilder,
    name: &str,
    width: u64,
    hidden: u64,
    limit: Option<f64>,
) -> GatedMlp {
    let mlp = GatedMlp::up_first(p, name, width, hidden, false);
    match limit {
        None => mlp,
        Some(limit) => {
            mlp.with_activation(move |gate, x| activations::clamped_swiglu(gate, x, limit))
        }
    }
}

/// The limit of layer `i`: entries that are absent, null or not positive mean none.
fn limit(limits: &[Option<f64>], i: u64) -> Option<f64> {
    limits.get(i as usize).copied().flatten().filter(|&l| l > 0.0)
}

fn limits(c: &Config, key: &str) -> Result<Vec<Option<f64>>, ConfigError> {
    match c.get(key) {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => Ok(list.iter().map(Value::as_f64).collect()),
        Some(_) => Err(c.invalid(key, "a list of numbers")),
    }
}

/// Settings of the routed layers.
struct Moe {
    experts: Experts,
    hidden: u64,
    shared: u64,
    routing: ScoreRouting,
    layers: Vec<bool>,
    limits: Vec<Option<f64>>,
    shared_limits: Vec<Option<f64>>,
}

impl Moe {
    fn read(c: &Config, layers: u64) -> Result<Self, ConfigError> {
        let experts = experts_or(c, ("moe_num_experts", 288), ("moe_top_k", 8))?;
        let divide = c.bool_or("norm_expert_weight", true)?;
        Ok(Self {
            experts,
            hidden: c.dim_or("moe_intermediate_size", 1280)?,
            shared: c.dim_or("share_expert_dim", 1280)?,
            routing: ScoreRouting::new(experts.chosen)
                .divided(Divisor::sum_plus(divide, 1e-20))
                .scaled(c.number_or("moe_router_scaling_factor", 3.0)?),
            layers: routed_layers(c, layers)?,
            limits: limits(c, "swiglu_limits")?,
            shared_limits: limits(c, "swiglu_limits_shared")?,
        })
    }

    fn at(&self, i: u64) -> bool {
        self.layers.get(i as usize).copied().unwrap_or(false)
    }

    fn layer(&self, p: &mut ParamBuilder, width: u64, i: u64) -> RoutedMlp {
        let n = self.experts.total;
        p.scope("mlp", |p| {
            let gate = Gate::Linear(Linear::new(p, "gate.gate", width, n, false));
            let bias = p.raw_f32("gate.router_bias", &[n]);
            let experts = SwitchGlu::new(p, "switch_mlp", width, self.hidden, n, false);
            let limits = &self.shared_limits;
            let shared = clamped_mlp(p, "share_expert", width, self.shared, limit(limits, i));
            let router = ScoreRouter::new(gate, Some(bias), self.routing).compiled();
            let moe = RoutedMlp::new(router, experts).with_shared(Some(shared));
            match limit(&self.limits, i) {
                None => moe,
                Some(limit) => {
                    moe.with_activation(move |gate, x| activations::clamped_swiglu(gate, x, limit))
                }
            }
        })
    }
}

/// Which layers are routed: those listed in `moe_layers_enum`, by default all but the first.
fn routed_layers(c: &Config, layers: u64) -> Result<Vec<bool>, ConfigError> {
    let text = c.opt_str("moe_layers_enum")?.unwrap_or("");
    if text.is_empty() {
        return Ok((0..layers).map(|i| i > 0).collect());
    }
    let list: Result<Vec<u64>, _> = text.trim().split(',').map(|n| n.trim().parse()).collect();
    match list {
        Ok(list) => Ok((0..layers).map(|i| list.contains(&i)).collect()),
        Err(_) => Err(c.invalid("moe_layers_enum", "layer numbers separated by commas")),
    }
}
