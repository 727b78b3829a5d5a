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
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let (d, s) = (&self.dims, &self.settings);
        let (b, n) = (i64::from(x.dim(0)), i64::from(x.dim(1)));
        let q = self.query.forward(x).reshape(&[b, n, d.heads as i64, (d.nope + d.rope) as i64]);
        let [q_nope, q_pe] = q.transpose(&[0, 2, 1, 3]).split(&[d.nope as u32], -1);
        let [latent, k_pe] = self.kv_a.forward(x).split(&[d.kv_rank as u32], -1);
        let k_pe = k_pe.reshape(&[b, n, 1, d.rope as i64]).transpose(&[0, 2, 1, 3]);
        let kv = Heads::split(self.kv_b.forward(self.kv_norm.forward(latent)), d.heads);
        let [k_nope, v] = kv.split(&[d.nope as u32], -1);
        let offset = cache.offset();
        let q_pe = s.rope.forward(q_pe, offset);
        let k_pe = s.rope.forward(k_pe, offset);
        let k_pe = match s.spread {
            RotaryCopies::Repeat => k_pe.repeat(d.heads as u32, 1),
            RotaryCopies::Broadcast => {
                let wide = k_pe.shape().with(1, d.heads as u32);
                k_pe.broadcast_to(wide)
            }
        };
        let k = concat([k_nope, k_pe], -1);
        let q = concat([q_nope, q_pe], -1);
        let y = Heads::join(attend(q, cache.update(k, v), s.scale, mask, None));
        self.o.forward(y)
    }
}
