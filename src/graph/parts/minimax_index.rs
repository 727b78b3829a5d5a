//! The indexer of MiniMax M3: which blocks of keys a query attends to.

use super::attention::Heads;
use super::outline::NormKind;
use super::scores::{Order, best};
use crate::graph::prelude::*;

/// Dimensions of the indexer.
#[derive(Clone, Copy, Debug)]
pub struct IndexDims {
    /// Query heads of the indexer.
    pub heads: u64,
    /// Features per head.
    pub dim: u64,
    /// Tokens per block.
    pub block: u64,
    /// Blocks a query attends to.
    pub chosen: u64,
    /// Blocks up to the query's own that are always among them.
    pub local: u64,
}

impl IndexDims {
    /// Reads `sparse_attention_config`, or the flat keys of a re-saved configuration; `None` without a block size.
    ///
    /// # Errors
    /// When a value is missing or out of range.
    pub fn read(c: &Config, attention: &Heads) -> Result<Option<Self>, ConfigError> {
        let nested = c.opt_object("sparse_attention_config")?;
        let read = |inner: &str, flat: &str| match &nested {
            Some(n) if n.has(inner) => n.opt_dim(inner),
            _ => c.opt_dim(flat),
        };
        let Some(block) = read("sparse_block_size", "index_block_size")? else {
            return Ok(None);
        };
        let need = |inner: &str, flat: &str| match read(inner, flat)? {
            Some(n) if n > 0 => Ok(n),
            _ => Err(c.invalid(flat, "a whole number of at least 1")),
        };
        let dims = Self {
            heads: need("sparse_num_index_heads", "index_n_heads")?,
            dim: need("sparse_index_dim", "index_head_dim")?,
            block,
            chosen: need("sparse_topk_blocks", "index_topk_blocks")?,
            local: read("sparse_local_block", "index_local_blocks")?.unwrap_or(1),
        };
        if block == 0 || attention.query % dims.heads != 0 {
            let expected = "blocks of at least one token and as many heads as divide the model's";
            return Err(c.invalid("sparse_attention_config", expected));
        }
        Ok(Some(dims))
    }
}

/// The indexer of one layer, whose tensors stand beside those of attention.
pub struct BlockIndex {
    dims: IndexDims,
    q: Linear,
    k: Linear,
    q_norm: Box<dyn Norm>,
    k_norm: Box<dyn Norm>,
    rope: RopeModule,
}

impl BlockIndex {
    /// Declares `index_{q,k}_proj` and `index_{q,k}_norm`.
    pub fn new(
        p: &mut ParamBuilder,
        dims: IndexDims,
        width: u64,
        norm: NormKind,
        eps: f64,
        rope: RopeModule,
    ) -> Self {
        Self {
            q: Linear::new(p, "index_q_proj", width, dims.heads * dims.dim, false),
            k: Linear::new(p, "index_k_proj", width, dims.dim, false),
            q_norm: norm.declare(p, "index_q_norm", dims.dim, eps),
            k_norm: norm.declare(p, "index_k_norm", dims.dim, eps),
            rope,
            dims,
        }
    }

    /// Stores the index keys of `x` and returns the mask of attention: the given one while all blocks fit.
    pub fn mask<'t>(
        &self,
        x: Var<'t>,
        mask: Mask<'t>,
        offset: u32,
        query_heads: u64,
        cache: &mut Cache,
    ) -> Mask<'t> {
        let t = x.tape();
        let d = &self.dims;
        let (b, n) = (x.dim(0), x.dim(1));
        let k = self.k.forward(x).reshape(&[i64::from(b), i64::from(n), 1, d.dim as i64]);
        let k = self.rope.forward(self.k_norm.forward(k).transpose(&[0, 2, 1, 3]), offset);
        let dtype = k.dtype();
        let (k, _) = cache.update(k, t.full(Shape::new(&[b, 1, n, 0]), 0.0, dtype));
        let k = k.dense(t);
        let keys = k.dim(2);
        let block = u32::try_from(d.block).unwrap_or(u32::MAX).max(1);
        if d.chosen >= u64::from(keys.div_ceil(block)) {
            return mask;
        }
        let q = self.q_norm.forward(Heads::rows(self.q.forward(x), d.heads));
        let q = self.rope.forward(q.transpose(&[0, 2, 1, 3]), offset);

        let positions = t.arange(keys.saturating_sub(n), keys);
        let seen = self.seen(mask, positions, keys);
        let (q, k) = (q.astype(DType::F32), k.astype(DType::F32));
        let scores = seen.select(q.matmul(k.swapaxes(-1, -2)), f64::NEG_INFINITY);
        let scores = self.favor_local(block_maxima(scores, block), positions, block);
        let keep = self.choose(scores).repeat(block, -1).slice(-1, 0, keys) & seen;
        Mask::Array(keep.repeat((query_heads / d.heads.max(1)) as u32, 1))
    }

    /// Which keys a query may see: `[queries, keys]`.
    fn seen<'t>(&self, mask: Mask<'t>, positions: Var<'t>, keys: u32) -> Var<'t> {
        if let Mask::Array(mask) = mask {
            return mask;
        }
        positions.tape().arange(0, keys).expand_dims(&[0]).less_equal(positions.expand_dims(&[1]))
    }

    /// Gives the blocks at and just before the query's own the highest score.
    fn favor_local<'t>(&self, scores: Var<'t>, positions: Var<'t>, block: u32) -> Var<'t> {
        if self.dims.local == 0 {
            return scores;
        }
        let own = positions.floor_divide(i64::from(block)).expand_dims(&[1]);
        let ids = scores.tape().arange(0, scores.dim(-1));
        let not_after = ids.less_equal(own);
        let first = own - self.dims.local as i64;
        (not_after & ids.greater(first)).select(f64::INFINITY, scores)
    }

    /// True for the blocks with the highest scores.
    fn choose<'t>(&self, scores: Var<'t>) -> Var<'t> {
        let t = scores.tape();
        let indices = best(scores, self.dims.chosen, Order::Descending);
        let none = t.full(scores.shape(), 0.0, DType::Bool);
        none.put_along_axis(indices, t.scalar(1.0, DType::Bool), -1, false)
    }
}

/// The highest score of each block of keys, the last one of which may be shorter.
fn block_maxima(scores: Var<'_>, block: u32) -> Var<'_> {
    let shape = scores.shape();
    let keys = shape.dim(-1);
    let whole = keys / block;
    let front = scores.slice(-1, 0, whole * block);
    let dims = [shape.dim(0), shape.dim(1), shape.dim(2), whole, block].map(i64::from);
    let maxima = front.reshape(&dims).reduce(Reduction::Max, -1, false);
    if keys % block == 0 {
        return maxima;
    }
    let tail = scores.slice(-1, whole * block, keys).reduce(Reduction::Max, -1, true);
    concat([maxima, tail], -1)
}
