//! The layer of PLaMo 2 and PLaMo 3: norms around mixer and MLP, and an MLP with a joined gate.

use super::block::{Mixer, Norms, Sandwich};
use super::mlp::FusedMlp;
use crate::graph::prelude::*;

/// Declares the norms and the MLP; with `kept` the scales of the norms are kept after the first call.
pub fn plamo_sandwich(
    p: &mut ParamBuilder,
    width: u64,
    hidden: u64,
    eps: f64,
    kept: bool,
    mixer: impl Mixer + 'static,
) -> Sandwich {
    let norm = |p: &mut ParamBuilder, name: &str, offset: f64| {
        let norm = OffsetNorm::new(p, name, width, eps, offset);
        if kept { norm.kept() } else { norm }
    };
    let before = norm(p, "pre_mixer_norm", 1.0);
    let after = norm(p, "post_mixer_norm", 1.0 / 5.0);
    let before_mlp = norm(p, "pre_mlp_norm", 1.0);
    let after_mlp = norm(p, "post_mlp_norm", 1.0 / 5.0f64.powf(1.5));
    let names = ["gate_up_proj", "down_proj"];
    let mlp = p.scope("mlp", |p| FusedMlp::new(p, names, width, hidden));
    Sandwich::new(mixer, Norms::around(before, after), mlp, Norms::around(before_mlp, after_mlp))
}
