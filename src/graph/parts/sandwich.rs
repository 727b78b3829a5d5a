//! The residual block with a norm before and after each half.

use super::frame::{Block, FeedForward, Mixer, Norm};
use crate::graph::prelude::*;

/// `h = x + post(mixer(pre(x)))`, then the same with the MLP.
pub struct Sandwich {
    /// Norm before the mixer.
    pub pre_mixer: Box<dyn Norm>,
    /// Attention or a recurrence.
    pub mixer: Box<dyn Mixer>,
    /// Norm of the mixer's output.
    pub post_mixer: Box<dyn Norm>,
    /// Norm before the MLP.
    pub pre_mlp: Box<dyn Norm>,
    /// The MLP or the experts.
    pub mlp: Box<dyn FeedForward>,
    /// Norm of the MLP's output.
    pub post_mlp: Box<dyn Norm>,
}

impl Block for Sandwich {
    fn forward(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let r = self.pre_mixer.norm(t, x);
        let r = self.mixer.mix(t, r, mask, cache);
        let r = self.post_mixer.norm(t, r);
        let h = t.add(x, r);
        let r = self.pre_mlp.norm(t, h);
        let r = self.mlp.apply(t, r);
        let r = self.post_mlp.norm(t, r);
        t.add(h, r)
    }
}
