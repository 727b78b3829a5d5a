//! The features of one of several Macs that share a model.

use super::{MatrixRole, StepFeatures};

/// What a Mac has of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Macs that share the model.
    pub nodes: f64,
    /// Share of the matrices that every token uses, head excluded.
    pub layers: f64,
    /// Share of routed experts.
    pub experts: f64,
    /// Share of the head.
    pub head: f64,
    /// Share of keys and values.
    pub keys: f64,
    /// Share of recurrent states.
    pub states: f64,
    /// Bytes of its weights.
    pub weight_bytes: f64,
}

impl StepFeatures {
    /// The features of a Mac with a share of the model: fewer bytes, weights and heads in as many kernels.
    #[must_use]
    pub fn shared(&self, share: &Share) -> Self {
        let mut own = self.clone();
        for m in &mut own.matrices {
            let part = match m.part {
                MatrixRole::Layer => share.layers,
                MatrixRole::Expert => share.experts,
                MatrixRole::Head => share.head,
            };
            m.bytes *= part;
            m.weights *= part;
        }
        for a in &mut own.attention {
            a.bytes_per_row *= share.keys;
            a.elements_per_row *= share.keys;
            let part = |heads: u64, share: f64| ((heads as f64 * share).round() as u64).max(1);
            a.heads = part(a.heads, 1.0 / share.nodes);
            a.kv_heads = part(a.kv_heads, share.keys);
        }
        own.state_bytes *= share.states;
        own.weight_bytes = share.weight_bytes;
        let p = &mut own.prefill;
        p.dense_weights *= share.layers;
        p.expert_weights *= share.experts;
        p.expert_bytes *= share.experts;
        p.full_attention /= share.nodes;
        p.window_attention /= share.nodes;
        own
    }
}
