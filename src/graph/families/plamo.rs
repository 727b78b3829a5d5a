//! PLaMo 1: attention and MLP side by side; each key and value head is copied for several query heads.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let d = Dims::read(c)?;
    let query = c.positive("num_attention_heads")?;
    let shared = c.positive_or("n_shared_head", 8)?;
    let heads = Heads { query, kv: query.div_ceil(shared), dim: d.width / query };
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let theta = c.number_or("rope_theta", 10_000.0)?;
    let rope = RopeModule::plain(heads.dim, c.bool_or("rope_traditional", false)?, theta);
    let names = Names { layers: "layers.layers", ..Names::LLAMA };
    let o = Outline { names, ..d.outline(HeadKind::Own, eps) };
    let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, d.width, eps);
    let decoder = o.layered(p, &d.full(), |p, _| {
        let (biases, rope) = (Biases::default(), Some(rope.clone()));
        let inner = Attention::new(p, "self_attn", d.width, heads, biases, rope);
        let attention = TiledAttention { inner, copies: shared as u32 };
        let mlp = GatedMlp::new(p, "mlp", d.width, d.hidden, false);
        Parallel::new(norm(p, "norm"), attention, mlp).input_first()
    });
    Ok(decoder.built())
}

/// Attention that copies keys and values for every query head of a group.
struct TiledAttention {
    inner: Attention,
    copies: u32,
}

impl Mixer for TiledAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let [q, k, v] = self.inner.prepared(x, cache.offset());
        let (k, v) = cache.update(k, v);
        let tiled = |x: KvArray<'t>| KvArray::Dense(x.dense(t).tile(self.copies, 1));
        self.inner.output(q, (tiled(k), tiled(v)), mask)
    }
}
