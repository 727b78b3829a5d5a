//! What `mx.compile` does to a whole step before it fuses: operations that nothing needs go, and equal ones become one
//! (`compile_dfs` and `compile_simplify` of `mlx/compile.cpp`).

use crate::graph::op::{Op, Training};
use crate::graph::shape::Shape;
use crate::graph::tape::{Source, Trace, TraceStep, ValueId};
use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

/// No operation makes the value.
pub(super) const NONE: u32 = u32::MAX;

/// The operation that makes a value, by value; [`NONE`] where it is given.
pub(super) fn producers(trace: &Trace) -> Vec<u32> {
    let mut producers = vec![NONE; trace.values().len()];
    for (node, i) in trace.nodes().iter().zip(0..) {
        trace.outputs(node).iter().for_each(|v| producers[v.index()] = i);
    }
    producers
}

/// By value, whether it is one of these.
pub(super) fn marked(trace: &Trace, some: &[ValueId]) -> Vec<bool> {
    let mut marked = vec![false; trace.values().len()];
    some.iter().for_each(|v| marked[v.index()] = true);
    marked
}

/// What the roots need, in the order of a depth-first walk.
pub(super) fn in_order(trace: &mut Trace, roots: &[ValueId]) {
    let producers = producers(trace);
    let steps = trace.steps();
    let mut done = vec![false; steps.len()];
    let mut order: Vec<u32> = Vec::with_capacity(steps.len());
    let mut stack: Vec<(u32, usize)> = Vec::new();
    for root in roots {
        enter(producers[root.index()], &mut done, &mut stack);
        while let Some((n, i)) = stack.pop() {
            match steps[n as usize].inputs.get(i) {
                Some(v) => {
                    stack.push((n, i + 1));
                    enter(producers[v.index()], &mut done, &mut stack);
                }
                None => order.push(n),
            }
        }
    }
    let mut steps: Vec<Option<TraceStep>> = steps.into_iter().map(Some).collect();
    trace.set_steps(order.into_iter().filter_map(|n| steps[n as usize].take()).collect());
}

fn enter(n: u32, done: &mut [bool], stack: &mut Vec<(u32, usize)>) {
    if n != NONE && !std::mem::replace(&mut done[n as usize], true) {
        stack.push((n, 0));
    }
}

/// Equal constants become one value.
pub(super) fn merge_constants(trace: &mut Trace) {
    let mut known: FxHashMap<(u64, u8, Shape), ValueId> = FxHashMap::default();
    let mut same: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    for i in 0..trace.values().len() {
        let id = ValueId(i as u32);
        let value = *trace.value(id);
        let Source::Constant(c) = value.source else { continue };
        let (number, dtype) = trace.constants()[c as usize];
        let first = *known.entry((number.to_bits(), dtype as u8, value.shape)).or_insert(id);
        if first != id {
            same.insert(id, first);
        }
    }
    let mut steps = trace.steps();
    for v in steps.iter_mut().flat_map(|s| s.inputs.iter_mut()) {
        *v = same.get(v).copied().unwrap_or(*v);
    }
    trace.set_steps(steps);
}

/// Whether MLX compares two operations of this kind at all.
fn comparable(step: &TraceStep) -> bool {
    !step.inputs.is_empty()
        && match &step.op {
            Op::Depends | Op::Custom(_) => false,
            Op::Training(op) => {
                !matches!(op, Training::Checkpoint | Training::Depends | Training::SegmentedMm)
            }
            _ => true,
        }
}

/// Equal operations on the same inputs become one. The second of two stays where it is a root.
pub(super) fn merge_equal(trace: &mut Trace, roots: &[ValueId]) {
    let mut steps = trace.steps();
    let is_root = marked(trace, roots);
    let mut same: Vec<ValueId> = (0..trace.values().len()).map(|i| ValueId(i as u32)).collect();
    let mut seen: FxHashMap<u64, SmallVec<[u32; 2]>> = FxHashMap::default();
    let mut kept: Vec<bool> = vec![true; steps.len()];
    for i in 0..steps.len() {
        steps[i].inputs.iter_mut().for_each(|v| *v = same[v.index()]);
        let step = &steps[i];
        if !comparable(step) {
            continue;
        }
        let likely = seen.entry(fingerprint(step)).or_default();
        match likely.iter().find(|&&n| equal(trace, &steps[n as usize], step)) {
            Some(&first) if !step.outputs.iter().any(|v| is_root[v.index()]) => {
                for (&a, &b) in steps[first as usize].outputs.iter().zip(&step.outputs) {
                    same[b.index()] = a;
                }
                kept[i] = false;
            }
            Some(_) => {}
            None => likely.push(i as u32),
        }
    }
    let mut kept = kept.into_iter();
    steps.retain(|_| kept.next().unwrap_or(true));
    trace.set_steps(steps);
}

fn fingerprint(step: &TraceStep) -> u64 {
    let mut h = FxHasher::default();
    std::mem::discriminant(&step.op).hash(&mut h);
    step.inputs.hash(&mut h);
    h.finish()
}

fn equal(trace: &Trace, a: &TraceStep, b: &TraceStep) -> bool {
    let alike = |(x, y): (&ValueId, &ValueId)| {
        let (x, y) = (trace.value(*x), trace.value(*y));
        x.shape == y.shape && x.dtype == y.dtype
    };
    a.op == b.op
        && a.inputs == b.inputs
        && a.outputs.len() == b.outputs.len()
        && a.outputs.iter().zip(&b.outputs).all(alike)
}
