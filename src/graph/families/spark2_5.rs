//! Spark 2.5: dense; three window layers to one full layer, a fused input projection whose parts are copied, a sigmoid gate
//! per head, GELU.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let mut o = Outline::read(c, c.bool_or("tie_word_embeddings", true)?)?;
    o.eps = c.number_or("rms_norm_eps", 1e-6)?;
    o.max_context = Some(c.dim_or("max_position_embeddings", 8192)?);
    o.names = Names { embed: "embedding", ..Names::LLAMA };
    check(c)?;
    let heads = Heads::read(c)?;
    if heads.query % heads.kv != 0 {
        return Err(c.invalid("num_attention_heads", "a multiple of num_key_value_heads"));
    }
    let window = c.positive("sliding_window")? as u32;
    let hidden = c.positive("intermediate_size")?;
    let bias = c.bool_or("attention_bias", false)?;
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let kinds = kinds(c, o.layers)?;
    let ropes = c.object("rope_parameters")?;
    let decoder = o.decoder(p, |p, i| {
        let sliding = kinds.get(i as usize) == Some(&true);
        let kind = if sliding { "sliding_attention" } else { "full_attention" };
        let attention = CopiedAttention::new(p, o.width, heads, bias, rope(&ropes, kind, heads)?);
        let mlp = GatedMlp::up_first(p, "mlp", o.width, hidden, mlp_bias)
            .with_activation(activations::gelu_gate);
        let rule = if sliding { MaskRule::Window(window) } else { MaskRule::Full };
        Ok((rule, Sandwich::pre_norm(p, o.width, o.eps, attention, mlp)))
    })?;
    let decoder = decoder.with_packing(QuantOverride::Keep, &["self_attn.g_proj"]);
    Ok(decoder.built())
}

/// Refuses the settings that mlx-lm refuses.
fn check(c: &Config) -> Result<(), ConfigError> {
    if c.opt_str("hidden_act")?.unwrap_or("gelu") != "gelu" {
        return Err(c.invalid("hidden_act", "'gelu', the only one mlx-lm has here"));
    }
    if !c.bool_or("headwise_attn_output_gate", true)? {
        return Err(c.invalid("headwise_attn_output_gate", "true, as mlx-lm requires"));
    }
    if c.opt_str("gate_attn_act_mode")?.unwrap_or("sigmoid") != "sigmoid" {
        return Err(c.invalid("gate_attn_act_mode", "'sigmoid', the only one mlx-lm has here"));
    }
    Ok(())
}

/// Whether each layer has a window; by default every fourth has none.
fn kinds(c: &Config, layers: u64) -> Result<Vec<bool>, ConfigError> {
    let Some(types) = c.opt_strings("layer_types")? else {
        return Ok((0..layers).map(|i| i % 4 != 3).collect());
    };
    let known = |t: &String| match t.as_str() {
        "sliding_attention" => Some(true),
        "full_attention" => Some(false),
        _ => None,
    };
    let kinds: Option<Vec<bool>> = types.iter().map(known).collect();
    kinds.filter(|k| k.len() as u64 == layers).ok_or_else(|| {
        let expected = "'sliding_attention' or 'full_attention' for each layer";
        c.invalid("layer_types", expected)
    })
}

/// The rotation of a kind of layer.
fn rope(ropes: &Config, kind: &str, heads: Heads) -> Result<RopeModule, ConfigError> {
    let own = ropes.object(kind)?;
    let dims = (heads.dim as f64 * own.number_or("partial_rotary_factor", 1.0)?) as u64;
    Ok(RopeModule::plain(dims, false, own.number_or("rope_theta", 10_000.0)?))
}

struct CopiedAttention {
    qkv: Linear,
    gate: Linear,
    out: Linear,
    heads: Heads,
    rope: RopeModule,
}

impl CopiedAttention {
    fn new(p: &mut ParamBuilder, width: u64, h: Heads, bias: bool, rope: RopeModule) -> Self {
        let (q, kv) = (h.query * h.dim, h.kv * h.dim);
        p.scope("self_attn", |p| Self {
            qkv: Linear::new(p, "q_k_v_proj", width, q.saturating_add(2 * kv), bias),
            gate: Linear::new(p, "g_proj", width, h.query, bias),
            out: Linear::new(p, "out_proj", q, width, bias),
            heads: h,
            rope,
        })
    }
}

impl Mixer for CopiedAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let h = self.heads;
        let qkv = self.qkv.forward(x);
        let (q, kv) = ((h.query * h.dim) as u32, (h.kv * h.dim) as u32);
        let parts: [Var<'_>; 3] = qkv.split(&[q, q.saturating_add(kv)], -1);
        let [q, k, v] = [(parts[0], h.query), (parts[1], h.kv), (parts[2], h.kv)]
            .map(|(part, heads)| Heads::split(part, heads).contiguous());
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(q, offset), self.rope.forward(k, offset));
        let y = attend(q, cache.update(k, v), (h.dim as f64).powf(-0.5), mask, None);
        let y = y.transpose(&[0, 2, 1, 3]).contiguous();
        let gate = self.gate.forward(x).astype(DType::F32).sigmoid();
        let gate = gate.astype(y.dtype()).expand_dims(&[-1]);
        let y = y * gate;
        let (b, n) = (i64::from(y.dim(0)), i64::from(y.dim(1)));
        self.out.forward(y.reshape(&[b, n, -1]))
    }
}
