//! Granite 4: Mamba-2 and attention layers, each followed by a dense MLP or by routed experts with a shared MLP.
//! Embedding, residuals and logits are scaled.

use crate::graph::parts::mamba2_mixer::time_limit;
use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let mamba_layers = mamba_layers(c)?;
    let width = c.positive("hidden_size")?;
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: kv_heads(c, query)?, dim: width / query };
    let biases = Biases::all(c.bool_or("attention_bias", false)?);
    let scale = c.number_or("attention_multiplier", 1.0)?;
    let rope = rope(c, heads.dim)?;
    let mamba = match mamba_layers.contains(&true) {
        true => Some(mamba(c, width)?),
        false => None,
    };
    let hidden = c.positive("intermediate_size")?;
    let moe = match c.opt_dim("num_local_experts")?.unwrap_or(0) {
        0 => None,
        _ => Some((
            experts(c, "num_local_experts", "num_experts_per_tok")?,
            c.positive("shared_intermediate_size")?,
        )),
    };
    let mlp_bias = c.bool_or("mlp_bias", false)?;
    let residual = c.number_or("residual_multiplier", 1.0)?;
    let outline = Outline {
        head: HeadKind::tied(c.bool_or("tie_word_embeddings", true)?),
        eps: c.number_or("rms_norm_eps", 1e-5)?,
        max_context: c.opt_dim("max_position_embeddings")?,
        ..Outline::new(width, mamba_layers.len() as u64, c.positive("vocab_size")?)
    };
    let mut decoder = outline.decoder(p, |p, i| {
        let (rule, mixer): (_, Box<dyn Mixer>) = match (mamba_layers.get(i as usize), mamba) {
            (Some(true), Some((dims, settings))) => {
                let norm = |p: &mut ParamBuilder| {
                    GatedNorm::After(p.raw("norm.weight", &[dims.inner]), outline.eps)
                };
                (MaskRule::Recurrent(2), Box::new(Mamba2::new(p, "mamba", dims, settings, norm)))
            }
            _ => {
                let rope = rope.clone();
                let attention = Attention::new(p, "self_attn", width, heads, biases, rope);
                (MaskRule::Full, Box::new(attention.with_scale(scale)))
            }
        };
        let mlp: Box<dyn FeedForward> = match moe {
            Some((experts, shared)) => Box::new(routed(p, width, hidden, experts, shared)),
            None => Box::new(GatedMlp::new(p, "mlp", width, hidden, mlp_bias)),
        };
        let block =
            Sandwich::pre_norm(p, width, outline.eps, mixer, mlp).with_residual_scale(residual);
        Ok((rule, block))
    })?;
    let embedding_scale = c.number_or("embedding_multiplier", 1.0)?;
    decoder = decoder.with_embedding(move |x| x * embedding_scale);
    let logits_divisor = c.number_or("logits_scaling", 1.0)?;
    decoder.on_logits = Some(Box::new(move |x| x / logits_divisor));
    if moe.is_some() {
        decoder = decoder.with_packing(QuantOverride::EightBit, &["router.layer"]);
    }
    Ok(decoder.with_experts(moe.map(|m| m.0)).built())
}

/// Which layers are Mamba-2; the others are attention.
fn mamba_layers(c: &Config) -> Result<Vec<bool>, ConfigError> {
    let wrong = || c.invalid("layer_types", "a list of 1 to 4096 names, 'mamba' or 'attention'");
    let types = c.opt_strings("layer_types")?.ok_or_else(wrong)?;
    if types.is_empty() || types.len() > 4096 {
        return Err(wrong());
    }
    let kind = |name: &String| match name.as_str() {
        "mamba" => Ok(true),
        "attention" => Ok(false),
        _ => Err(wrong()),
    };
    types.iter().map(kind).collect()
}

fn rope(c: &Config, dim: u64) -> Result<Option<RopeModule>, ConfigError> {
    if c.opt_str("position_embedding_type")? == Some("nope") {
        return Ok(None);
    }
    let mut base = c.number_or("rope_theta", 10_000.0)?;
    if let Some(block) = c.opt_object("rope_parameters")? {
        base = block.number_or("rope_theta", base)?;
    }
    Ok(Some(RopeModule::plain(dim, false, base)))
}

fn mamba(c: &Config, width: u64) -> Result<(Mamba2Dims, Mamba2Settings), ConfigError> {
    let sizes =
        ["mamba_n_heads", "mamba_d_head", "mamba_n_groups", "mamba_d_state", "mamba_d_conv"];
    let dims = Mamba2Dims::read(c, width, sizes)?;
    let bias = c.bool_or("mamba_proj_bias", false)?;
    let settings = Mamba2Settings {
        in_bias: bias,
        out_bias: bias,
        conv_bias: c.bool_or("mamba_conv_bias", false)?,
        a_log_f32: false,
        limit: time_limit(c, "time_step_limit", [0.001, 100.0])?,
    };
    Ok((dims, settings))
}

/// Experts chosen by the highest logits, and a shared MLP.
fn routed(
    p: &mut ParamBuilder,
    width: u64,
    hidden: u64,
    experts: Experts,
    shared: u64,
) -> RoutedMlp {
    let names = ["input_linear", "output_linear"];
    let shared = p.scope("shared_mlp", |p| FusedMlp::new(p, names, width, shared));
    p.scope("block_sparse_moe", |p| {
        let mlp = SwitchGlu::new(p, "switch_mlp", width, hidden, experts.total, false);
        let gate = Linear::new(p, "router.layer", width, experts.total, false);
        RoutedMlp::new(LogitRouter::new(gate, experts.chosen, Order::Ascending), mlp)
            .combined(Combine::Wide)
            .with_shared(Some(shared))
    })
}
