//! GPT-J: separate projections, partly rotated heads, attention and MLP side by side on one norm.

use super::gpt2::Sizes;
use crate::graph::parts::prelude::*;

const GPTJ: [(&str, u64); 5] = [
    ("n_embd", 4096),
    ("vocab_size", 50_400),
    ("n_positions", 2048),
    ("n_head", 16),
    ("n_layer", 28),
];

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with_sizes(&GPTJ);
    let s = Sizes::read(c)?;
    let heads = Heads { query: s.heads, kv: s.heads, dim: s.width / s.heads };
    if heads.query * heads.dim != s.width {
        return Err(c.invalid("n_head", "a divisor of n_embd"));
    }
    let rotated = match c.opt_dim("rotary_dim")? {
        Some(n) if n > 0 => n,
        None if !c.has("rotary_dim") => 64,
        _ => heads.dim,
    };
    let names = Names { model: "model", ..Names::GPT };
    let o = s.outline(c, names, HeadKind::OwnWithBias)?;
    let norm = |p: &mut ParamBuilder, name: &str| s.norm(p, name);
    let decoder = o.layered(p, &o.full(), |p, _| {
        let attention = p.scope("attn", |p| {
            let names = ["q_proj", "k_proj", "v_proj"];
            SlicedRopeAttention {
                qkv: Projections::separate(p, names, s.width, heads, false),
                out: Linear::new(p, "out_proj", s.width, s.width, false),
                rope: RopeModule::plain(rotated, true, 10_000.0),
                rotated: u32::try_from(rotated).unwrap_or(0),
                heads,
            }
        });
        let mlp = p.scope("mlp", |p| {
            let names = ["fc_in", "fc_out"];
            PlainMlp::new(p, names, s.width, 4 * s.width, true, activations::gelu_approx)
        });
        Parallel::new(norm(p, "ln_1"), attention, mlp)
    });
    Ok(decoder.built())
}

/// Attention that cuts off the rotated features and joins them again.
struct SlicedRopeAttention {
    qkv: Projections,
    out: Linear,
    rope: RopeModule,
    rotated: u32,
    heads: Heads,
}

impl SlicedRopeAttention {
    fn rotate<'t>(&self, x: Var<'t>, offset: u32) -> Var<'t> {
        let (front, rest) = (x.slice(3, 0, self.rotated), x.slice(3, self.rotated, u32::MAX));
        let front = self.rope.forward(front, offset);
        concat([front, rest], -1)
    }
}

impl Mixer for SlicedRopeAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let qkv = self.qkv.forward(x, self.heads);
        let [q, k, v] = qkv.map(|part| Heads::split(part, self.heads.query));
        let offset = cache.offset();
        let (q, k) = (self.rotate(q, offset), self.rotate(k, offset));
        let y = attend_cached([q, k, v], (self.heads.dim as f64).powf(-0.5), mask, cache);
        self.out.forward(y)
    }
}
