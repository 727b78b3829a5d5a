//! Llama 3.2 Vision: Llama's layers and, among them, layers that attend to the features of an image.
//!
//! Without an image, mlx-vlm takes halves of the queries for keys and values, and keeps nothing in a cache.

use crate::graph::parts::prelude::*;

/// Rows of the embedding for the tokens of images.
const IMAGE_ROWS: u64 = 8;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = c.object("text_config")?.with_sizes(&[
        ("vocab_size", 32_000),
        ("hidden_size", 4096),
        ("intermediate_size", 14_336),
        ("num_hidden_layers", 40),
        ("num_attention_heads", 32),
        ("num_key_value_heads", 8),
        ("max_position_embeddings", 131_072),
    ]);
    let cross = text.opt_dims("cross_attention_layers")?;
    let cross = cross.unwrap_or_else(|| vec![3, 8, 13, 18, 23, 28, 33, 38]);
    let d = Dims::read(&text)?;
    let heads = d.heads(&text)?;
    let eps = text.number_or("rms_norm_eps", 1e-6)?;
    let rope = RopeModule::read(&text, heads.dim, 10_000.0, d.max_context)?;
    let o = Outline { spare_rows: IMAGE_ROWS, ..d.outline(HeadKind::Own, eps) };
    p.scope("language_model", |p| {
        let decoder = o.decoder(p, |p, i| {
            Ok(if cross.contains(&i) {
                Place::new(MaskRule::Stateless, CrossLayer::new(p, &d, heads, eps))
            } else {
                let rope = Some(rope.clone());
                let biases = Biases::default();
                let attention = Attention::new(p, "self_attn", d.width, heads, biases, rope);
                let mlp = GatedMlp::new(p, "mlp", d.width, d.hidden, false);
                let layer = Sandwich::pre_norm(p, d.width, eps, attention, mlp);
                Place::new(MaskRule::Full, layer)
            })
        })?;
        Ok(decoder.built())
    })
}

/// A layer that attends to image features, whose results are gated.
struct CrossLayer {
    norms: [RmsNorm; 2],
    query: Linear,
    out: Linear,
    head_norms: [RmsNorm; 2],
    heads: Heads,
    mlp: GatedMlp,
    gates: [ModuleId; 2],
}

impl CrossLayer {
    fn new(p: &mut ParamBuilder, d: &Dims, heads: Heads, eps: f64) -> Self {
        let (inner, kv) = (heads.query * heads.dim, heads.kv * heads.dim);
        let (query, out, head_norms) = p.scope("cross_attn", |p| {
            let query = Linear::new(p, "q_proj", d.width, inner, false);
            Linear::new(p, "k_proj", d.width, kv, false);
            Linear::new(p, "v_proj", d.width, kv, false);
            let out = Linear::new(p, "o_proj", inner, d.width, false);
            let norms = ["q_norm", "k_norm"].map(|name| RmsNorm::new(p, name, heads.dim, eps));
            (query, out, norms)
        });
        Self {
            norms: ["input_layernorm", "post_attention_layernorm"]
                .map(|name| RmsNorm::new(p, name, d.width, eps)),
            query,
            out,
            head_norms,
            heads,
            mlp: GatedMlp::new(p, "mlp", d.width, d.hidden, false),
            gates: ["cross_attn_attn_gate", "cross_attn_mlp_gate"].map(|name| p.raw(name, &[1])),
        }
    }

    fn gated<'t>(&self, which: usize, x: Var<'t>, y: Var<'t>) -> Var<'t> {
        x + x.tape().weight(self.gates[which]).tanh() * y
    }
}

impl Block for CrossLayer {
    fn forward<'t>(&self, x: Var<'t>, _: Mask<'t>, _: &mut Cache) -> Var<'t> {
        let query = self.query.forward(self.norms[0].forward(x));
        let query = Heads::split(query, self.heads.query);
        let [key, value] = query.split_equal(1);
        let scale = (self.heads.dim as f64).powf(-0.5);
        let (q, k) = (self.head_norms[0].forward(query), self.head_norms[1].forward(key));
        let y = q.attention(k, value, scale, Mask::None, None);
        let x = self.gated(0, x, self.out.forward(Heads::join(y)));
        let y = self.mlp.apply(self.norms[1].forward(x));
        self.gated(1, x, y)
    }
}
