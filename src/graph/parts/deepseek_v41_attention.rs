//! Attention of DeepSeek-V4.1: every query gathers its own rows of the window and of the compressed tokens.

use super::deepseek_v41_indexer::{Chosen, DeepseekV41Indexer};
use super::deepseek_v41_settings::DeepseekV41AttentionSettings;
use crate::graph::cache::CompressedCache;
use crate::graph::nn::fake_quant::{Fp4Scale, round_fp4, round_fp8};
use crate::graph::prelude::*;

/// What layers hand on to later ones.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'t> {
    /// Position of the first new token.
    start: u32,
    /// Rows of the window per query.
    window: Var<'t>,
    compressed: Option<Var<'t>>,
    index_keys: Option<Var<'t>>,
    chosen: Option<Var<'t>>,
    candidates: Option<Var<'t>>,
}

impl<'t> Shared<'t> {
    /// Nothing but the rows of the window.
    #[must_use]
    pub fn new(start: u32, window: Var<'t>) -> Self {
        Self { start, window, compressed: None, index_keys: None, chosen: None, candidates: None }
    }
}

/// Pools every group of tokens into one row.
#[derive(Debug)]
struct Compressor {
    ratio: u32,
    kv: Linear,
    gate: Option<Linear>,
    norm: RmsNorm,
}

impl Compressor {
    fn new(p: &mut ParamBuilder, s: &DeepseekV41AttentionSettings, ratio: u64) -> Self {
        p.scope("compressor", |p| Self {
            ratio: ratio as u32,
            kv: Linear::new_f32(p, "kv_proj", s.width, s.head_dim),
            gate: (ratio > 1).then(|| Linear::new_f32(p, "gate_proj", s.width, s.head_dim)),
            norm: RmsNorm::new_f32(p, "kv_norm", s.head_dim, s.eps),
        })
    }

    /// The rows of the groups that are full now, if any, and the index of the first of them.
    fn forward<'t>(
        &self,
        x: Var<'t>,
        start: u32,
        cache: &mut CompressedCache,
    ) -> (Option<Var<'t>>, u32) {
        let Some(gate) = &self.gate else {
            let rows = self.kv.forward(x);
            return (Some(self.norm.forward(rows)), start);
        };
        let dtype = x.dtype();
        let h = x.astype(DType::F32);
        let open = cache.pending(x.tape(), 0).map_or(0, |v| v.dim(1));
        let mut parts = [self.kv.forward(h), gate.forward(h)];
        for (i, part) in parts.iter_mut().enumerate() {
            if let Some(old) = cache.pending(x.tape(), i) {
                *part = concat([old, *part], 1);
            }
        }
        let rows = parts[0].dim(1);
        let full = rows - rows % self.ratio;
        for (i, part) in parts.iter().enumerate() {
            cache.set_pending(i, (*part).slice(1, full, rows));
        }
        let first = start.saturating_sub(open) / self.ratio;
        if full == 0 {
            return (None, first);
        }
        let [kv, gate] = parts.map(|part| {
            let part = part.slice(1, 0, full);
            let (b, width) = (i64::from(part.dim(0)), i64::from(part.dim(2)));
            part.reshape(&[b, -1, i64::from(self.ratio), width])
        });
        let pooled = (kv * gate.softmax_over(2, false)).sum(2, false).astype(dtype);
        (Some(self.norm.forward(pooled)), first)
    }
}

/// An attention layer.
#[derive(Debug)]
pub struct DeepseekV41Attention {
    heads: u64,
    head_dim: u64,
    rope_dim: u64,
    o_groups: u64,
    ratio: u64,
    q_a: Linear,
    q_norm: RmsNorm,
    q_b: Linear,
    kv: Linear,
    kv_norm: RmsNorm,
    o_a: SwitchLinear,
    o_b: Linear,
    sinks: ModuleId,
    compressor: Option<Compressor>,
    indexer: Option<DeepseekV41Indexer>,
    rope: RopeModule,
}

impl DeepseekV41Attention {
    /// Declares the tensors of layer `i` under `self_attn`.
    ///
    /// # Errors
    /// When an indexer or a compressor stands in a layer without compression.
    pub fn new(
        p: &mut ParamBuilder,
        s: &DeepseekV41AttentionSettings,
        i: u64,
    ) -> Result<Self, ConfigError> {
        let ratio = s.ratio(i);
        let (source, indexed) = (s.is_kv_source(i), s.index_sources.contains(&i));
        if ratio == 0 && (source || indexed) {
            return Err(ConfigError::Unsupported(format!(
                "layer {i} is a source of compressed keys or indices, but compress_ratios has no ratio for it"
            )));
        }
        let values = s.heads * s.head_dim;
        Ok(p.scope("self_attn", |p| Self {
            heads: s.heads,
            head_dim: s.head_dim,
            rope_dim: s.rope_dim,
            o_groups: s.o_groups,
            ratio,
            q_a: Linear::new(p, "q_a_proj", s.width, s.q_rank, false),
            q_norm: RmsNorm::new(p, "q_a_norm", s.q_rank, s.eps),
            q_b: Linear::new(p, "q_b_proj", s.q_rank, values, false),
            kv: Linear::new(p, "kv_proj", s.width, s.head_dim, false),
            kv_norm: RmsNorm::new(p, "kv_norm", s.head_dim, s.eps),
            o_a: SwitchLinear::grouped(p, "o_a_proj", values / s.o_groups, s.o_rank, s.o_groups),
            o_b: Linear::new(p, "o_b_proj", s.o_groups * s.o_rank, s.width, false),
            sinks: p.raw_f32("sinks", &[s.heads]),
            compressor: source.then(|| Compressor::new(p, s, ratio)),
            indexer: indexed.then(|| DeepseekV41Indexer::new(p, s, i)),
            rope: if ratio > 0 { s.compressed_rope.clone() } else { s.plain_rope.clone() },
        }))
    }

    /// The output for `x [batch, tokens, width]`.
    pub fn forward<'t>(&self, x: Var<'t>, cache: &mut Cache, s: &mut Shared<'t>) -> Var<'t> {
        let t = x.tape();
        let Some(cache) = cache.of_class::<CompressedCache>() else {
            return t.fail("this attention needs the cache of compressed attention");
        };
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let low = self.q_norm.forward(self.q_a.forward(x));
        let q = self.q_b.forward(low).reshape(&[b, n, self.heads as i64, self.head_dim as i64]);
        let q = self.rotate(q, s.start, 1.0, false);
        let kv = self.kv_norm.forward(self.kv.forward(x));
        let kv = round_fp8(self.rotate(kv, s.start, 1.0, false));
        let mut rows = vec![(cache.update_window(kv), s.window)];
        if self.ratio > 0 {
            self.compress(x, cache, s);
            if let Some(indexer) = &self.indexer {
                let chosen = indexer.choose((x, low), (s.index_keys, s.candidates), s.start, |q| {
                    self.rotate(q, s.start, 1.0, false)
                });
                let Chosen { indices, candidates } = chosen;
                s.chosen = Some(indices);
                if indexer.is_candidate_source() {
                    s.candidates = candidates;
                }
            }
            if let (Some(kv), Some(chosen)) = (s.compressed, s.chosen)
                && chosen.dim(-1) > 0
            {
                rows.push((kv, chosen));
            }
        }
        let y = self.rotate(self.attend(q, &rows), s.start, 1.0, true);
        let tokens = b * n;
        let y = y.reshape(&[tokens, self.o_groups as i64, 1, -1]);
        let groups = FrequencyTable::Given {
            values: (0..self.o_groups).map(|g| g as f64).collect(),
            dtype: DType::I32,
        };
        let groups = t.table_shaped(&groups, Shape::new(&[1, self.o_groups as u32]));
        self.o_b.forward(self.o_a.forward(y, groups, false).reshape(&[b, n, -1]))
    }

    /// Rotates the last features of `x [batch, tokens, (heads,) width]` in float32; `offset` and `scale` are those of the
    /// positions.
    fn rotate<'t>(&self, x: Var<'t>, offset: u32, scale: f64, inverse: bool) -> Var<'t> {
        let (width, dtype) = (x.dim(-1), x.dtype());
        let at = width.saturating_sub(self.rope_dim as u32);
        let head = x.slice(-1, 0, at);
        let mut tail = x.slice(-1, at, width).astype(DType::F32);
        let heads = x.shape().rank() == 4;
        if heads {
            tail = tail.transpose(&[0, 2, 1, 3]);
        }
        tail = self.rope.scaled(tail, offset, scale, inverse);
        if heads {
            tail = tail.transpose(&[0, 2, 1, 3]);
        }
        concat([head, tail.astype(dtype)], -1)
    }

    /// Adds the rows of full groups to the cache and hands them on.
    fn compress<'t>(&self, x: Var<'t>, cache: &mut CompressedCache, s: &mut Shared<'t>) {
        let Some(compressor) = &self.compressor else { return };
        let (pooled, first) = compressor.forward(x, s.start, cache);
        let scale = self.ratio as f64;
        if let Some(pooled) = pooled {
            let kv = round_fp4(self.rotate(pooled, first, scale, false), 16, Fp4Scale::E4m3);
            cache.close(0, kv);
            if let Some(indexer) = &self.indexer {
                let k = self.rotate(indexer.keys(pooled), first, scale, false);
                cache.close(1, round_fp4(k, 32, Fp4Scale::Power));
            }
        }
        s.compressed = cache.closed(x.tape(), 0);
        if self.indexer.is_some() {
            s.index_keys = cache.closed(x.tape(), 1);
        }
    }

    /// Attention of every query over its own rows, in float32: each query is one entry of the batch.
    fn attend<'t>(&self, q: Var<'t>, rows: &[(Var<'t>, Var<'t>)]) -> Var<'t> {
        let t = q.tape();
        let shape = q.shape();
        let tokens = i64::from(shape.dim(0)) * i64::from(shape.dim(1));
        let (heads, dim) = (self.heads as i64, self.head_dim as i64);
        let dtype = q.dtype();
        let gathered: Vec<Var<'_>> = rows.iter().map(|&(kv, i)| gather_rows(kv, i)).collect();
        let keys = t.concat(&gathered, 2).reshape(&[tokens, 1, -1, dim]).astype(DType::F32);
        let indices: Vec<Var<'_>> = rows.iter().map(|r| r.1).collect();
        let mask = t.concat(&indices, -1).greater_equal(0i64).reshape(&[tokens, 1, 1, -1]);
        let q = q.reshape(&[tokens, heads, 1, dim]).astype(DType::F32);
        let sinks = t.weight(self.sinks);
        let scale = (dim as f64).powf(-0.5);
        let y = q.attention(keys, keys, scale, Mask::Array(mask), Some(sinks));
        let dims: Vec<i64> = shape.dims().iter().map(|&d| i64::from(d)).collect();
        y.reshape(&dims).astype(dtype)
    }
}

/// Rows `indices [batch, tokens, k]` of `values [batch, rows, width]`; the first row where the index is -1.
fn gather_rows<'t>(values: Var<'t>, indices: Var<'t>) -> Var<'t> {
    let (shape, wanted) = (values.shape(), indices.shape());
    let (batch, rows) = (shape.dim(0), i64::from(shape.dim(1)));
    let safe = indices.maximum(0i64);
    let base = (values.tape().arange(0, batch) * rows).reshape(&[i64::from(batch), 1, 1]);
    let flat = values.reshape(&[i64::from(batch) * rows, i64::from(shape.dim(2))]);
    let picked = flat.take((safe + base).reshape(&[-1]));
    let mut dims: Vec<i64> = wanted.dims().iter().map(|&d| i64::from(d)).collect();
    dims.push(i64::from(shape.dim(2)));
    picked.reshape(&dims)
}
