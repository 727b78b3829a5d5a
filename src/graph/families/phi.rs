//! Phi-1, Phi-1.5 and Phi-2 (`phi`), and Phixtral, which has routed experts in place of the MLP: attention in float32
//! and MLP side by side behind one layer norm.

use crate::graph::parts::prelude::*;

const PHI: [(&str, u64); 6] = [
    ("max_position_embeddings", 2048),
    ("vocab_size", 51_200),
    ("hidden_size", 2560),
    ("num_attention_heads", 32),
    ("num_hidden_layers", 32),
    ("intermediate_size", 10_240),
];

/// `phi`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with_sizes(&PHI);
    let d = Dims::read(c)?;
    let query = c.positive("num_attention_heads")?;
    let kv = if c.has("num_key_value_heads") { kv_heads(c, query)? } else { 32 };
    let heads = Heads { query, kv, dim: d.width / query };
    if heads.query * heads.dim != d.width {
        return Err(c.invalid("hidden_size", "a multiple of num_attention_heads"));
    }
    let eps = c.number_or("layer_norm_eps", 1e-5)?;
    let rotated = c.number_or("partial_rotary_factor", 0.4)? * heads.dim as f64;
    let rope = RopeModule::plain(rotated as u64, false, c.number_or("rope_theta", 10_000.0)?);
    let norm = |p: &mut ParamBuilder, name: &str| LayerNorm::new(p, name, d.width, eps, true);
    let names = Names { norm: "final_layernorm", ..Names::LLAMA };
    let o = Outline { names, norm: NormKind::LAYER, ..d.outline(HeadKind::OwnWithBias, eps) };
    let decoder = o.layered(p, &d.full(), |p, _| {
        let (biases, rope) = (Biases::all(true), Some(rope.clone()));
        let attention = Attention::named(p, "self_attn", "dense", d.width, heads, biases, rope);
        let attention = wide(attention, heads);
        let mlp = p.scope("mlp", |p| {
            PlainMlp::new(p, ["fc1", "fc2"], d.width, d.hidden, true, activations::gelu_approx)
        });
        Parallel::new(norm(p, "input_layernorm"), attention, mlp)
    });
    Ok(decoder.built())
}

fn wide(attention: Attention, heads: Heads) -> Attention {
    attention.with_scale((1.0 / heads.dim as f64).sqrt()).with_precision(Precision::Queries)
}

/// `phixtral` (`phi-msft`).
pub(super) fn build_phixtral(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let width = c.dim_or("model_dim", 2560)?;
    let query = c.dim_or("num_heads", 32)?;
    if query == 0 || width % query != 0 {
        return Err(c.invalid("num_heads", "a divisor of model_dim"));
    }
    let heads = Heads { query, kv: query, dim: width / query };
    let vocabulary = c.dim_or("num_vocab", 51_200)?;
    let rope = RopeModule::plain(c.dim_or("rotary_dim", 32)?, false, 10_000.0);
    let counts = [("num_hidden_layers", 32), ("num_experts_per_tok", 2), ("num_local_experts", 4)];
    let c = match c.get("num_layers") {
        Some(n) => c.clone().with("num_hidden_layers", n.clone()),
        None => c.clone(),
    };
    let c = &c.with_sizes(&counts);
    let experts = experts(c, "num_local_experts", "num_experts_per_tok")?;
    let names = Names { model: "transformer", embed: "embd.wte", layers: "h", norm: "" };
    let o = Outline {
        head: HeadKind::Tied,
        names,
        norm: NormKind::PlainLayer,
        ..Outline::new(width, layer_count(c)?, vocabulary)
    };
    let mut decoder = o.layered(p, &o.full(), |p, _| {
        let attention = p.scope("mixer", |p| {
            let qkv = Projections::fused(p, "Wqkv", width, heads, true);
            let o = Linear::new(p, "out_proj", width, width, true);
            wide(Attention::of(qkv, o, heads, Some(rope.clone())), heads)
        });
        let moe = p.scope("moe", |p| {
            let gate = Linear::new(p, "gate", width, experts.total, false);
            let mlp = SwitchMlp::new(p, "switch_mlp", width, 4 * width, experts.total, true);
            let router = LogitRouter::new(gate, experts.chosen, Order::Descending);
            RoutedMlp::plain(router, mlp, activations::gelu_approx).combined(Combine::Wide)
        });
        Parallel::new(LayerNorm::new(p, "ln", width, 1e-5, true), attention, moe)
    });
    (decoder.norm, decoder.head) = p.scope("lm_head", |p| {
        let norm = LayerNorm::new(p, "ln", width, 1e-5, true);
        (Box::new(norm) as _, Head::Own(Linear::new(p, "linear", width, vocabulary, true)))
    });
    Ok(decoder.with_experts(experts).built())
}
