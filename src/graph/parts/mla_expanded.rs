//! Latent attention whose cache holds full keys and values: DeepSeek-V2 and relatives.
//!
//! The latent is expanded by `kv_b_proj` before it is stored, so the cache is as large as with one key and value
//! head per query head.

use super::attention::Heads;
use super::block::Mixer;
use super::mla::{MlaDims, Query};
use crate::graph::prelude::*;

/// How the rotated key part, which all heads share, gets one copy per head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotaryCopies {
    /// `mx.repeat`.
    Repeat,
    /// `mx.broadcast_to`.
    Broadcast,
}

/// What differs between the families.
#[derive(Clone, Debug)]
pub struct ExpandedSettings {
    /// Biases of `q_a_proj`, `kv_a_proj_with_mqa` and `o_proj`.
    pub bias: bool,
    /// Epsilon of the norms of the low-rank projections.
    pub eps: f64,
    /// Rotary embedding.
    pub rope: RopeModule,
    /// Attention scale.
    pub scale: f64,
    /// How the rotated key part is spread over the heads.
    pub spread: RotaryCopies,
}

/// A latent attention layer with an expanded cache.
#[derive(Debug)]
pub struct ExpandedAttention {
    dims: MlaDims,
    settings: ExpandedSettings,
    query: Query,
    kv_a: Linear,
    kv_norm: RmsNorm,
    kv_b: Linear,
    o: Linear,
}

impl ExpandedAttention {
    /// Declares the tensors under `self_attn`.
    pub fn new(p: &mut ParamBuilder, d: MlaDims, s: ExpandedSettings) -> Self {
        p.scope("self_attn", |p| Self {
            query: Query::new(p, &d, s.bias, s.eps),
            kv_a: Linear::new(p, "kv_a_proj_with_mqa", d.width, d.kv_rank + d.rope, s.bias),
            kv_norm: RmsNorm::new(p, "kv_a_layernorm", d.kv_rank, s.eps),
            kv_b: Linear::new(p, "kv_b_proj", d.kv_rank, d.heads * (d.nope + d.value), false),
            o: Linear::new(p, "o_proj", d.heads * d.value, d.width, s.bias),
            dims: d,
            settings: s,
        })
    }
}

impl Mixer for ExpandedAttention {
    fn mix(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let (d, s) = (&self.dims, &self.settings);
        let (b, n) = (i64::from(t.dim(x, 0)), i64::from(t.dim(x, 1)));
        let q = self.query.forward(t, x);
        let q = t.reshape(q, &[b, n, d.heads as i64, (d.nope + d.rope) as i64]);
        let [q_nope, q_pe] = t.split(t.transpose(q, &[0, 2, 1, 3]), &[d.nope as u32], -1);
        let [latent, k_pe] = t.split(self.kv_a.forward(t, x), &[d.kv_rank as u32], -1);
        let k_pe = t.reshape(k_pe, &[b, n, 1, d.rope as i64]);
        let k_pe = t.transpose(k_pe, &[0, 2, 1, 3]);
        let kv = Heads::split(t, self.kv_b.forward(t, self.kv_norm.forward(t, latent)), d.heads);
        let [k_nope, v] = t.split(kv, &[d.nope as u32], -1);
        let offset = cache.offset();
        let q_pe = s.rope.forward(t, q_pe, offset);
        let k_pe = s.rope.forward(t, k_pe, offset);
        let k_pe = match s.spread {
            RotaryCopies::Repeat => t.repeat(k_pe, d.heads as u32, 1),
            RotaryCopies::Broadcast => {
                let wide = t.shape(k_pe).with(1, d.heads as u32);
                t.broadcast_to(k_pe, wide)
            }
        };
        let k = t.concat(&[k_nope, k_pe], -1);
        let q = t.concat(&[q_nope, q_pe], -1);
        let y = Heads::join(t, attend(t, q, cache.update(t, k, v), s.scale, mask, None));
        self.o.forward(t, y)
    }
}
