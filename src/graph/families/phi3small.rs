//! Phi-3-small: layer norms, one matrix for queries, keys and values ordered by key head, block-sparse attention in
//! every n-th layer, a limited gated activation, a tied head with some logits switched off.

use crate::graph::parts::prelude::*;

pub(super) fn build(c: &Config, p: &mut ParamBuilder) -> Result<Built, ConfigError> {
    let c = &c.clone().with("intermediate_size", c.positive("ff_intermediate_size")?);
    let d = Dims::read(c)?;
    let heads = d.heads(c)?;
    let eps = c.number_or("layer_norm_epsilon", 1e-5)?;
    let dim = heads.dim as f64;
    let scale = if c.bool_or("mup_use_scaling", true)? {
        c.number_or("mup_attn_multiplier", 1.0)? / dim
    } else {
        1.0 / dim.sqrt()
    };
    let base = c.number_or("rope_embedding_base", 1_000_000.0)?;
    let rope = RopeModule::plain(heads.dim, false, base)
        .with_position_scale(c.number_or("rope_position_scale", 1.0)?);
    let every = c.positive("dense_attention_every_n_layers")? as usize;
    let blocks = Blocks::read(c, heads)?;
    let limit = c.number_or("gegelu_limit", 20.0)?;
    let rules = vec![MaskRule::FullArray; d.layers];
    let names = Names { norm: "final_layernorm", ..Names::LLAMA };
    let o = Outline { names, norm: NormKind::LAYER, ..d.outline(HeadKind::Tied, eps) };
    let norm = |p: &mut ParamBuilder, name: &str| LayerNorm::new(p, name, d.width, eps, true);
    let mut decoder = o.layered(p, &rules, |p, i| {
        let attention = p.scope("self_attn", |p| {
            let rows = (heads.query + 2 * heads.kv) * heads.dim;
            SparseAttention {
                qkv: Linear::new(p, "query_key_value", d.width, rows, true),
                dense: Linear::new(p, "dense", d.width, d.width, true),
                rope: rope.clone(),
                heads,
                scale,
                blocks: (i % every == 0).then_some(blocks),
            }
        });
        let mlp = p.scope("mlp", |p| GegeluMlp {
            up: Linear::new(p, "up_proj", d.width, 2 * d.hidden, true),
            down: Linear::new(p, "down_proj", d.hidden, d.width, true),
            limit,
        });
        let (first, second) = (norm(p, "input_layernorm"), norm(p, "post_attention_layernorm"));
        Sandwich::with_norms(first, attention, second, mlp)
    });
    let embedding = c.number_or("mup_embedding_multiplier", 10.0)?;
    if embedding != 0.0 {
        decoder = decoder.with_embedding_scale(embedding);
    }
    let divisor = c.number_or("mup_width_multiplier", 8.0)?;
    decoder.on_logits = Some(Box::new(move |t, logits| {
        let logits = if divisor == 0.0 { logits } else { t.div(logits, divisor) };
        let unused = [100_256, 100_258, 100_259, 100_260, 100_264, 100_265];
        let unused = unused.into_iter().chain(100_267..100_352).collect();
        t.put_last(logits, t.integers(unused, DType::I32), f64::NEG_INFINITY)
    }));
    Ok(decoder.built())
}

/// Which blocks of keys a block of queries sees: the nearest ones, and every `stride`-th, shifted head by head.
#[derive(Clone, Copy)]
struct Blocks {
    size: u32,
    local: u32,
    stride: u32,
}

impl Blocks {
    fn read(c: &Config, heads: Heads) -> Result<Self, ConfigError> {
        let size = c.dim_or("blocksparse_block_size", 64)?;
        if size != 32 && size != 64 {
            return Err(c.invalid("blocksparse_block_size", "32 or 64"));
        }
        if heads.query % heads.kv != 0 {
            return Err(c.invalid("num_key_value_heads", "a divisor of num_attention_heads"));
        }
        Ok(Self {
            size: size as u32,
            local: c.dim_or("blocksparse_num_local_blocks", 16)? as u32,
            stride: c.dim_or("blocksparse_vert_stride", 8)? as u32,
        })
    }

    /// The mask `[kv heads, query heads per kv head, queries, keys]`.
    fn mask(self, t: &Tape<'_>, heads: Heads, queries: u32, keys: u32) -> Var {
        let (q_blocks, k_blocks) = (queries.div_ceil(self.size), keys.div_ceil(self.size));
        let rows = t.expand_dims(t.arange(k_blocks.saturating_sub(q_blocks), k_blocks), &[0, 2]);
        let columns = t.expand_dims(t.arange(0, k_blocks), &[0, 1]);
        let steps = t.expand_dims(t.arange(0, k_blocks), &[0]);
        let shifts = t.arange(1, u32::try_from(heads.query).unwrap_or(u32::MAX - 1) + 1);
        let steps = t.add(steps, t.expand_dims(shifts, &[1]));
        let steps = t.binary(Binary::Remainder, steps, i64::from(self.stride));
        let strided = t.expand_dims(t.binary(Binary::Equal, steps, 0i64), &[1]);
        let past = t.binary(Binary::GreaterEqual, rows, columns);
        let near = t.binary(Binary::Less, t.sub(rows, columns), i64::from(self.local));
        let blocks = t.binary(Binary::BitwiseAnd, past, t.binary(Binary::BitwiseOr, near, strided));
        let group = (heads.query / heads.kv) as i64;
        let (rows, columns) = (i64::from(q_blocks), i64::from(k_blocks));
        let blocks = t.reshape(blocks, &[heads.kv as i64, group, rows, columns]);
        let dense = t.repeat(t.repeat(blocks, self.size, -1), self.size, -2);
        let first = t.dim(dense, 2).saturating_sub(queries);
        t.slice_axes(dense, &[(2, first, u32::MAX), (3, 0, keys)])
    }
}

/// Attention of which some layers are block-sparse; those are computed in elementary steps.
struct SparseAttention {
    qkv: Linear,
    dense: Linear,
    rope: RopeModule,
    heads: Heads,
    scale: f64,
    blocks: Option<Blocks>,
}

impl SparseAttention {
    fn block_sparse(&self, t: &Tape<'_>, [q, k, v]: [Var; 3], mask: Mask, blocks: Blocks) -> Var {
        let (b, n) = (i64::from(t.dim(q, 0)), t.dim(q, 2));
        let Heads { query, kv, .. } = self.heads;
        let q = t.mul(q, self.scale);
        let q = t.reshape(q, &[b, kv as i64, (query / kv) as i64, i64::from(n), -1]);
        let (k, v) = (t.expand_dims(k, &[2]), t.expand_dims(v, &[2]));
        let allowed = blocks.mask(t, self.heads, n, t.dim(k, -2));
        let mut scores = t.matmul(q, t.swapaxes(k, -1, -2));
        if let Mask::Array(m) = mask {
            // mlx-lm adds the causal mask as numbers here.
            scores = t.add(scores, m);
        }
        let dtype = t.dtype(scores);
        let bias = t.select(allowed, t.scalar(0.0, dtype), t.scalar(f64::NEG_INFINITY, dtype));
        let y = t.matmul(t.softmax(t.add(scores, bias), true), v);
        t.reshape(y, &[b, query as i64, i64::from(n), -1])
    }
}

impl Mixer for SparseAttention {
    fn mix(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let (b, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 1)));
        let Heads { query, kv, dim } = self.heads;
        let group = (query / kv) as u32;
        let all = t.reshape(self.qkv.forward(t, x), &[b, n, -1, i64::from(group) + 2, dim as i64]);
        let q = t.flatten(t.slice(all, 3, 0, group), -3, -2);
        let parts = [q, t.at(all, 3, group), t.at(all, 3, group + 1)];
        let [q, k, v] = parts.map(|part| t.transpose(part, &[0, 2, 1, 3]));
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(t, q, offset), self.rope.forward(t, k, offset));
        let y = match self.blocks {
            None => attend_cached(t, [q, k, v], self.scale, mask, cache),
            Some(blocks) => {
                let (k, v) = cache.update(t, k, v);
                let (k, v) = (k.dense(t), v.dense(t));
                Heads::join(t, self.block_sparse(t, [q, k, v], mask, blocks))
            }
        };
        self.dense.forward(t, y)
    }
}

/// An MLP whose up projection alternates gate and linear part.
struct GegeluMlp {
    up: Linear,
    down: Linear,
    limit: f64,
}

impl FeedForward for GegeluMlp {
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        let x = self.up.forward(t, x);
        let (gate, linear) = (t.slice_step(x, -1, 0, 2), t.slice_step(x, -1, 1, 2));
        let [y] = t.compiled(|t| [gegelu(t, gate, linear, self.limit)]);
        self.down.forward(t, y)
    }
}

/// `gate * sigmoid(1.702 * gate) * (linear + 1)` with both inputs limited unless they are infinite.
fn gegelu(t: &Tape<'_>, gate: Var, linear: Var, limit: f64) -> Var {
    let gate = t.select(is_infinite(t, gate), gate, t.binary(Binary::Minimum, gate, limit));
    let gate = t.mul(gate, t.sigmoid(t.mul(gate, 1.702)));
    let linear = t.select(is_infinite(t, linear), linear, t.clip(linear, -limit, limit));
    t.mul(gate, t.add(linear, 1.0))
}

/// `mx.isinf`.
fn is_infinite(t: &Tape<'_>, x: Var) -> Var {
    let above = t.binary(Binary::Equal, x, f64::INFINITY);
    t.binary(Binary::LogicalOr, above, t.binary(Binary::Equal, x, f64::NEG_INFINITY))
}
