//! Laguna: window and full layers with their own heads and rotations, a softplus gate per head, sigmoid routing with a
//! shared expert.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let o = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", false)?),
        eps: c.number_or("rms_norm_eps", 1e-6)?,
        max_context: Some(c.dim_or("max_position_embeddings", 262_144)?),
        ..Outline::read_or(c, [2048, 40, 100_352])?
    };
    let kinds = per_layer(c, "layer_types", o.layers)?;
    if kinds.as_ref().is_some_and(|k| !k.iter().any(|k| k == "full_attention")) {
        return Err(c.invalid("layer_types", "at least one 'full_attention'"));
    }
    let mlps = per_layer(c, "mlp_layer_types", o.layers)?;
    let counts = c.opt_dims("num_attention_heads_per_layer")?;
    let query = c.dim_or("num_attention_heads", 48)?;
    let window = if c.has("sliding_window") { c.opt_dim("sliding_window")? } else { Some(512) };
    let hidden = c.dim_or("intermediate_size", 8192)?;
    let moe = MoeSettings::read(c)?;
    let decoder = o.decoder(p, |p, i| {
        let kind = kinds.as_ref().map_or("full_attention", |k| &k[i as usize]);
        let query = match &counts {
            None => query,
            Some(list) => *list.get(i as usize).ok_or_else(|| {
                c.invalid("num_attention_heads_per_layer", "a number for each layer")
            })?,
        };
        let rule = match (kind, window) {
            ("sliding_attention", Some(w)) => MaskRule::Window(w as u32),
            ("sliding_attention", None) => return Err(c.invalid("sliding_window", "a size")),
            _ => MaskRule::Full,
        };
        let attention = GatedHeads::new(c, p, &o, query, kind)?;
        let sparse = mlps.as_ref().map_or(i > 0, |m| m[i as usize] == "sparse");
        let mlp: Box<dyn FeedForward> = if sparse {
            Box::new(moe.layer(p, o.width))
        } else {
            Box::new(GatedMlp::new(p, "mlp", o.width, hidden, false))
        };
        Ok((rule, Sandwich::pre_norm(p, o.width, o.eps, attention, mlp)))
    })?;
    let decoder = decoder.with_packing(QuantOverride::EightBit, &["mlp.gate.proj"]);
    Ok(decoder.with_experts(moe.experts).built())
}

/// A list of names, one for each layer; `None` when absent.
fn per_layer(c: &Config, key: &str, layers: u64) -> Result<Option<Vec<String>>, ConfigError> {
    let list = c.opt_strings(key)?;
    if list.as_ref().is_some_and(|l| (l.len() as u64) < layers) {
        return Err(c.invalid(key, format!("a kind for each of {layers} layers")));
    }
    Ok(list)
}

/// The rotation of a kind of layer, under `rope_parameters`.
fn rope(c: &Config, kind: &str, dim: u64) -> Result<RopeModule, ConfigError> {
    let scaling = match c.opt_object("rope_parameters")? {
        Some(all) => RopeScaling::read(&all, kind)?,
        None => None,
    };
    let own = |key| match &scaling {
        Some(s) => s.values().opt_number(key),
        None => Ok(None),
    };
    let theta = own("rope_theta")?.unwrap_or(10_000.0);
    let part = match own("partial_rotary_factor")? {
        Some(part) => part,
        None => c.number_or("partial_rotary_factor", 1.0)?,
    };
    let max = Some(c.dim_or("max_position_embeddings", 262_144)?);
    RopeModule::new((dim as f64 * part) as u64, theta, false, scaling.as_ref(), max)
}

/// Attention with a gate per head on its output.
struct GatedHeads {
    attention: Attention,
    gate: Option<Linear>,
    query: u64,
}

impl GatedHeads {
    fn new(
        c: &Config,
        p: &mut ParamBuilder,
        o: &Outline,
        query: u64,
        kind: &str,
    ) -> Result<Self, ConfigError> {
        let dim = c.dim_or("head_dim", 128)?;
        let heads = Heads { query, kv: c.dim_or("num_key_value_heads", 8)?, dim };
        let biases = Biases {
            qkv: c.bool_or("qkv_bias", false)?,
            output: c.bool_or("attention_bias", false)?,
        };
        let rope = Some(rope(c, kind, dim)?);
        let attention = Attention::new(p, "self_attn", o.width, heads, biases, rope)
            .with_usual_norms(p, NormPlace::Rows, o.eps);
        // Published configurations say "per-head", which Python takes for true.
        let gated = match c.opt_str("gating") {
            Ok(Some(kind)) => !kind.is_empty(),
            _ => c.bool_or("gating", true)?,
        };
        let gate = gated.then(|| Linear::new(p, "self_attn.g_proj", o.width, query, false));
        Ok(Self { attention, gate, query })
    }
}

impl Mixer for GatedHeads {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let mut y = self.attention.heads(x, mask, cache, None);
        if let Some(gate) = &self.gate {
            let gate = gate.forward(x).astype(DType::F32).compiled(activations::softplus);
            let gate = gate.astype(y.dtype());
            let (b, n) = (i64::from(y.dim(0)), i64::from(y.dim(1)));
            y = Heads::rows(y, self.query) * gate.expand_dims(&[-1]);
            y = y.reshape(&[b, n, -1]);
        }
        self.attention.project(y)
    }
}

/// Settings of the routed layers.
struct MoeSettings {
    experts: crate::graph::Experts,
    hidden: u64,
    shared: u64,
    scale: f64,
    routing: ScoreRouting,
}

impl MoeSettings {
    fn read(c: &Config) -> Result<Self, ConfigError> {
        let experts = experts_or(c, ("num_experts", 256), ("num_experts_per_tok", 8))?;
        let softcap = c.number_or("moe_router_logit_softcapping", 0.0)?;
        let score = match c.opt_str("moe_router_score_func")?.unwrap_or("sigmoid") {
            "sigmoid" => Score::Sigmoid,
            "sqrtsoftplus" => Score::SqrtSoftplus,
            _ => return Err(c.invalid("moe_router_score_func", "'sigmoid' or 'sqrtsoftplus'")),
        };
        let routing = ScoreRouting::new(experts.chosen).divided(Divisor::Sum);
        Ok(Self {
            experts,
            hidden: c.dim_or("moe_intermediate_size", 512)?,
            shared: c.dim_or("shared_expert_intermediate_size", 512)?,
            scale: c.number_or("moe_routed_scaling_factor", 1.0)?,
            routing: ScoreRouting { score, cap: (softcap > 0.0).then_some(softcap), ..routing },
        })
    }

    fn layer(&self, p: &mut ParamBuilder, width: u64) -> RoutedMlp {
        let n = self.experts.total;
        p.scope("mlp", |p| {
            let gate = Gate::Linear(Linear::new(p, "gate.proj", width, n, false));
            let bias = p.raw_f32("gate.e_score_correction_bias", &[n]);
            let router = ScoreRouter::new(gate, Some(bias), self.routing);
            let mlp = SwitchGlu::new(p, "switch_mlp", width, self.hidden, n, false);
            let shared = GatedMlp::new(p, "shared_expert", width, self.shared, false);
            RoutedMlp::new(router, mlp).scaled(self.scale).with_shared(Some(shared))
        })
    }
}
