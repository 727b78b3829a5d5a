//! InternLM 2: Llama's block with one matrix for queries, keys and values, ordered by key head.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let max = c.dim_or("max_position_embeddings", 32_768)?;
    let d = Dims { max_context: Some(max), ..Dims::read(c)? };
    let query = c.positive("num_attention_heads")?;
    let heads = Heads { query, kv: kv_heads(c, query)?, dim: d.width / query };
    let eps = c.number_or("rms_norm_eps", 1e-5)?;
    let bias = c.bool_or("bias", true)?;
    check_scaling(c, "type")?;
    let rope = RopeModule::read(c, heads.dim, 10_000.0, d.max_context)?;
    let tied = c.bool_or("tie_word_embeddings", false)?;
    let names = Names { embed: "tok_embeddings", ..Names::LLAMA };
    let o = Outline { names, ..d.outline(HeadKind::Tied, eps) };
    let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, d.width, eps);
    let mut decoder = o.layered(p, &d.full(), |p, _| {
        let attention = p.scope("attention", |p| {
            let rows = (heads.query + 2 * heads.kv) * heads.dim;
            GroupedAttention {
                qkv: Linear::new(p, "wqkv", d.width, rows, bias),
                o: Linear::new(p, "wo", heads.query * heads.dim, d.width, bias),
                rope: rope.clone(),
                heads,
            }
        });
        let mlp = p.scope("feed_forward", |p| {
            GatedMlp::named(p, ["w1", "w3", "w2"], d.width, d.hidden, false)
        });
        Sandwich::with_norms(norm(p, "attention_norm"), attention, norm(p, "ffn_norm"), mlp)
    });
    if !tied {
        decoder.head = Head::Own(Linear::new(p, "output", d.width, d.vocabulary, false));
    }
    Ok(decoder.built())
}

/// What the InternLM classes demand of `rope_scaling`, which names its kind under `kind_key`.
pub(super) fn check_scaling(c: &Config, kind_key: &str) -> Result<(), ConfigError> {
    let Some(scaling) = c.opt_object("rope_scaling")? else {
        return Ok(());
    };
    match scaling.opt_str(kind_key)? {
        _ if scaling.values().is_empty() => Ok(()),
        Some("linear" | "dynamic") if scaling.has("factor") => Ok(()),
        _ => Err(c.invalid(
            "rope_scaling",
            format!("the keys 'factor' and '{kind_key}', which is 'linear' or 'dynamic'"),
        )),
    }
}

/// Attention whose matrix holds, per key head, its query heads, the key and the value.
struct GroupedAttention {
    qkv: Linear,
    o: Linear,
    rope: RopeModule,
    heads: Heads,
}

impl Mixer for GroupedAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let Heads { query, kv, dim } = self.heads;
        let (group, dim) = ((query / kv) as u32, dim as i64);
        let all = self.qkv.forward(x).reshape(&[b, n, -1, 2 + i64::from(group), dim]);
        let q = all.slice(3, 0, group).reshape(&[b, n, -1, dim]);
        let (k, v) = (all.at(3, group), all.at(3, group + 1));
        let (q, k, v) = (Heads::split(q, query), Heads::split(k, kv), Heads::split(v, kv));
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(q, offset), self.rope.forward(k, offset));
        let y = attend_cached([q, k, v], (dim as f64).powf(-0.5), mask, cache);
        self.o.forward(y)
    }
}
