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
    decoder.on_logits = Some(Box::new(move |logits| {
        let logits = if divisor == 0.0 { logits } else { logits / divisor };
        let unused = [100_256, 100_258, 100_259, 100_260, 100_264, 100_265];
        let unused = unused.into_iter().chain(100_267..100_352).collect();
        logits.put_last(logits.tape().integers(unused, DType::I32), f64::NEG_INFINITY)
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
    fn mask<'t>(self, t: &'t Tape<'t>, heads: Heads, queries: u32, keys: u32) -> Var<'t> {
        let (q_blocks, k_blocks) = (queries.div_ceil(self.size), keys.div_ceil(self.size));
        let rows = t.arange(k_blocks.saturating_sub(q_blocks), k_blocks).expand_dims(&[0, 2]);
        let columns = t.arange(0, k_blocks).expand_dims(&[0, 1]);
        let steps = t.arange(0, k_blocks).expand_dims(&[0]);
        let shifts = t.arange(1, u32::try_from(heads.query).unwrap_or(u32::MAX - 1) + 1);
        let steps = steps + shifts.expand_dims(&[1]);
        let steps = steps.remainder(i64::from(self.stride));
        let strided = steps.equal(0i64).expand_dims(&[1]);
        let past = rows.greater_equal(columns);
        let near = (rows - columns).less(i64::from(self.local));
        let blocks = past & (near | strided);
        let group = (heads.query / heads.kv) as i64;
        let (rows, columns) = (i64::from(q_blocks), i64::from(k_blocks));
        let blocks = blocks.reshape(&[heads.kv as i64, group, rows, columns]);
        let dense = blocks.repeat(self.size, -1).repeat(self.size, -2);
        let first = dense.dim(2).saturating_sub(queries);
        dense.slice_axes(&[(2, first, u32::MAX), (3, 0, keys)])
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
    fn block_sparse<'t>(&self, [q, k, v]: [Var<'t>; 3], mask: Mask<'t>, blocks: Blocks) -> Var<'t> {
        let t = q.tape();
        let (b, n) = (i64::from(q.dim(0)), q.dim(2));
        let Heads { query, kv, .. } = self.heads;
        let q = q * self.scale;
        let q = q.reshape(&[b, kv as i64, (query / kv) as i64, i64::from(n), -1]);
        let (k, v) = (k.expand_dims(&[2]), v.expand_dims(&[2]));
        let allowed = blocks.mask(t, self.heads, n, k.dim(-2));
        let mut scores = q.matmul(k.swapaxes(-1, -2));
        if let Mask::Array(m) = mask {
            // mlx-lm adds the causal mask as numbers here.
            scores = scores + m;
        }
        let dtype = scores.dtype();
        let bias = allowed.select(t.scalar(0.0, dtype), t.scalar(f64::NEG_INFINITY, dtype));
        let y = (scores + bias).softmax(true).matmul(v);
        y.reshape(&[b, query as i64, i64::from(n), -1])
    }
}

impl Mixer for SparseAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let Heads { query, kv, dim } = self.heads;
        let group = (query / kv) as u32;
        let all = self.qkv.forward(x).reshape(&[b, n, -1, i64::from(group) + 2, dim as i64]);
        let q = all.slice(3, 0, group).flatten(-3, -2);
        let parts = [q, all.at(3, group), all.at(3, group + 1)];
        let [q, k, v] = parts.map(|part| part.transpose(&[0, 2, 1, 3]));
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(q, offset), self.rope.forward(k, offset));
        let y = match self.blocks {
            None => attend_cached([q, k, v], self.scale, mask, cache),
            Some(blocks) => {
                let (k, v) = cache.update(k, v);
                let (k, v) = (k.dense(t), v.dense(t));
                Heads::join(self.block_sparse([q, k, v], mask, blocks))
            }
        };
        self.dense.forward(y)
    }
}

/// An MLP whose up projection alternates gate and linear part.
struct GegeluMlp {
    up: Linear,
    down: Linear,
    limit: f64,
}

impl FeedForward for GegeluMlp {
    fn apply<'t>(&self, x: Var<'t>) -> Var<'t> {
        let x = self.up.forward(x);
        let (gate, linear) = (x.slice_step(-1, 0, 2), x.slice_step(-1, 1, 2));
        let y = gate.compiled(|gate| gegelu(gate, linear, self.limit));
        self.down.forward(y)
    }
}

/// `gate * sigmoid(1.702 * gate) * (linear + 1)` with both inputs limited unless they are infinite.
fn gegelu<'t>(gate: Var<'t>, linear: Var<'t>, limit: f64) -> Var<'t> {
    let gate = is_infinite(gate).select(gate, gate.minimum(limit));
    let gate = gate * (gate * 1.702).sigmoid();
    let linear = is_infinite(linear).select(linear, linear.clip(-limit, limit));
    gate * (linear + 1.0)
}

/// `mx.isinf`.
fn is_infinite(x: Var<'_>) -> Var<'_> {
    x.equal(f64::INFINITY).logical_or(x.equal(f64::NEG_INFINITY))
}
