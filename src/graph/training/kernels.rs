//! Gradients of kernels of `mx.fast`, of softmax, and of the fused loss.

use super::recorded::Recorded;
use crate::graph::op::{Op, Rope, Training};
use crate::graph::tape::{Mask, Source, Var};

/// The weight of a norm, or the scalar that stands for it where there is none.
fn or_scalar<'t>(r: &Recorded<'t>, i: usize, value: f64) -> Var<'t> {
    let dtype = r.outputs[0].dtype();
    match r.inputs.get(i) {
        Some(w) => w.astype(dtype),
        None => r.x().tape().scalar(value, dtype),
    }
}

fn norm<'t>(r: &Recorded<'t>, op: Training, given: &[Var<'t>], wanted: &[usize]) -> Vec<Var<'t>> {
    let t = r.x().tape();
    let dtype = r.outputs[0].dtype();
    let outs: Vec<Var<'t>> =
        given.iter().map(|v| t.value(v.shape(), dtype, Source::Node)).collect();
    let mut inputs = given.to_vec();
    inputs.push(r.g());
    t.record(Op::Training(op), &inputs, &outs);
    wanted.iter().map(|&i| outs[i].astype(r.inputs[i].dtype())).collect()
}

pub(super) fn rms_norm<'t>(r: &Recorded<'t>, eps: f32, wanted: &[usize]) -> Vec<Var<'t>> {
    norm(r, Training::RmsNormGradient { eps }, &[r.x(), or_scalar(r, 1, 1.0)], wanted)
}

pub(super) fn layer_norm<'t>(r: &Recorded<'t>, eps: f32, wanted: &[usize]) -> Vec<Var<'t>> {
    let given = [r.x(), or_scalar(r, 1, 1.0), or_scalar(r, 2, 0.0)];
    norm(r, Training::LayerNormGradient { eps }, &given, wanted)
}

pub(super) fn softmax<'t>(r: &Recorded<'t>) -> Var<'t> {
    let y = r.outputs[0];
    let product = y * r.g();
    product - y * product.sum(-1, true)
}

/// The rotation backwards.
pub(super) fn rope<'t>(r: &Recorded<'t>, rope: &Rope) -> Var<'t> {
    let x = r.x();
    let mut inputs = vec![r.g()];
    inputs.extend_from_slice(&r.inputs[1..]);
    let op = Op::Training(Training::RopeGradient(*rope));
    x.tape().push(op, &inputs, x.shape(), x.dtype())
}

/// The gradient of the logits, which takes their place.
pub(super) fn cross_entropy<'t>(r: &Recorded<'t>) -> Var<'t> {
    let logits = r.x();
    let inputs = [logits, r.inputs[1], r.outputs[0], r.g()];
    let op = Op::Training(Training::CrossEntropyGradient);
    logits.tape().push(op, &inputs, logits.shape(), logits.dtype())
}

/// Of fused attention: one kernel where MLX has it; before, the plain operations are recorded and differentiated.
pub(super) fn attention<'t>(
    r: &Recorded<'t>,
    scale: f64,
    (causal, mask, sinks): (bool, bool, bool),
    wanted: &[usize],
) -> Vec<Var<'t>> {
    let t = r.x().tape();
    if t.fuses_gradients() {
        return fused_attention(r, wanted);
    }
    let mut rest = r.inputs[3..].iter().copied();
    let array = if mask { rest.next() } else { None };
    let sinks = if sinks { rest.next() } else { None };
    let mask = match array {
        Some(m) => Mask::Array(m),
        None if causal => Mask::Causal,
        None => Mask::None,
    };
    let [q, k, v] = [r.inputs[0], r.inputs[1], r.inputs[2]];
    let out = t.scores(|| t.unfused_attention([q, k, v], scale, mask, sinks, q.dtype()));
    let primals: Vec<Var<'t>> = wanted.iter().map(|&i| r.inputs[i]).collect();
    (r.differentiate)(t, &[(out, r.g())], &primals)
}

/// The gradients of queries, keys and values by one kernel.
fn fused_attention<'t>(r: &Recorded<'t>, wanted: &[usize]) -> Vec<Var<'t>> {
    let t = r.x().tape();
    let given = &r.inputs[..3];
    let outs: Vec<Var<'t>> =
        given.iter().map(|v| t.value(v.shape(), v.dtype(), Source::Node)).collect();
    let mut inputs = given.to_vec();
    inputs.extend([r.outputs[0], r.g()]);
    t.record(Op::Training(Training::AttentionGradient), &inputs, &outs);
    wanted
        .iter()
        .map(|&i| outs.get(i).copied().unwrap_or_else(|| r.inputs[i].zeros_like()))
        .collect()
}
