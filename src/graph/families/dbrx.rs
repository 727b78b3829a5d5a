//! DBRX: fused attention with clipped projections, layer norms, and experts that are ordinary MLPs.
//!
//! mlx-lm reads the chosen experts back to the host and runs every expert on one token at a time, in each layer. A trace
//! stands for that with as many expert calls of one row each; which experts they are does not change their cost.

use crate::graph::parts::prelude::*;

/// Expert calls in one traced call; more would only cost memory here.
const MAX_EXPERT_CALLS: u64 = 1 << 20;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let kind = NormKind::Layer { bias: false };
    let o = Outline {
        max_context: c.opt_dim("max_seq_len")?,
        names: Names { model: "transformer", embed: "wte", layers: "blocks", norm: "norm_f" },
        norm: kind,
        ..Outline::new(
            c.positive("d_model")?,
            layer_count_at(c, "n_layers")?,
            c.positive("vocab_size")?,
        )
    };
    let attn = c.object("attn_config")?;
    let ffn = c.object("ffn_config")?;
    let query = c.positive("n_heads")?;
    let heads = Heads { query, kv: attn.positive("kv_n_heads")?, dim: o.width / query };
    let Some(clip) = attn.opt_number("clip_qkv")? else {
        return Err(attn.invalid("clip_qkv", "a number"));
    };
    let rope = RopeModule::plain(heads.dim, false, attn.number_or("rope_theta", 10_000.0)?);
    let hidden = ffn.positive("ffn_hidden_size")?;
    let experts = experts(&ffn, "moe_num_experts", "moe_top_k")?;
    let decoder = o.decoder(p, |p, _| {
        let ffn = p.scope("ffn", |p| HostMoe {
            router: Linear::new(p, "router.layer", o.width, experts.total, false),
            experts: (0..experts.total)
                .map(|e| {
                    let name = format!("experts.{e}");
                    p.scope(&name, |p| {
                        GatedMlp::named(p, ["w1", "v1", "w2"], o.width, hidden, false)
                    })
                })
                .collect(),
            chosen: experts.chosen,
            layers: o.layers,
        });
        let layer = p.scope("norm_attn_norm", |p| {
            let attention = p.scope("attn", |p| {
                let qkv = Projections::fused(p, "Wqkv", o.width, heads, false).clipped(clip);
                let out = Linear::new(p, "out_proj", query * heads.dim, o.width, false);
                Attention::of(qkv, out, heads, Some(rope.clone()))
            });
            Layer {
                norm_1: kind.declare(p, "norm_1", o.width, o.eps),
                norm_2: kind.declare(p, "norm_2", o.width, o.eps),
                attention,
                ffn,
            }
        });
        Ok((MaskRule::Full, layer))
    })?;
    Ok(decoder.built())
}

struct Layer {
    norm_1: Box<dyn Norm>,
    norm_2: Box<dyn Norm>,
    attention: Attention,
    ffn: HostMoe,
}

impl Block for Layer {
    fn forward<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let r = self.attention.mix(self.norm_1.forward(x), mask, cache) + x;
        self.ffn.apply(self.norm_2.forward(r)) + r
    }
}

/// Experts that run on one token at a time.
struct HostMoe {
    router: Linear,
    experts: Vec<GatedMlp>,
    chosen: u64,
    layers: u64,
}

impl HostMoe {
    /// The weighted outputs of the experts of token `i`, a row `[1, width]`.
    fn token<'t>(&self, x: Var<'t>, scores: Var<'t>, i: u32) -> Var<'t> {
        let row = x.slice(0, i, i + 1);
        let score = scores.slice(0, i, i + 1);
        let first = i as usize * self.chosen as usize;
        let outputs: Vec<Var<'_>> = (0..self.chosen as usize)
            .filter_map(|j| self.experts.get((first + j) % self.experts.len().max(1)))
            .map(|expert| expert.apply(row))
            .collect();
        (x.tape().stack(&outputs, -1) * score.expand_dims(&[1])).sum(-1, false)
    }
}

impl FeedForward for HostMoe {
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        let t = x.tape();
        let dims = x.shape().signed();
        let x = x.reshape(&[-1, i64::from(x.dim(-1))]);
        let gates = self.router.forward(x).astype(DType::F32).softmax(false);
        let scores = gates.take_along_axis(best(gates, self.chosen, Order::Descending), -1);
        let scores = (scores / scores.abs().sum(-1, true)).astype(x.dtype());
        let tokens = x.dim(0);
        let calls = u64::from(tokens).saturating_mul(self.chosen).saturating_mul(self.layers);
        if calls > MAX_EXPERT_CALLS {
            return t.fail(format!(
                "mlx-lm runs DBRX's experts one token at a time; {calls} expert calls in one step are more than \
                 mlxplan traces ({MAX_EXPERT_CALLS}); use a smaller prefill step"
            ));
        }
        t.decide_on_host();
        let rows: Vec<Var<'_>> = (0..tokens).map(|i| self.token(x, scores, i)).collect();
        t.concat(&rows, 0).reshape(&dims)
    }
}
