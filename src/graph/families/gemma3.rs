//! Gemma 3: five sliding-window layers to one full layer, norms with `1 + weight` around both halves of a layer,
//! GELU, a tied head. The multimodal configuration (`gemma3`) wraps the text model and decides the vocabulary.

use crate::graph::parts::prelude::*;

/// `gemma3`: the text model under `language_model`, with the outer vocabulary.
pub(super) fn build_multimodal(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = wrapped_text(c)?;
    p.scope("language_model", |p| build(&text, p))
}

/// `gemma3` under mlx-vlm, which gives the text model an output head of its own and other defaults.
pub(in crate::graph) fn build_with_head(
    c: &Config,
    p: &mut ParamBuilder,
) -> Result<Built, ConfigError> {
    let text = c.object("text_config")?;
    let sizes = [
        ("num_attention_heads", 8),
        ("num_key_value_heads", 4),
        ("vocab_size", 262_208),
        ("sliding_window", 1024),
        ("max_position_embeddings", 4096),
    ];
    p.scope("language_model", |p| build_headed(&text.with_sizes(&sizes), p, HeadKind::Own))
}

/// The text configuration of `gemma3`, with the outer vocabulary.
fn wrapped_text(c: &Config) -> Result<Config, ConfigError> {
    let text = c.opt_object("text_config")?.ok_or_else(|| c.invalid("text_config", "an object"))?;
    let vocabulary = c.dim_or("vocab_size", 262_208)?;
    let heads = text.dim_or("num_attention_heads", 8)?;
    let kv = text.dim_or("num_key_value_heads", 4)?;
    Ok(text
        .with("vocab_size", vocabulary)
        .with("num_attention_heads", heads)
        .with("num_key_value_heads", kv))
}

/// `gemma3_text`.
pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    // The files decide: mlx-lm keeps a head of its own where they hold one.
    build_headed(c, p, HeadKind::tied(c.bool_or("tie_word_embeddings", true)?))
}

fn build_headed(c: &Config, p: &mut ParamBuilder, head: HeadKind) -> Result<Built, ConfigError> {
    let width = c.dim_or("hidden_size", 1152)?;
    let count = match c.opt_dim("num_hidden_layers")? {
        Some(_) => layer_count(c)?,
        None => 26,
    };
    let heads = Heads::read_or(c, [4, 1, 256])?;
    let hidden = c.dim_or("intermediate_size", 6912)?;
    let vocabulary = c.dim_or("vocab_size", 262_144)?;
    let eps = c.number_or("rms_norm_eps", 1e-6)?;
    let window = c.dim_or("sliding_window", 512)? as u32;
    let pattern = c.dim_or("sliding_window_pattern", 6)?.max(1);
    let max_context = c.dim_or("max_position_embeddings", 32_768)?;
    let scale = c.number_or("query_pre_attn_scalar", 256.0)?.powf(-0.5);
    let full_rope = RopeModule::read_as(c, heads.dim, 1_000_000.0, false, Some(max_context))?;
    let local = c.number_or("rope_local_base_freq", 10_000.0)?;
    let local_rope = RopeModule::plain(heads.dim, false, local);
    let rule = |i: u64| {
        if (i + 1) % pattern == 0 { MaskRule::Full } else { MaskRule::Window(window) }
    };

    let o = Outline {
        head,
        eps,
        max_context: Some(max_context),
        norm: NormKind::Gemma,
        ..Outline::new(width, count, vocabulary)
    };
    let decoder = o.decoder(p, |p, i| {
        let rope = if rule(i) == MaskRule::Full { &full_rope } else { &local_rope };
        let attention =
            Attention::new(p, "self_attn", width, heads, Biases::default(), Some(rope.clone()));
        let (query, key) = p.scope("self_attn", |p| {
            let query = GemmaNorm::new(p, "q_norm", heads.dim, eps);
            (query, GemmaNorm::new(p, "k_norm", heads.dim, eps))
        });
        let norm = |p: &mut ParamBuilder, name: &str| GemmaNorm::new(p, name, width, eps);
        let around = |p: &mut ParamBuilder, before: &str, after: &str| {
            Norms::around(norm(p, before), norm(p, after))
        };
        let mlp = GatedMlp::new(p, "mlp", width, hidden, false);
        let block = Sandwich::new(
            attention.with_scale(scale).with_norms(query, key, NormPlace::Heads),
            around(p, "input_layernorm", "post_attention_layernorm"),
            mlp.with_activation(gelu_gate),
            around(p, "pre_feedforward_layernorm", "post_feedforward_layernorm"),
        );
        let residual = Residual::Own(clip_residual);
        Ok((rule(i), block.with_residuals(residual, residual)))
    })?;
    let root = (width as f64).sqrt();
    Ok(decoder.with_embedding(move |h| scale_embedding(h, root)).built())
}

/// `h * sqrt(width)`, where the factor has been rounded to bfloat16.
pub(super) fn scale_embedding(h: Var<'_>, root: f64) -> Var<'_> {
    h * h.tape().scalar(root, DType::BF16).astype(h.dtype())
}

/// `gelu_approx(gate) * x`: the product is a kernel of its own here.
pub(super) fn gelu_gate<'t>(gate: Var<'t>, x: Var<'t>) -> Var<'t> {
    activations::gelu_approx(gate) * x
}

/// The residual addition; with float16 it is done in float32 and clipped, in one kernel.
pub(super) fn clip_residual<'t>(x: Var<'t>, y: Var<'t>) -> Var<'t> {
    x.compiled(|x| {
        if x.dtype() != DType::F16 {
            return x + y;
        }
        let (x, y) = (x.astype(DType::F32), y.astype(DType::F32));
        (x + y).clip(-65_504.0, 65_504.0).astype(DType::F16)
    })
}
