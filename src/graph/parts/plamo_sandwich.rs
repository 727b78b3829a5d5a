//! What PLaMo 2 and PLaMo 3 share: norms around mixer and MLP, and an MLP with a joined gate.

use super::frame::{Block, FeedForward, Mixer};
use crate::graph::prelude::*;

/// A block with a norm before and after the mixer, and before and after the MLP.
pub struct Sandwich {
    mixer: Box<dyn Mixer>,
    mlp: JoinedMlp,
    /// Before and after the mixer, before and after the MLP.
    norms: [OffsetNorm; 4],
}

impl Sandwich {
    /// Declares the norms and the MLP; with `kept` the scales of the norms are kept after the first call.
    pub fn new(
        p: &mut ParamBuilder,
        width: u64,
        hidden: u64,
        eps: f64,
        kept: bool,
        mixer: impl Mixer + 'static,
    ) -> Self {
        let parts = [
            ("pre_mixer_norm", 1.0),
            ("post_mixer_norm", 1.0 / 5.0),
            ("pre_mlp_norm", 1.0),
            ("post_mlp_norm", 1.0 / 5.0f64.powf(1.5)),
        ];
        let norms = parts.map(|(name, offset)| {
            let norm = OffsetNorm::new(p, name, width, eps, offset);
            if kept { norm.kept() } else { norm }
        });
        Self { mixer: Box::new(mixer), mlp: JoinedMlp::new(p, width, hidden), norms }
    }
}

impl Block for Sandwich {
    fn forward(&self, t: &Tape<'_>, x: Var, mask: Mask, cache: &mut Cache) -> Var {
        let [before, after, before_mlp, after_mlp] = &self.norms;
        let r = before.forward(t, x);
        let r = self.mixer.mix(t, r, mask, cache);
        let r = after.forward(t, r);
        let h = t.add(x, r);
        let r = before_mlp.forward(t, h);
        let r = self.mlp.apply(t, r);
        let r = after_mlp.forward(t, r);
        t.add(h, r)
    }
}

/// A gated MLP whose gate and up projections are one matrix.
#[derive(Debug)]
struct JoinedMlp {
    gate_up: Linear,
    down: Linear,
}

impl JoinedMlp {
    fn new(p: &mut ParamBuilder, width: u64, hidden: u64) -> Self {
        p.scope("mlp", |p| Self {
            gate_up: Linear::new(p, "gate_up_proj", width, 2 * hidden, false),
            down: Linear::new(p, "down_proj", hidden, width, false),
        })
    }
}

impl FeedForward for JoinedMlp {
    fn apply(&self, t: &Tape<'_>, x: Var) -> Var {
        let both = self.gate_up.forward(t, x);
        let [gate, up] = t.split_equal(both, -1);
        let hidden = activations::swiglu(t, gate, up);
        self.down.forward(t, hidden)
    }
}
