//! Attention of DeepSeek-V4: a sliding window, and in compressed layers pooled rows of all older tokens, of which an
//! indexer chooses some once there are many.

use super::deepseek_v4_pool::{Compressor, PoolIndexer, TailRope, pool_mask};
use crate::graph::prelude::*;

/// Tokens of a group in layers with an indexer.
pub const SPARSE_RATIO: u64 = 4;

/// Settings of the attention layers.
#[derive(Debug)]
pub struct DeepseekV4AttentionSettings {
    pub(crate) width: u64,
    heads: u64,
    head_dim: u64,
    pub(crate) q_rank: u64,
    pub(crate) eps: f64,
    o_groups: u64,
    o_rank: u64,
    o_bias: bool,
    window: u64,
    ratios: Vec<u64>,
    pub(crate) index_heads: u64,
    pub(crate) index_dim: u64,
    pub(crate) index_topk: u64,
    plain: Vec<f64>,
    pub(crate) compressed: Vec<f64>,
}

impl DeepseekV4AttentionSettings {
    /// Reads the keys of the attention layers.
    ///
    /// # Errors
    /// When a value is out of range.
    pub fn read(c: &Config, width: u64, eps: f64, layers: u64) -> Result<Self, ConfigError> {
        let at_least_1 = |key: &str, default| match c.dim_or(key, default)? {
            0 => Err(c.invalid(key, "a whole number of at least 1")),
            n => Ok(n),
        };
        let heads = at_least_1("num_attention_heads", 64)?;
        let head_dim = at_least_1("head_dim", 512)?;
        let rope_dim = at_least_1("qk_rope_head_dim", 64)?;
        let index_dim = at_least_1("index_head_dim", 128)?;
        if rope_dim > head_dim.min(index_dim) || (head_dim | rope_dim | index_dim) % 2 != 0 {
            return Err(c.invalid("qk_rope_head_dim", "even and at most head_dim, index_head_dim"));
        }
        let o_groups = at_least_1("o_groups", 8)?;
        if heads % o_groups != 0 {
            return Err(c.invalid("o_groups", "a divisor of num_attention_heads"));
        }
        let scaling = RopeScaling::read(c, "rope_scaling")?;
        let theta = c.number_or("compress_rope_theta", 160_000.0)?;
        Ok(Self {
            width,
            heads,
            head_dim,
            q_rank: c.dim_or("q_lora_rank", 1024)?,
            eps,
            o_groups,
            o_rank: c.dim_or("o_lora_rank", 1024)?,
            o_bias: c.bool_or("attention_bias", false)?,
            window: at_least_1("sliding_window", 128)?,
            ratios: ratios(c, layers)?,
            index_heads: at_least_1("index_n_heads", 64)?,
            index_dim,
            index_topk: at_least_1("index_topk", 512)?,
            plain: frequencies(rope_dim, c.number_or("rope_theta", 10_000.0)?, None)?,
            compressed: frequencies(rope_dim, theta, scaling.as_ref())?,
        })
    }

    /// Tokens of the window.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.window as u32
    }

    fn ratio(&self, layer: u64) -> u64 {
        usize::try_from(layer).ok().and_then(|i| self.ratios.get(i)).copied().unwrap_or(0)
    }

    /// The cache of a layer.
    #[must_use]
    pub fn cache(&self, layer: u64) -> CacheKind {
        let window = CacheKind::Rotating { max_size: self.window(), keep: 0 };
        let ratio = self.ratio(layer) as u32;
        let pool = |width: u64| CacheKind::Pool { ratio, width: width as u32 };
        match self.ratio(layer) {
            0 => window,
            SPARSE_RATIO => {
                CacheKind::List(vec![window, pool(self.head_dim), pool(self.index_dim)])
            }
            _ => CacheKind::List(vec![window, pool(self.head_dim)]),
        }
    }
}

/// Tokens per pooled row of each layer.
fn ratios(c: &Config, layers: u64) -> Result<Vec<u64>, ConfigError> {
    let mut list = c.opt_dims("compress_ratios")?.unwrap_or_default();
    if list.is_empty() {
        let inner = layers.saturating_sub(2);
        list = std::iter::once(0)
            .chain((0..inner).map(|i| if i % 2 == 1 { SPARSE_RATIO } else { 128 }))
            .chain((layers >= 2).then_some(0))
            .collect();
    }
    list.truncate(layers as usize);
    if list.len() as u64 != layers || list.iter().any(|r| ![0, SPARSE_RATIO, 128].contains(r)) {
        return Err(c.invalid("compress_ratios", "one of 0, 4 and 128 for every layer"));
    }
    Ok(list)
}

/// Frequencies of the rotated features: YaRN without attention factors if the block asks for it.
fn frequencies(
    dims: u64,
    base: f64,
    scaling: Option<&RopeScaling>,
) -> Result<Vec<f64>, ConfigError> {
    let dims32 = dims as u32;
    let plain = FrequencyTable::Long { dims: dims32, base, factors: vec![1.0] };
    let Some(scaling) = scaling else { return Ok(plain.values()) };
    match scaling.kind()? {
        "default" => Ok(plain.values()),
        "yarn" | "deepseek_yarn" => {
            Ok(RopeModule::yarn(dims, base, true, scaling)?.table().unwrap_or(&plain).values())
        }
        other => Err(ConfigError::Unsupported(format!(
            "DeepSeek-V4 has no rotary embedding of type '{other}'"
        ))),
    }
}

/// An attention layer.
#[derive(Debug)]
pub struct DeepseekV4Attention {
    heads: u64,
    head_dim: u64,
    o_groups: u64,
    eps: f64,
    ratio: u64,
    q_a: Linear,
    q_norm: RmsNorm,
    q_b: Linear,
    kv: Linear,
    kv_norm: RmsNorm,
    o_a: MultiLinear,
    o_b: Linear,
    sinks: ModuleId,
    rope: TailRope,
    compressor: Option<Compressor>,
    indexer: Option<PoolIndexer>,
}

impl DeepseekV4Attention {
    /// Declares the tensors of layer `i` under `attn`.
    pub fn new(p: &mut ParamBuilder, s: &DeepseekV4AttentionSettings, i: u64) -> Self {
        let ratio = s.ratio(i);
        let values = s.heads * s.head_dim;
        p.scope("attn", |p| Self {
            heads: s.heads,
            head_dim: s.head_dim,
            o_groups: s.o_groups,
            eps: s.eps,
            ratio,
            q_a: Linear::new(p, "wq_a", s.width, s.q_rank, false),
            q_norm: RmsNorm::new(p, "q_norm", s.q_rank, s.eps),
            q_b: Linear::new(p, "wq_b", s.q_rank, values, false),
            kv: Linear::new(p, "wkv", s.width, s.head_dim, false),
            kv_norm: RmsNorm::new(p, "kv_norm", s.head_dim, s.eps),
            o_a: MultiLinear::new(p, "wo_a", values / s.o_groups, s.o_rank, s.o_groups),
            o_b: Linear::new(p, "wo_b", s.o_groups * s.o_rank, s.width, s.o_bias),
            sinks: p.raw_f32("attn_sink", &[s.heads]),
            rope: TailRope::new(if ratio == 0 { &s.plain } else { &s.compressed }, 1),
            compressor: (ratio > 0).then(|| Compressor::new(p, s, ratio, s.head_dim)),
            indexer: (ratio == SPARSE_RATIO).then(|| PoolIndexer::new(p, s)),
        })
    }

    /// The output for `x [batch, tokens, width]`.
    pub fn forward<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let t = x.tape();
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let (heads, dim) = (self.heads as i64, self.head_dim as i64);
        let offset = cache.part(0).offset();
        let low = self.q_norm.forward(self.q_a.forward(x));
        let q = self.q_b.forward(low).reshape(&[b, n, heads, dim]);
        let q = q.rms_norm(None, self.eps).transpose(&[0, 2, 1, 3]);
        let q = self.rope.forward(q, offset, false);
        let kv = self.kv_norm.forward(self.kv.forward(x)).reshape(&[b, 1, n, dim]);
        let kv = self.rope.forward(kv, offset, false);
        let nothing = t.full(kv.shape().with(3, 0), 0.0, DType::F32);
        let (kv, _) = cache.part(0).update(kv, nothing);
        let kv = kv.dense(t);
        let y = self.attend((x, low), (q, kv), offset, mask, cache);
        let y = self.rope.forward(y, offset, true).reshape(&[b, self.o_groups as i64, -1, n, dim]);
        let y = self.o_a.forward(y.transpose(&[0, 1, 3, 2, 4]).flatten(-2, -1), true);
        self.o_b.forward(y.transpose(&[0, 2, 1, 3]).flatten(-2, -1))
    }

    fn attend<'t>(
        &self,
        (x, low): (Var<'t>, Var<'t>),
        (q, kv): (Var<'t>, Var<'t>),
        offset: u32,
        mask: Mask<'t>,
        cache: &mut Cache,
    ) -> Var<'t> {
        let t = x.tape();
        let n = x.dim(1);
        let scale = (self.head_dim as f64).powf(-0.5);
        let mut pooled = None;
        if let (Some(compressor), Some(pool)) = (&self.compressor, cache.part(1).pool()) {
            pooled = compressor.forward(x, offset, pool);
        }
        let visible = pooled.and_then(|p| pool_mask(n, offset, p, self.ratio));
        let mut chosen = None;
        let mut limit = u32::MAX;
        if let (Some(indexer), Some(pool)) = (&self.indexer, cache.part(2).pool()) {
            chosen = indexer.choose((x, low), &self.rope, offset, pool);
            limit = indexer.topk;
        }
        let sinks = t.weight(self.sinks).astype(q.dtype());
        match (pooled, chosen) {
            (None, _) => {
                let plain = self.compressor.is_none() || self.indexer.is_some();
                let keys = kv.dim(2);
                let mask = if plain { mask } else { extended(t, mask, None, keys) };
                q.attention(kv, kv, scale, mask, Some(sinks))
            }
            (Some(pooled), Some(chosen)) if pooled.dim(1) > limit => {
                let visible = visible
                    .map(|v| v.expand_dims(&[0]).take_along_axis(chosen, 2).expand_dims(&[1]));
                sparse_attention((q, kv), (pooled, chosen), (mask, visible), scale, sinks)
            }
            (Some(pooled), _) => {
                let rows = pooled.expand_dims(&[1]);
                let kv = concat([kv, rows], 2);
                q.attention(kv, kv, scale, extended(t, mask, visible, kv.dim(2)), Some(sinks))
            }
        }
    }
}

/// The mask of the window with that of the pooled rows beside it.
fn extended<'t>(t: &'t Tape<'t>, mask: Mask<'t>, visible: Option<Var<'t>>, keys: u32) -> Mask<'t> {
    let Mask::Array(m) = mask else { return mask };
    let m = if m.shape().rank() == 2 { m.expand_dims(&[0, 1]) } else { m };
    let shape = m.shape().with(3, keys.saturating_sub(m.dim(3)));
    let rest = match visible {
        Some(v) => v.broadcast_to(shape),
        None => t.full(shape, 1.0, DType::Bool),
    };
    Mask::Array(concat([m, rest], -1))
}

/// `_sparse_pooled_attention`: every query over the window and its own pooled rows, with a common normaliser.
fn sparse_attention<'t>(
    (q, kv): (Var<'t>, Var<'t>),
    (pooled, chosen): (Var<'t>, Var<'t>),
    (mask, visible): (Mask<'t>, Option<Var<'t>>),
    scale: f64,
    sinks: Var<'t>,
) -> Var<'t> {
    let (shape, dtype) = (q.shape(), q.dtype());
    let index = chosen.expand_dims(&[1, -1]);
    let rows = pooled.expand_dims(&[1, 2]);
    let wide = Shape::new(&[shape.dim(0), 1, shape.dim(2), pooled.dim(1), shape.dim(3)]);
    let rows = rows.broadcast_to(wide);
    let index = index.broadcast_to(index.shape().with(-1, shape.dim(3)));
    let rows = rows.take_along_axis(index, 3);

    let q = q * scale;
    let near = q.matmul(kv.swapaxes(-1, -2));
    let near = match mask {
        Mask::Array(m) => masked(near, Some(m)),
        Mask::None | Mask::Causal => near,
    };
    let total = near.logsumexp();
    let rows = rows.squeeze(&[1]);
    let far = q.transpose(&[0, 2, 1, 3]).matmul(rows.swapaxes(-1, -2));
    let far = masked(far.transpose(&[0, 2, 1, 3]), visible);
    let total = total.logaddexp(far.logsumexp());
    let sinks = sinks.expand_dims(&[0, 2, 3]);
    let [near, far] = sinks.compiled(|sinks| {
        let total = total.logaddexp(sinks);
        [near, far].map(|scores| (scores - total).exp())
    });
    let y = near.matmul(kv);
    let far = far.transpose(&[0, 2, 1, 3]).matmul(rows).transpose(&[0, 2, 1, 3]);
    (y + far).astype(dtype)
}

/// Scores with the lowest value where the mask is false.
fn masked<'t>(scores: Var<'t>, mask: Option<Var<'t>>) -> Var<'t> {
    match mask {
        Some(m) => m.select(scores, f64::from(f32::MIN)),
        None => scores,
    }
}
