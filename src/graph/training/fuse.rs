//! `compile_fuse` of `mlx/compile.cpp` over a whole training step: element-wise chains become one kernel, across layers,
//! loss, gradients and optimizer.

use super::simplify::{NONE, marked, producers};
use crate::graph::op::Op;
use crate::graph::shape::Shape;
use crate::graph::tape::{Body, BodyNode, BodyRef, Trace, TraceStep, ValueId};

const MAX_DEPTH: u32 = 11;
const MAX_ARRAYS: usize = 24;

/// The operations of a step, and which of them have joined a chain.
struct Fusion<'a> {
    trace: &'a Trace,
    steps: &'a [TraceStep],
    producers: Vec<u32>,
    /// Operations that read a value: those of value `v` are `readers[first[v]..first[v + 1]]`.
    first: Vec<u32>,
    readers: Vec<u32>,
    is_root: Vec<bool>,
    done: Vec<bool>,
    /// By operation, the chain that it was last met in, and whether as a broadcast that others need too.
    met: Vec<(u32, bool)>,
}

/// A chain under construction.
struct Chain {
    number: u32,
    shape: Shape,
    members: Vec<u32>,
    inputs: Vec<ValueId>,
}

/// Fuses the operations of a trace whose roots are given.
pub(super) fn fuse(trace: &mut Trace, roots: &[ValueId]) {
    let steps = trace.steps();
    let chains = {
        let mut fusion = Fusion::new(trace, &steps, roots);
        let all = (0..steps.len() as u32).rev();
        all.filter_map(|last| fusion.chain(last).map(|members| (last, members))).collect::<Vec<_>>()
    };
    rebuild(trace, steps, roots, &chains);
}

impl<'a> Fusion<'a> {
    fn new(trace: &'a Trace, steps: &'a [TraceStep], roots: &[ValueId]) -> Self {
        let values = trace.values().len();
        let mut first = vec![0u32; values + 1];
        for v in steps.iter().flat_map(|s| &s.inputs) {
            first[v.index() + 1] += 1;
        }
        for i in 0..values {
            first[i + 1] += first[i];
        }
        let mut next = first.clone();
        let mut readers = vec![0; first[values] as usize];
        for (i, step) in steps.iter().enumerate() {
            for v in &step.inputs {
                readers[next[v.index()] as usize] = i as u32;
                next[v.index()] += 1;
            }
        }
        Self {
            trace,
            steps,
            producers: producers(trace),
            first,
            readers,
            is_root: marked(trace, roots),
            done: vec![false; steps.len()],
            met: vec![(u32::MAX, false); steps.len()],
        }
    }

    /// The members of the chain that ends with an operation, if it is one.
    fn chain(&mut self, last: u32) -> Option<Vec<u32>> {
        let step = &self.steps[last as usize];
        let &[output] = step.outputs.as_slice() else { return None };
        if self.done[last as usize] || step.op == Op::Broadcast || !step.op.fusable() {
            return None;
        }
        let shape = self.trace.value(output).shape;
        let mut chain = Chain { number: last, shape, members: Vec::new(), inputs: Vec::new() };
        self.visit(output, 0, &mut chain);
        if chain.members.len() <= 1 {
            return None;
        }
        chain.members.sort_unstable();
        for &m in &chain.members {
            if self.steps[m as usize].op != Op::Broadcast {
                self.done[m as usize] = true;
            }
        }
        Some(chain.members)
    }

    fn visit(&mut self, var: ValueId, depth: u32, chain: &mut Chain) {
        let n = self.producers[var.index()];
        if n != NONE && self.met[n as usize].0 == chain.number {
            return;
        }
        if n == NONE || !self.joins(n, var, depth, chain) {
            if !chain.inputs.contains(&var) {
                chain.inputs.push(var);
            }
            return;
        }
        chain.inputs.retain(|v| *v != var);
        if chain.inputs.len() >= MAX_ARRAYS {
            return;
        }
        self.met[n as usize].0 = chain.number;
        chain.members.push(n);
        let steps = self.steps;
        for &input in &steps[n as usize].inputs {
            self.visit(input, depth + 1, chain);
        }
    }

    /// Whether an operation may join a chain: it is element-wise, and all that read it are in the chain, or it is a
    /// broadcast, which may be done twice.
    fn joins(&mut self, n: u32, var: ValueId, depth: u32, chain: &Chain) -> bool {
        let step = &self.steps[n as usize];
        let fits = depth < MAX_DEPTH
            && !self.done[n as usize]
            && step.op.fusable()
            && (!self.is_root[var.index()] || self.trace.value(var).shape == chain.shape);
        if !fits || depth == 0 {
            return fits;
        }
        let range = self.first[var.index()] as usize..self.first[var.index() + 1] as usize;
        let inside = |&r: &u32| self.met[r as usize] == (chain.number, false);
        let alone = self.readers[range].iter().all(inside);
        if !alone {
            if step.op != Op::Broadcast || chain.inputs.len() >= MAX_ARRAYS {
                return false;
            }
            self.met[n as usize].1 = true;
        } else {
            self.met[n as usize].1 = false;
        }
        true
    }
}

/// Replaces every chain by one operation in the place of its last member.
fn rebuild(
    trace: &mut Trace,
    steps: Vec<TraceStep>,
    roots: &[ValueId],
    chains: &[(u32, Vec<u32>)],
) {
    let is_root = marked(trace, roots);
    let mut chain_at = vec![u32::MAX; steps.len()];
    let mut gone = vec![false; steps.len()];
    for (i, (last, members)) in chains.iter().enumerate() {
        chain_at[*last as usize] = i as u32;
        // A member whose value is a root is an output of its chain.
        for &m in members {
            let root = steps[m as usize].outputs.iter().any(|v| is_root[v.index()]);
            gone[m as usize] |= m != *last && root;
        }
    }
    let mut out = Vec::with_capacity(steps.len());
    for (i, step) in steps.iter().enumerate() {
        match chain_at[i] {
            u32::MAX if gone[i] => {}
            u32::MAX => out.push(step.clone()),
            chain => {
                let members: Vec<&TraceStep> =
                    chains[chain as usize].1.iter().map(|&m| &steps[m as usize]).collect();
                out.push(joined(trace, &members, step, &is_root));
            }
        }
    }
    trace.set_steps(out);
}

/// A chain as one operation.
fn joined(
    trace: &mut Trace,
    members: &[&TraceStep],
    last: &TraceStep,
    is_root: &[bool],
) -> TraceStep {
    let place = |v: ValueId| members.iter().position(|m| m.outputs[0] == v);
    let inputs = read_order(members, last.outputs[0]);
    let mut outputs = smallvec::SmallVec::new();
    let mut body = Body { nodes: Vec::with_capacity(members.len()), outputs: Vec::new() };
    for (i, member) in members.iter().enumerate() {
        let result = member.outputs[0];
        let refer = |v: &ValueId| match place(*v) {
            Some(m) => BodyRef::Member(m as u32),
            None => BodyRef::Input(inputs.iter().position(|x| x == v).unwrap_or(0) as u32),
        };
        let value = trace.value(result);
        body.nodes.push(BodyNode {
            op: member.op.clone(),
            inputs: member.inputs.iter().map(refer).collect(),
            shape: value.shape,
            dtype: value.dtype,
        });
        if result == last.outputs[0] || is_root[result.index()] {
            outputs.push(result);
            body.outputs.push(i as u32);
        }
    }
    let op = Op::Compiled(trace.add_body(body));
    TraceStep { op, stage: last.stage, scores: last.scores, inputs: inputs.into(), outputs }
}

/// Inputs of a chain in the order MLX collects them: depth first from its last operation.
fn read_order(members: &[&TraceStep], end: ValueId) -> Vec<ValueId> {
    let mut order = Vec::new();
    let mut stack = vec![end];
    while let Some(var) = stack.pop() {
        match members.iter().find(|m| m.outputs[0] == var) {
            Some(m) => stack.extend(m.inputs.iter().rev()),
            None if !order.contains(&var) => order.push(var),
            None => {}
        }
    }
    order
}
