//! OpenELM: heads and MLP grow from layer to layer; one matrix for queries, keys and values, one for gate and up.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let width = c.positive("model_dim")?;
    let dim = c.positive("head_dim")?;
    let vocabulary = c.positive("vocab_size")?;
    let eps = c.number_or("rms_norm_eps", 1e-6)?;
    let rope = RopeModule::plain(dim, false, c.number_or("rope_freq_constant", 10_000.0)?);
    let head_norms = c.bool_or("normalize_qk_projections", true)?;
    let layers = layer_count_at(c, "num_transformer_layers")?;
    let (heads, hidden) = sizes(c, layers as usize, width, dim)?;
    let head = HeadKind::tied(c.bool_or("share_input_output_layers", true)?);
    let names = Names { model: "transformer", embed: "token_embeddings", ..Names::LLAMA };
    let o = Outline {
        head,
        eps,
        max_context: c.opt_dim("max_context_length")?,
        names,
        ..Outline::new(width, layers, vocabulary)
    };
    let norm = |p: &mut ParamBuilder, name: &str| RmsNorm::new(p, name, width, eps);
    let decoder = o.layered(p, &o.full(), |p, i| {
        let heads = heads[i];
        let attention = p.scope("attn", |p| {
            let rows = (heads.query + 2 * heads.kv) * dim;
            SplitAttention {
                qkv: Linear::new(p, "qkv_proj", width, rows, false),
                out: Linear::new(p, "out_proj", heads.query * dim, width, false),
                norms: head_norms
                    .then(|| ["q_norm", "k_norm"].map(|name| RmsNorm::new(p, name, dim, eps))),
                rope: rope.clone(),
                heads,
            }
        });
        let mlp = p.scope("ffn", |p| FusedMlp::new(p, ["proj_1", "proj_2"], width, hidden[i]));
        Sandwich::with_norms(norm(p, "attn_norm"), attention, norm(p, "ffn_norm"), mlp)
    });
    Ok(decoder.built())
}

/// Heads and MLP size of every layer.
fn sizes(
    c: &Config,
    layers: usize,
    width: u64,
    dim: u64,
) -> Result<(Vec<Heads>, Vec<u64>), ConfigError> {
    let list = |key: &str| match c.opt_dims(key)? {
        Some(list) if list.len() >= layers && !list.contains(&0) => Ok(list),
        _ => Err(c.invalid(key, format!("a list of {layers} whole numbers of at least 1"))),
    };
    let (query, kv) = (list("num_query_heads")?, list("num_kv_heads")?);
    let heads =
        query.iter().zip(kv).take(layers).map(|(&query, kv)| Heads { query, kv, dim }).collect();
    let wrong = || c.invalid("ffn_multipliers", format!("a list of {layers} positive numbers"));
    let multipliers = c.get("ffn_multipliers").and_then(serde_json::Value::as_array);
    let multipliers = multipliers.filter(|list| list.len() >= layers).ok_or_else(wrong)?;
    let divisor = c.positive("ffn_dim_divisor")?;
    let hidden = multipliers
        .iter()
        .take(layers)
        .map(|m| {
            let size = m.as_f64().ok_or_else(wrong)? * width as f64;
            if (0.0..1e9).contains(&size) {
                Ok(make_divisible(size, divisor))
            } else {
                Err(wrong())
            }
        })
        .collect::<Result<_, _>>()?;
    Ok((heads, hidden))
}

/// The multiple of `divisor` next to `size`, at least one and not much below `size`.
fn make_divisible(size: f64, divisor: u64) -> u64 {
    let rounded = (size + divisor as f64 / 2.0) as u64 / divisor * divisor;
    let rounded = rounded.max(divisor);
    if (rounded as f64) < 0.9 * size { rounded + divisor } else { rounded }
}

/// Attention that splits heads off one projection after heads and tokens have changed places.
struct SplitAttention {
    qkv: Linear,
    out: Linear,
    norms: Option<[RmsNorm; 2]>,
    rope: RopeModule,
    heads: Heads,
}

impl Mixer for SplitAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let Heads { query, kv, dim } = self.heads;
        let all = self.qkv.forward(x).reshape(&[b, n, (query + 2 * kv) as i64, dim as i64]);
        let all = all.transpose(&[0, 2, 1, 3]);
        let [mut q, mut k, v] = all.split(&[query as u32, (query + kv) as u32], 1);
        if let Some([query, key]) = &self.norms {
            (q, k) = (query.forward(q), key.forward(k));
        }
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(q, offset), self.rope.forward(k, offset));
        let y = attend_cached([q, k, v], (dim as f64).powf(-0.5), mask, cache);
        self.out.forward(y)
    }
}
