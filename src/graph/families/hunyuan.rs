//! Hunyuan-Large: groups of layers that share keys and values (though each has its own cache), softmax-routed experts
//! with shared ones, a tied head.
//!
//! `hunyuan_v1_moe` (Hunyuan-A13B) is the same build with other defaults, after `modeling_hunyuan_v1_moe.py` of
//! transformers: the tensors of the 80 393 183 232 published parameters. mlx-lm 0.32.2 lacks it. Its scores are divided by
//! their sum, which the operations of mlx-lm's `hunyuan` do not do.

use crate::graph::parts::prelude::*;

/// `hunyuan`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    c.require(&["cla_share_factor", "num_shared_expert", "moe_topk"])?;
    let outline = Outline::read(c, true)?;
    let query = c.positive("num_attention_heads")?;
    let dim = outline.width / query;
    let scaling = c.object("rope_scaling")?;
    if !scaling.has("factor") || !scaling.has("type") {
        return Err(c.invalid("rope_scaling", "an object with the keys 'factor' and 'type'"));
    }
    let Some(alpha) = scaling.opt_number("alpha")? else {
        return Err(c.invalid("rope_scaling", "an object with the key 'alpha'"));
    };
    let share = if c.bool("use_cla")? { c.positive("cla_share_factor")? } else { 1 };
    let norms = c.bool("use_qk_norm")?;
    build_with(c, p, &Settings::read(c, outline, dim, alpha, share, norms)?)
}

/// `hunyuan_v1_moe`.
pub(super) fn build_v1(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let outline = Outline::read(c, c.bool_or("tie_word_embeddings", false)?)?;
    let dim = head_dim(c, outline.width, c.positive("num_attention_heads")?)?;
    let scaling = c.opt_object("rope_scaling")?;
    let alpha = scaling.map(|s| s.opt_number("alpha")).transpose()?.flatten().unwrap_or(1.0);
    let shared = c.bool_or("use_cla", false)?;
    let share = if shared { c.dim_or("cla_share_factor", 2)?.max(1) } else { 1 };
    build_with(c, p, &Settings::read(c, outline, dim, alpha, share, true)?)
}

fn build_with(c: &Config, p: &mut ParamBuilder, s: &Settings) -> Result<Built, ConfigError> {
    let decoder = s.outline.sharing(
        p,
        |p, i| Ok(Place::new(MaskRule::Full, SharingLayer::new(c, p, s, i)?)),
        |call| (call.embedded, (call.embedded, call.embedded)),
    )?;
    Ok(decoder.with_experts(s.experts).built())
}

struct Settings {
    outline: Outline,
    heads: Heads,
    bias: bool,
    norms: bool,
    rope: RopeModule,
    /// Layers that share keys and values; 1 = none do.
    share: u64,
    hidden: u64,
    experts: Option<Experts>,
    mixed: bool,
}

impl Settings {
    fn read(
        c: &Config,
        outline: Outline,
        dim: u64,
        alpha: f64,
        share: u64,
        norms: bool,
    ) -> Result<Self, ConfigError> {
        let query = c.positive("num_attention_heads")?;
        let heads = Heads { query, kv: c.positive("num_key_value_heads")?, dim };
        let experts = match c.positive("num_experts")? {
            1 => None,
            _ => Some(layer_experts(c, 0)?),
        };
        let theta = c.number_or("rope_theta", 10_000.0)?;
        Ok(Self {
            heads,
            bias: c.bool_or("attention_bias", false)?,
            norms,
            rope: alpha_rope(heads.dim, theta, alpha),
            share,
            hidden: c.positive("intermediate_size")?,
            experts,
            mixed: c.bool("use_mixed_mlp_moe")?,
            outline,
        })
    }
}

/// The rotation of the Hunyuan models: the base grows with `alpha`.
fn alpha_rope(dim: u64, theta: f64, alpha: f64) -> RopeModule {
    let base = theta * alpha.powf(dim as f64 / (dim as f64 - 2.0));
    let dims = u32::try_from(dim).unwrap_or(0);
    RopeModule::with_table(dim, FrequencyTable::Plain { dims, base, negative: false })
}

/// A key that holds one number for all layers or a list with one for each.
fn per_layer(c: &Config, key: &str, i: u64) -> Result<u64, ConfigError> {
    if !c.get(key).is_some_and(serde_json::Value::is_array) {
        return c.dim(key);
    }
    let list = c.opt_dims(key)?.unwrap_or_default();
    let value = list.get(i as usize).copied();
    value.ok_or_else(|| c.invalid(key, "a number, or a number for each layer"))
}

fn layer_experts(c: &Config, i: u64) -> Result<Experts, ConfigError> {
    let chosen = per_layer(c, "moe_topk", i)?;
    experts(&c.clone().with("moe_topk", chosen), "num_experts", "moe_topk")
}

/// A layer with key and value projections of its own, or the keys and values of the nearest one before that has any.
struct SharingLayer {
    input_norm: RmsNorm,
    q: Linear,
    /// Key and value projections, in the first layer of a group.
    kv: Option<(Linear, Linear)>,
    o: Linear,
    norms: Option<(RmsNorm, RmsNorm)>,
    heads: Heads,
    rope: RopeModule,
    post_norm: RmsNorm,
    mlp: Box<dyn FeedForward>,
}

impl SharingLayer {
    fn new(c: &Config, p: &mut ParamBuilder, s: &Settings, i: u64) -> Result<Self, ConfigError> {
        let (o, h) = (&s.outline, s.heads);
        let (wide, kv) = (h.query * h.dim, h.kv * h.dim);
        let mlp: Box<dyn FeedForward> = match s.experts {
            None => Box::new(GatedMlp::new(p, "mlp", o.width, s.hidden, false)),
            Some(_) => Box::new(routed(c, p, s, i)?),
        };
        Ok(Self {
            input_norm: RmsNorm::new(p, "input_layernorm", o.width, o.eps),
            q: Linear::new(p, "self_attn.q_proj", o.width, wide, s.bias),
            kv: (i % s.share == 0).then(|| {
                let k = Linear::new(p, "self_attn.k_proj", o.width, kv, s.bias);
                (k, Linear::new(p, "self_attn.v_proj", o.width, kv, s.bias))
            }),
            o: Linear::new(p, "self_attn.o_proj", wide, o.width, s.bias),
            norms: s.norms.then(|| {
                let query = RmsNorm::new(p, "self_attn.query_layernorm", h.dim, o.eps);
                (query, RmsNorm::new(p, "self_attn.key_layernorm", h.dim, o.eps))
            }),
            heads: h,
            rope: s.rope.clone(),
            post_norm: RmsNorm::new(p, "post_attention_layernorm", o.width, o.eps),
            mlp,
        })
    }

    fn attention<'t>(
        &self,
        x: Var<'t>,
        mask: Mask<'t>,
        cache: &mut Cache,
        shared: &mut (Var<'t>, Var<'t>),
    ) -> Var<'t> {
        let q = self.q.forward(x);
        if let Some((k, v)) = &self.kv {
            *shared = (k.forward(x), v.forward(x));
        }
        let q = Heads::split(q, self.heads.query);
        let k = Heads::split(shared.0, self.heads.kv);
        let v = Heads::split(shared.1, self.heads.kv);
        let offset = cache.offset();
        let (mut q, mut k) = (self.rope.forward(q, offset), self.rope.forward(k, offset));
        if let Some((query, key)) = &self.norms {
            (q, k) = (query.forward(q), key.forward(k));
        }
        let y = attend(q, cache.update(k, v), (self.heads.dim as f64).powf(-0.5), mask, None);
        self.o.forward(Heads::join(y))
    }
}

impl Layer<(Var<'static>, Var<'static>)> for SharingLayer {
    fn run<'t>(&self, x: Var<'t>, at: At<'_, 't, (Var<'static>, Var<'static>)>) -> Var<'t> {
        let r = self.input_norm.forward(x);
        let h = x + self.attention(r, at.mask, at.cache, at.shared);
        h + self.mlp.apply(self.post_norm.forward(h))
    }
}

/// Softmax-routed experts, summed in float32, and shared ones.
fn routed(
    c: &Config,
    p: &mut ParamBuilder,
    s: &Settings,
    i: u64,
) -> Result<RoutedMlp, ConfigError> {
    let width = s.outline.width;
    let experts = layer_experts(c, i)?;
    let hidden = match c.get("moe_intermediate_size") {
        None => s.hidden,
        Some(_) => per_layer(c, "moe_intermediate_size", i)?,
    };
    let shared = if s.mixed { Some(per_layer(c, "num_shared_expert", i)?) } else { None };
    Ok(p.scope("mlp", |p| {
        let shared = shared.map(|n| GatedMlp::new(p, "shared_mlp", width, n * s.hidden, false));
        let gate = Gate::Linear(Linear::new(p, "gate.wg", width, experts.total, false));
        let mlp = SwitchGlu::new(p, "switch_mlp", width, hidden, experts.total, false);
        RoutedMlp::new(SoftmaxRouter::new(gate, experts.chosen), mlp)
            .combined(Combine::Precise)
            .with_shared(shared)
    }))
}

#[cfg(test)]
mod tests {
    use crate::graph::Graph;
    use crate::model::{Config, DType};

    #[test]
    fn hunyuan_a13b_has_its_published_parameters() {
        let config = Config::parse(
            r#"{"model_type": "hunyuan_v1_moe", "hidden_size": 4096, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128167,
            "intermediate_size": 3072, "moe_intermediate_size": 3072, "num_experts": 64, "moe_topk": 8,
            "num_shared_expert": 1, "use_mixed_mlp_moe": true, "use_cla": false, "tie_word_embeddings": true}"#,
        );
        let graph = Graph::new(&config.unwrap(), DType::BF16).unwrap();
        let parameters: u64 = graph.params().modules().iter().map(|m| m.parameters()).sum();
        assert_eq!(parameters, 80_393_183_232);
        assert!(graph.not_in_mlx_lm().is_some_and(|why| why.contains("hunyuan")));
    }
}
