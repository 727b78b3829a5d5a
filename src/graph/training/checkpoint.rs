//! Gradient checkpointing: `grad_checkpoint` of `mlx_lm/tuner/trainer.py` and `mx.checkpoint`.
//!
//! Every block is a checkpointed function. Forward, only what it reads and its results are kept. Backward it runs again,
//! on inputs that depend on its results, so that nothing of the first run is merged with the second, except what
//! depends on frozen tensors only.

use super::recorded::Recorded;
use crate::graph::op::{Op, Training};
use crate::graph::tape::{Source, Stage, Tape, Trace, TraceStep, Value, ValueId, Var};
use rustc_hash::FxHashMap;

/// Makes every layer recorded so far a checkpointed function; the first `trained` cache slots are what is trained.
pub(super) fn insert(t: &Tape<'_>, trained: u32) {
    let mut trace = t.trace.borrow_mut();
    let old = trace.steps();
    let last_read = last_reads(&old, trace.values().len());
    let mut out: Vec<TraceStep> = Vec::with_capacity(old.len() + 128);
    // What the results of checkpointed layers are called from outside.
    let mut renamed: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    let mut ranges = Vec::new();
    let mut from = 0;
    while from < old.len() {
        let stage = old[from].stage;
        let to = old[from..].iter().position(|s| s.stage != stage).map_or(old.len(), |n| from + n);
        let start = out.len();
        for step in &old[from..to] {
            let mut step = step.clone();
            step.inputs.iter_mut().for_each(|v| *v = renamed.get(v).copied().unwrap_or(*v));
            out.push(step);
        }
        let results = results(&out[start..], &last_read, to);
        if matches!(stage, Stage::Layer(_)) && !results.is_empty() {
            let primals = primals(&trace, &out[start..], trained);
            let made: Vec<ValueId> = results.iter().map(|&v| copy_of(&mut trace, v)).collect();
            renamed.extend(results.iter().copied().zip(made.iter().copied()));
            ranges.push((made[0], start..out.len()));
            out.push(TraceStep {
                op: Op::Training(Training::Checkpoint),
                stage,
                scores: false,
                inputs: primals.into_iter().chain(results).collect(),
                outputs: made.into(),
            });
        }
        from = to;
    }
    trace.set_steps(out);
    drop(trace);
    ranges.into_iter().for_each(|(first, range)| t.set_checkpoint(first, range));
}

fn copy_of(trace: &mut Trace, v: ValueId) -> ValueId {
    let value = Value { source: Source::Node, ..*trace.value(v) };
    trace.add_value(value)
}

/// By value, the operation behind the last one that reads it.
fn last_reads(steps: &[TraceStep], values: usize) -> Vec<usize> {
    let mut last = vec![0; values];
    for (i, step) in steps.iter().enumerate() {
        step.inputs.iter().for_each(|v| last[v.index()] = i + 1);
    }
    last
}

/// What a layer that ends before operation `end` makes for those behind it.
fn results(layer: &[TraceStep], last_read: &[usize], end: usize) -> Vec<ValueId> {
    let made = layer.iter().flat_map(|s| s.outputs.iter().copied());
    made.filter(|v| last_read.get(v.index()).is_some_and(|&n| n > end)).collect()
}

/// What is passed to a layer: its trained arrays, then arrays from outside.
fn primals(trace: &Trace, layer: &[TraceStep], trained: u32) -> Vec<ValueId> {
    let mut own: Vec<(u32, ValueId)> = Vec::new();
    let mut given: Vec<ValueId> = Vec::new();
    let made: rustc_hash::FxHashSet<ValueId> =
        layer.iter().flat_map(|s| s.outputs.iter().copied()).collect();
    for &v in layer.iter().flat_map(|s| &s.inputs) {
        match trace.value(v).source {
            Source::Cache(slot) if slot < trained && !own.contains(&(slot, v)) => {
                own.push((slot, v))
            }
            Source::Node if !made.contains(&v) && !given.contains(&v) => given.push(v),
            _ => {}
        }
    }
    own.sort_unstable();
    own.into_iter().map(|(_, v)| v).chain(given).collect()
}

/// The gradients of a checkpointed function: it is recorded once more and differentiated.
pub(super) fn gradients<'t>(t: &'t Tape<'t>, r: &Recorded<'t>, wanted: &[usize]) -> Vec<Var<'t>> {
    let Some(range) = t.checkpoint(r.outputs[0].id()) else {
        return vec![t.fail("a checkpoint that holds nothing")];
    };
    let count = r.inputs.len() - r.outputs.len();
    let (primals, results) = r.inputs.split_at(count);
    let fresh: Vec<Var<'t>> =
        primals.iter().map(|p| t.value(p.shape(), p.dtype(), Source::Node)).collect();
    let waiting: Vec<Var<'t>> = primals.iter().chain(&r.outputs).copied().collect();
    t.record(Op::Training(Training::Depends), &waiting, &fresh);
    let mut copies: FxHashMap<ValueId, Var<'t>> =
        primals.iter().map(|p| p.id()).zip(fresh.iter().copied()).collect();
    let layer: Vec<TraceStep> = t.trace.borrow().steps_in(range);
    for step in layer {
        again(t, step, &mut copies);
    }
    let outputs: Vec<(Var<'t>, Var<'t>)> = results
        .iter()
        .zip(&r.cotangents)
        .map(|(v, &g)| (copies.get(&v.id()).copied().unwrap_or(*v), g))
        .collect();
    let of: Vec<Var<'t>> = wanted.iter().map(|&i| fresh[i]).collect();
    (r.differentiate)(t, &outputs, &of)
}

/// Records an operation once more, on copies where there are any.
fn again<'t>(t: &'t Tape<'t>, step: TraceStep, copies: &mut FxHashMap<ValueId, Var<'t>>) {
    t.set_stage(step.stage);
    let inputs: Vec<Var<'t>> =
        step.inputs.iter().map(|v| copies.get(v).copied().unwrap_or_else(|| t.var(*v))).collect();
    let copy = |v: &ValueId| {
        let v = t.var(*v);
        t.value(v.shape(), v.dtype(), Source::Node)
    };
    let outputs: Vec<Var<'t>> = step.outputs.iter().map(copy).collect();
    copies.extend(step.outputs.iter().copied().zip(outputs.iter().copied()));
    t.follow_stop(&step.outputs, &outputs);
    if step.scores {
        t.scores(|| t.record(step.op, &inputs, &outputs));
    } else {
        t.record(step.op, &inputs, &outputs);
    }
}
