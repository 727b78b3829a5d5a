//! Reverse-mode differentiation on the tape: `vjp` of `mlx/transforms.cpp`.
//!
//! The operations between the primals and the outputs are gone through backwards; each records what its gradient needs,
//! and gradients of a value that is read more than once are added up in the order in which they are found.

use super::checkpoint;
use super::gradient::gradients;
use super::recorded::Recorded;
use super::simplify::{NONE, producers};
use crate::graph::op::{Op, Training};
use crate::graph::tape::{Tape, ValueId, Var};
use rustc_hash::FxHashMap;

/// Operations whose outputs depend on the primals, in the order of a depth-first walk from the outputs, and which
/// values those are.
fn differentiated(
    t: &Tape<'_>,
    producers: &[u32],
    outputs: &[ValueId],
    primals: &[ValueId],
) -> (Vec<u32>, Vec<bool>) {
    let trace = t.trace.borrow();
    let mut needs = vec![false; producers.len()];
    let mut seen = vec![false; producers.len()];
    for v in primals {
        needs[v.index()] = true;
        seen[v.index()] = true;
    }
    let mut tape = Vec::new();
    let mut stack: Vec<(u32, usize)> = Vec::new();
    let mut enter = |v: ValueId, stack: &mut Vec<(u32, usize)>| {
        if std::mem::replace(&mut seen[v.index()], true) {
            return;
        }
        let n = producers[v.index()];
        if n != NONE {
            let node = &trace.nodes()[n as usize];
            trace.outputs(node).iter().for_each(|o| seen[o.index()] = true);
            stack.push((n, 0));
        }
    };
    for &output in outputs {
        enter(output, &mut stack);
        while let Some((n, i)) = stack.pop() {
            let node = &trace.nodes()[n as usize];
            let inputs = trace.inputs(node);
            if let Some(&input) = inputs.get(i) {
                stack.push((n, i + 1));
                enter(input, &mut stack);
                continue;
            }
            let outs = trace.outputs(node);
            let passes = outs.iter().any(|&o| trace.value(o).dtype.is_float() && !t.is_stopped(o));
            if passes && inputs.iter().any(|v| needs[v.index()]) {
                outs.iter().for_each(|o| needs[o.index()] = true);
                tape.push(n);
            }
        }
    }
    (tape, needs)
}

/// The gradients of some values with respect to `outputs`, each given with its own gradient; zeros where there is none.
pub(super) fn gradients_of<'t>(
    t: &'t Tape<'t>,
    outputs: &[(Var<'t>, Var<'t>)],
    primals: &[Var<'t>],
) -> Vec<Var<'t>> {
    let producers = producers(&t.trace.borrow());
    let ids = |vars: &mut dyn Iterator<Item = Var<'t>>| vars.map(Var::id).collect::<Vec<_>>();
    let outs = ids(&mut outputs.iter().map(|(o, _)| *o));
    let firsts = ids(&mut primals.iter().copied());
    let (tape, needs) = differentiated(t, &producers, &outs, &firsts);
    let mut found: FxHashMap<ValueId, Var<'t>> = FxHashMap::default();
    for (output, gradient) in outputs {
        found.insert(output.id(), gradient.astype(output.dtype()));
    }
    for &n in tape.iter().rev() {
        step(t, n, &needs, &mut found);
    }
    primals.iter().map(|p| found.get(&p.id()).copied().unwrap_or_else(|| p.zeros_like())).collect()
}

/// One operation backwards.
fn step<'t>(t: &'t Tape<'t>, n: u32, needs: &[bool], found: &mut FxHashMap<ValueId, Var<'t>>) {
    let (op, inputs, outputs, stage) = {
        let trace = t.trace.borrow();
        let node = &trace.nodes()[n as usize];
        let vars = |ids: &[ValueId]| ids.iter().map(|&v| t.var(v)).collect::<Vec<_>>();
        (node.op.clone(), vars(trace.inputs(node)), vars(trace.outputs(node)), node.stage)
    };
    if !outputs.iter().any(|o| found.contains_key(&o.id())) {
        return;
    }
    t.set_stage(stage);
    let cotangents: Vec<Var<'t>> =
        outputs.iter().map(|o| found.remove(&o.id()).unwrap_or_else(|| o.zeros_like())).collect();
    let checkpointed = op == Op::Training(Training::Checkpoint);
    // The results of the first run are inputs of a checkpoint, through which no gradient passes.
    let passing = inputs.len() - if checkpointed { outputs.len() } else { 0 };
    let wanted: Vec<usize> = (0..passing).filter(|&i| needs[inputs[i].id().index()]).collect();
    let recorded = Recorded { op, inputs, outputs, cotangents, differentiate: gradients_of };
    let made = if checkpointed {
        checkpoint::gradients(t, &recorded, &wanted)
    } else {
        gradients(&recorded, &wanted)
    };
    for (&i, gradient) in wanted.iter().zip(made) {
        let id = recorded.inputs[i].id();
        let sum = match found.get(&id) {
            Some(&before) => before + gradient,
            None => gradient,
        };
        found.insert(id, sum);
    }
}
