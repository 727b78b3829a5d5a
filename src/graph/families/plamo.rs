//! PLaMo 1: attention and MLP side by side; each key and value head is copied for several query heads.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let query = c.positive("num_attention_heads")?;
    let shared = match c.dim_or("n_shared_head", 8)? {
        0 => return Err(c.invalid("n_shared_head", "a whole number of at least 1")),
        n => n,
    };
    let heads = Heads { query, kv: query.div_ceil(shared), dim: d.width / query };
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let rope = RopeModule::plain(heads.dim, c.bool_or("rope_traditional", false)?, theta);
    let names = Names { layers: "layers.layers", ..Names::LLAMA };
    let o = Outline { names, ..d.outline(HeadKind::Own, eps) };
    let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, d.width, eps);
    let decoder = o.layered(p, &d.full(), |p, _| {
        let attention = p.scope("self_attn", |p| {
            let names = ["q_proj", "k_proj", "v_proj"];
            TiledAttention {
                qkv: Projections::separate(p, names, d.width, heads, false),
                o: Linear::new(p, "o_proj", heads.query * heads.dim, d.width, false),
                rope: rope.clone(),
                heads,
                copies: shared as u32,
            }
        });
        let mlp = GatedMlp::new(p, "mlp", d.width, d.hidden, false);
        Parallel::new(norm(p, "norm"), attention, mlp).input_first()
    });
    Ok(decoder.built())
}

/// Attention that copies keys and values for every query head of a group.
struct TiledAttention {
    qkv: Projections,
    o: Linear,
    rope: RopeModule,
    heads: Heads,
    copies: u32,
}

impl Mixer for TiledAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let Heads { query, kv, dim } = self.heads;
        let [q, k, v] = self.qkv.forward(x, self.heads);
        let (q, k, v) = (Heads::split(q, query), Heads::split(k, kv), Heads::split(v, kv));
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(q, offset), self.rope.forward(k, offset));
        let (k, v) = cache.update(k, v);
        let (k, v) = (k.dense(t), v.dense(t));
        let (k, v) = (k.tile(self.copies, 1), v.tile(self.copies, 1));
        let y = q.attention(k, v, (dim as f64).powf(-0.5), mask, None);
        self.o.forward(Heads::join(y))
    }
}
