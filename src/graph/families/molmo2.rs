//! Molmo 2: Qwen 3's layers with fused matrices, and an embedding in two tables, of which the second holds the tokens of
//! images. Both stay unpacked.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = match c.opt_object("text_config")? {
        Some(text) => text,
        None => c.clone().emptied(),
    };
    let text = text.with_sizes(&[
        ("hidden_size", 2560),
        ("intermediate_size", 9728),
        ("num_hidden_layers", 36),
        ("vocab_size", 151_936),
        ("additional_vocab_size", 128),
        ("max_position_embeddings", 36_864),
    ]);
    let d = Dims::read(&text)?;
    let heads = Heads::read_or(&text, [32, 8, 128])?;
    let eps = text.number_or("layer_norm_eps", 1e-6)?;
    let rope = RopeModule::read(&text, heads.dim, 5_000_000.0, d.max_context)?;
    let bias = text.bool_or("qkv_bias", false)?;
    let spare = text.dim("additional_vocab_size")?;
    p.scope("language_model", |p| {
        let (embed, places, norm) = p.scope("model", |p| {
            let embed = TwoTables {
                first: p.raw("wte.embedding", &[d.vocabulary, d.width]),
                second: p.raw("wte.new_embedding", &[spare, d.width]),
            };
            let places = (0..d.layers).map(|i| {
                let layer =
                    p.scope(&format!("blocks.{i}"), |p| layer(p, &d, heads, eps, &rope, bias));
                Place::new(MaskRule::Full, layer)
            });
            let places: Vec<Place<()>> = places.collect();
            (embed, places, RmsNorm::new(p, "ln_f", d.width, eps))
        });
        let decoder = Decoder {
            embed: Box::new(embed),
            start: Box::new(|call| (call.embedded, ())),
            places,
            end: None,
            norm: Box::new(norm),
            head: Head::Own(Linear::new(p, "lm_head", d.width, d.vocabulary, false)),
            on_logits: None,
            mask_cache: 0,
            quant_override: Box::new(|_| QuantOverride::Default),
            experts: None,
            max_context: d.max_context,
            rounds: 1,
        };
        Ok(decoder.built())
    })
}

fn layer(
    p: &mut ParamBuilder,
    d: &Dims,
    heads: Heads,
    eps: f64,
    rope: &RopeModule,
    bias: bool,
) -> Sandwich {
    let attention = p.scope("self_attn", |p| {
        let qkv = Projections::fused(p, "att_proj", d.width, heads, bias);
        let o = Linear::new(p, "attn_out", heads.query * heads.dim, d.width, false);
        Attention::of(qkv, o, heads, Some(rope.clone()))
    });
    let attention =
        attention.with_rms_norms(p, ["self_attn.q_norm", "self_attn.k_norm"], NormPlace::Rows, eps);
    let before = RmsNorm::new(p, "attn_norm", d.width, eps);
    let behind = RmsNorm::new(p, "ff_norm", d.width, eps);
    let mlp = p.scope("mlp", |p| FusedMlp::new(p, ["ff_proj", "ff_out"], d.width, d.hidden));
    Sandwich::with_norms(before, attention, behind, mlp)
}

/// An embedding in two tables that are joined in every call.
struct TwoTables {
    first: ModuleId,
    second: ModuleId,
}

impl Embed for TwoTables {
    fn embed<'t>(&self, tokens: Var<'t>, _: Option<&mut Cache>) -> Var<'t> {
        let t = tokens.tape();
        concat([t.weight(self.first), t.weight(self.second)], 0).take(tokens)
    }
}
