//! Attention with one matrix for queries, keys and values.

use super::attention::Heads;
use super::block::Mixer;
use crate::graph::prelude::*;

/// Grouped-query attention with a fused input projection.
pub struct FusedAttention {
    qkv: Linear,
    out: Linear,
    heads: Heads,
    rope: RopeModule,
    norms: Option<(Box<dyn Norm>, Box<dyn Norm>)>,
    clip: Option<f64>,
}

/// Names and biases of the two projections.
#[derive(Clone, Copy, Debug)]
pub struct FusedProjections {
    /// Name of the input projection and whether it has a bias.
    pub qkv: (&'static str, bool),
    /// Name of the output projection and whether it has a bias.
    pub out: (&'static str, bool),
}

impl FusedAttention {
    /// Declares the projections in the current scope.
    pub fn new(
        p: &mut ParamBuilder,
        width: u64,
        heads: Heads,
        names: FusedProjections,
        rope: RopeModule,
    ) -> Self {
        let all = heads.query.saturating_add(heads.kv.saturating_mul(2));
        Self {
            qkv: Linear::new(p, names.qkv.0, width, all.saturating_mul(heads.dim), names.qkv.1),
            out: Linear::new(p, names.out.0, heads.query * heads.dim, width, names.out.1),
            heads,
            rope,
            norms: None,
            clip: None,
        }
    }

    /// Norms over each query and key head, before the rotation.
    #[must_use]
    pub fn with_norms(mut self, query: impl Norm + 'static, key: impl Norm + 'static) -> Self {
        self.norms = Some((Box::new(query), Box::new(key)));
        self
    }

    /// Clips queries, keys and values to `±limit`.
    #[must_use]
    pub fn with_clip(mut self, limit: f64) -> Self {
        self.clip = Some(limit);
        self
    }
}

impl Mixer for FusedAttention {
    fn mix<'t>(&self, x: Var<'t>, mask: Mask<'t>, cache: &mut Cache) -> Var<'t> {
        let h = self.heads;
        let mut qkv = self.qkv.forward(x);
        if let Some(limit) = self.clip {
            qkv = qkv.clip(-limit, limit);
        }
        let keys_at = (h.query * h.dim) as u32;
        let at = [keys_at, keys_at.saturating_add((h.kv * h.dim) as u32)];
        let [q, k, v] = qkv.split(&at, -1);
        let mut q = Heads::split(q, h.query);
        let mut k = Heads::split(k, h.kv);
        let v = Heads::split(v, h.kv);
        if let Some((query, key)) = &self.norms {
            (q, k) = (query.forward(q), key.forward(k));
        }
        let offset = cache.offset();
        let (q, k) = (self.rope.forward(q, offset), self.rope.forward(k, offset));
        let y = attend(q, cache.update(k, v), (h.dim as f64).powf(-0.5), mask, None);
        self.out.forward(Heads::join(y))
    }
}
