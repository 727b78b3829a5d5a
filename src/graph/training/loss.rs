//! `default_loss` of `mlx_lm/tuner/trainer.py`: the mean cross entropy of the tokens that count.

use super::options::Loss;
use crate::graph::op::{Op, Training};
use crate::graph::tape::{Stage, Var};
use crate::model::DType;

/// The loss, and how many tokens it is the mean of.
pub(super) fn mean<'t>(
    logits: Var<'t>,
    targets: Var<'t>,
    lengths: Var<'t>,
    how: Loss,
) -> (Var<'t>, Var<'t>) {
    let t = logits.tape();
    t.set_stage(Stage::Head);
    let tokens = targets.dim(1);
    let steps = t.arange(1, tokens + 1);
    let from = steps.greater_equal(lengths.slice(1, 0, 1));
    let mask = from.logical_and(steps.less_equal(lengths.slice(1, 1, 2)));
    let losses = cross_entropy(logits, targets, how) * mask;
    let count = sum_of_all(mask);
    (sum_of_all(losses.astype(DType::F32)) / count, count)
}

fn sum_of_all(x: Var<'_>) -> Var<'_> {
    x.sum_axes(&[0, 1]).squeeze(&[0, 1])
}

/// `nn.losses.cross_entropy` of every token.
fn cross_entropy<'t>(logits: Var<'t>, targets: Var<'t>, how: Loss) -> Var<'t> {
    let t = logits.tape();
    if how == Loss::Fused {
        let op = Op::Training(Training::CrossEntropy);
        let losses = t.push(op, &[logits, targets], targets.shape(), DType::F32);
        return losses.astype(logits.dtype());
    }
    let logits = if how == Loss::Float32 { logits.astype(DType::F32) } else { logits };
    let score = logits.take_along_axis(targets.expand_dims(&[-1]), -1).squeeze(&[-1]);
    logits.logsumexp().squeeze(&[-1]) - score
}
