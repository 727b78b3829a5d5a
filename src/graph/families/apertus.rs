//! Apertus: norms over each query and key head, an ungated MLP with the xIELU activation.

use crate::graph::parts::prelude::*;
use crate::versions::mlx_lm;

/// Why no engine of MLX runs Apertus 1.5.
pub(super) const NOWHERE: &str = concat!(
    "neither mlx-lm ",
    mlx_lm!(),
    " nor mlx-vlm can run this type; the figures are those of its language model under mlx-lm's apertus"
);

/// `apertus1p5`: the language model, whose head has no rows for the codes of images and sound.
pub(super) fn build_1p5(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let text = c.opt_object("text_config")?.unwrap_or_else(|| c.clone());
    build(&text.with_defaults(&[("tie_word_embeddings", false.into())]), p)
}

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let rows = c.opt_dim("output_vocab_size")?.filter(|&rows| 0 < rows && rows <= d.vocabulary);
    let rows = rows.unwrap_or(d.vocabulary);
    let heads = d.heads(c)?;
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let bias = c.bool_or("mlp_bias", false)?;
    let rope = RopeModule::read(c, heads.dim, 10_000.0, d.max_context)?;
    let head = HeadKind::tied(c.bool("tie_word_embeddings")?);
    let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, d.width, eps);
    let outline = d.outline(head, eps);
    let outline = Outline { vocabulary: rows, spare_rows: d.vocabulary - rows, ..outline };
    let decoder = outline.layered(p, &d.full(), |p, _| {
        let rope = Some(rope.clone());
        let attention = Attention::new(p, "self_attn", d.width, heads, Biases::default(), rope);
        Sandwich::with_norms(
            norm(p, "attention_layernorm"),
            attention.with_usual_norms(p, NormPlace::Rows, eps),
            norm(p, "feedforward_layernorm"),
            p.scope("mlp", |p| XieluMlp::new(p, d.width, d.hidden, bias)),
        )
    });
    Ok(decoder.built())
}

/// `down(xielu(up(x)))`; the four numbers of the activation are tensors.
struct XieluMlp {
    up: Linear,
    down: Linear,
    alpha_p: ModuleId,
    alpha_n: ModuleId,
    beta: ModuleId,
    eps: ModuleId,
}

impl XieluMlp {
    fn new(p: &mut ParamBuilder, width: u64, hidden: u64, bias: bool) -> Self {
        Self {
            up: Linear::new(p, "up_proj", width, hidden, bias),
            down: Linear::new(p, "down_proj", hidden, width, bias),
            alpha_p: p.raw("act_fn.alpha_p", &[]),
            alpha_n: p.raw("act_fn.alpha_n", &[]),
            beta: p.raw("act_fn.beta", &[]),
            eps: p.raw("act_fn.eps", &[]),
        }
    }
}

impl FeedForward for XieluMlp {
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        let x = self.up.forward(x);
        let numbers =
            [self.alpha_p, self.alpha_n, self.beta, self.eps].map(|id| x.tape().weight(id));
        let y = x.compiled(|x| xielu(x, numbers));
        self.down.forward(y)
    }
}

fn xielu<'t>(x: Var<'t>, [alpha_p, alpha_n, beta, eps]: [Var<'t>; 4]) -> Var<'t> {
    let positive = x.greater(0i64);
    let square = activations::softplus(alpha_p) * x.square();
    let linear = beta * x;
    let above = square + linear;
    let curve = (x.minimum(eps).expm1() - x) * (beta + activations::softplus(alpha_n));
    positive.select(above, curve + linear)
}
