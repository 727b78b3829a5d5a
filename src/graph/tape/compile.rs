//! `mx.compile`: element-wise chains of a compiled function become one kernel.
//!
//! The rules are those of `compile_fuse` in `mlx/compile.cpp`: going backwards, an operation joins the chain of its
//! consumer when all its consumers are in the chain, depth and number of inputs stay within limits, and it is
//! element-wise (or a broadcast, which may be duplicated). A chain of one stays as it is.

use super::{Node, Source, Tape, Trace, ValueId, Var};
use crate::graph::op::Op;
use crate::graph::shape::Shape;
use crate::model::DType;

const MAX_DEPTH: u32 = 11;
const MAX_ARRAYS: usize = 24;

/// Operations inside a fused chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// The members in the order of the calls.
    pub nodes: Vec<BodyNode>,
    /// Which members are outputs of the chain, in the order of the operation's outputs.
    pub outputs: Vec<u32>,
}

/// One member of a fused chain.
#[derive(Clone, Debug, PartialEq)]
pub struct BodyNode {
    /// What is done.
    pub op: Op,
    /// Where the inputs come from.
    pub inputs: Vec<BodyRef>,
    /// Dimensions of the result.
    pub shape: Shape,
    /// Type of the result.
    pub dtype: DType,
}

/// An input of a member of a fused chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRef {
    /// An input of the whole chain.
    Input(u32),
    /// The result of an earlier member.
    Member(u32),
}

impl Body {
    /// MLX's name: `Compiled` and the members without broadcasts.
    #[must_use]
    pub fn name(&self) -> String {
        let members = self.nodes.iter().filter(|n| n.op != Op::Broadcast);
        std::iter::once("Compiled").chain(members.map(|n| n.op.name())).collect()
    }
}

/// What a compiled function returns: one value or several.
pub trait Results {
    /// The values.
    fn ids(&self) -> Vec<ValueId>;
}

impl Results for Var<'_> {
    fn ids(&self) -> Vec<ValueId> {
        vec![self.id()]
    }
}

impl<const N: usize> Results for [Var<'_>; N] {
    fn ids(&self) -> Vec<ValueId> {
        self.iter().map(|v| v.id()).collect()
    }
}

impl Var<'_> {
    /// Records what a function of this value decorated with `mx.compile` does, as [`Tape::compiled`].
    pub fn compiled<R: Results>(self, function: impl FnOnce(Self) -> R) -> R {
        self.tape.compiled(|| function(self))
    }
}

impl Tape<'_> {
    /// Records what a function decorated with `mx.compile` does, fused. Inside another compiled function the calls
    /// belong to the outer one.
    pub fn compiled<R: Results>(&self, record: impl FnOnce() -> R) -> R {
        let first = self.trace.borrow().nodes.len();
        self.region.set(self.region.get() + 1);
        let results = record();
        self.region.set(self.region.get() - 1);
        if self.region.get() == 0 && self.error.borrow().is_none() {
            let mut trace = self.trace.borrow_mut();
            merge_constants(&mut trace, first);
            Region::new(&trace, first, results.ids()).fuse(&mut trace);
        }
        results
    }
}

/// Equal scalars of a compiled function become one (`compile_simplify` in `mlx/compile.cpp`).
fn merge_constants(trace: &mut Trace, first: usize) {
    let mut known: Vec<(u64, DType, ValueId)> = Vec::new();
    for n in first..trace.nodes.len() {
        let node = &trace.nodes[n];
        let start = node.first_link as usize;
        for link in start..start + usize::from(node.inputs) {
            let var = trace.links[link];
            let Source::Constant(c) = trace.value(var).source else { continue };
            let (value, dtype) = trace.constants[c as usize];
            match known.iter().find(|k| k.0 == value.to_bits() && k.1 == dtype) {
                Some(&(_, _, same)) => trace.links[link] = same,
                None => known.push((value.to_bits(), dtype, var)),
            }
        }
    }
}

/// The operations recorded since a compiled function was entered.
struct Region {
    first: usize,
    /// Producer of each value made in the region: (value, node), sorted by value.
    producers: Vec<(ValueId, usize)>,
    /// Consumers in the region: (value, node), sorted by value.
    consumers: Vec<(ValueId, usize)>,
    exits: Vec<ValueId>,
    /// Nodes that no longer may join a chain: members of an earlier one.
    done: Vec<bool>,
}

/// A chain under construction.
#[derive(Default)]
struct Chain {
    members: Vec<usize>,
    inputs: Vec<ValueId>,
}

impl Region {
    fn new(trace: &Trace, first: usize, exits: Vec<ValueId>) -> Self {
        let mut producers = Vec::new();
        let mut consumers = Vec::new();
        for (i, node) in trace.nodes.iter().enumerate().skip(first) {
            producers.extend(trace.outputs(node).iter().map(|&v| (v, i)));
            consumers.extend(trace.inputs(node).iter().map(|&v| (v, i)));
        }
        producers.sort_unstable();
        consumers.sort_unstable();
        let done = vec![false; trace.nodes.len() - first];
        Self { first, producers, consumers, exits, done }
    }

    fn producer(&self, var: ValueId) -> Option<usize> {
        self.producers.binary_search_by_key(&var, |p| p.0).ok().map(|i| self.producers[i].1)
    }

    fn consumers(&self, var: ValueId) -> impl Iterator<Item = usize> + '_ {
        let start = self.consumers.partition_point(|c| c.0 < var);
        self.consumers[start..].iter().take_while(move |c| c.0 == var).map(|c| c.1)
    }

    fn fuse(mut self, trace: &mut Trace) {
        let mut chains: Vec<(usize, Chain)> = Vec::new();
        for last in (self.first..trace.nodes.len()).rev() {
            let node = &trace.nodes[last];
            let outputs = trace.outputs(node);
            if self.done[last - self.first] || node.op == Op::Broadcast || outputs.len() != 1 {
                continue;
            }
            let shape = trace.value(outputs[0]).shape;
            let mut chain = Chain::default();
            self.visit(trace, outputs[0], 0, &shape, &mut chain);
            if chain.members.len() <= 1 {
                continue;
            }
            chain.members.sort_unstable();
            for &m in &chain.members {
                if trace.nodes[m].op != Op::Broadcast {
                    self.done[m - self.first] = true;
                }
            }
            chains.push((last, chain));
        }
        if !chains.is_empty() {
            self.rebuild(trace, &chains);
        }
    }

    fn visit(&self, trace: &Trace, var: ValueId, depth: u32, shape: &Shape, chain: &mut Chain) {
        let reads = |chain: &mut Chain| {
            if !chain.inputs.contains(&var) {
                chain.inputs.push(var);
            }
        };
        let Some(n) = self.producer(var) else {
            return reads(chain);
        };
        if chain.members.contains(&n) {
            return;
        }
        let node = &trace.nodes[n];
        let joins = depth < MAX_DEPTH
            && !self.done[n - self.first]
            && node.op.fusable()
            && (!self.exits.contains(&var) || trace.value(var).shape == *shape)
            && (depth == 0
                || node.op == Op::Broadcast
                || self.consumers(var).all(|c| chain.members.contains(&c)));
        if !joins {
            return reads(chain);
        }
        chain.inputs.retain(|&v| v != var);
        if chain.inputs.len() >= MAX_ARRAYS {
            return;
        }
        chain.members.push(n);
        for &input in trace.inputs(node) {
            self.visit(trace, input, depth + 1, shape, chain);
        }
    }

    /// Replaces every chain by one operation and drops what nothing reads any more.
    fn rebuild(&self, trace: &mut Trace, chains: &[(usize, Chain)]) {
        let old = trace.nodes.split_off(self.first);
        let mut made: Vec<(Node, Vec<ValueId>, Vec<ValueId>)> = Vec::with_capacity(old.len());
        for (i, node) in old.iter().enumerate() {
            let n = i + self.first;
            match chains.iter().find(|(last, _)| *last == n) {
                Some((_, chain)) => made.push(self.chain_node(trace, &old, node, chain)),
                None => {
                    let inputs = trace.inputs(node).to_vec();
                    let outputs = trace.outputs(node).to_vec();
                    // A member whose value leaves the region is an output of its chain.
                    let moved = chains.iter().any(|(_, c)| c.members.contains(&n))
                        && outputs.iter().any(|v| self.exits.contains(v));
                    if !moved {
                        made.push((node.clone(), inputs, outputs));
                    }
                }
            }
        }
        let mut needed = self.exits.clone();
        let mut keep = vec![false; made.len()];
        for (i, (_, inputs, outputs)) in made.iter().enumerate().rev() {
            if outputs.iter().any(|v| needed.contains(v)) {
                keep[i] = true;
                needed.extend_from_slice(inputs);
            }
        }
        let first_link = old.first().map_or(trace.links.len(), |n| n.first_link as usize);
        trace.links.truncate(first_link);
        for ((mut node, inputs, outputs), keep) in made.into_iter().zip(keep) {
            if keep {
                node.first_link = trace.links.len() as u32;
                node.inputs = inputs.len() as u16;
                node.outputs = outputs.len() as u16;
                trace.links.extend(inputs);
                trace.links.extend(outputs);
                trace.nodes.push(node);
            }
        }
    }

    fn chain_node(
        &self,
        trace: &mut Trace,
        old: &[Node],
        last: &Node,
        chain: &Chain,
    ) -> (Node, Vec<ValueId>, Vec<ValueId>) {
        let members: Vec<&Node> = chain.members.iter().map(|&m| &old[m - self.first]).collect();
        let results: Vec<ValueId> = members.iter().map(|m| trace.outputs(m)[0]).collect();
        let end = trace.outputs(last)[0];
        let inputs = read_order(trace, &members, &results, end);
        let mut outputs = Vec::new();
        let mut body = Body { nodes: Vec::with_capacity(members.len()), outputs: Vec::new() };
        for (i, (member, &result)) in members.iter().zip(&results).enumerate() {
            let refer = |v: &ValueId| match results.iter().position(|r| r == v) {
                Some(m) => BodyRef::Member(m as u32),
                None => BodyRef::Input(inputs.iter().position(|x| x == v).unwrap_or(0) as u32),
            };
            let value = trace.value(result);
            body.nodes.push(BodyNode {
                op: member.op.clone(),
                inputs: trace.inputs(member).iter().map(refer).collect(),
                shape: value.shape,
                dtype: value.dtype,
            });
            if result == end || self.exits.contains(&result) {
                outputs.push(result);
                body.outputs.push(i as u32);
            }
        }
        let index = trace.add_body(body);
        (Node { op: Op::Compiled(index), ..last.clone() }, inputs, outputs)
    }
}

/// Inputs of a chain in the order MLX collects them: depth first from its last operation.
fn read_order(trace: &Trace, members: &[&Node], results: &[ValueId], end: ValueId) -> Vec<ValueId> {
    let mut order = Vec::new();
    let mut stack = vec![end];
    while let Some(var) = stack.pop() {
        match results.iter().position(|&r| r == var) {
            Some(m) => stack.extend(trace.inputs(members[m]).iter().rev()),
            None if !order.contains(&var) => order.push(var),
            None => {}
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use crate::graph::SkippedLayers;
    use crate::graph::op::Op;
    use crate::graph::params::Parameters;
    use crate::graph::tape::{Routing, Source, Tape};
    use crate::model::DType;

    /// `maximum(logaddexp(x, 0), 0.0)` reads one zero.
    #[test]
    fn equal_scalars_are_one_input() {
        let params = Parameters::default();
        let t = Tape::new(&params, Routing::default(), SkippedLayers::NONE);
        let x = t.input([2, 3].into(), DType::F32, Source::Tokens);
        let y = x.compiled(|x| x.logaddexp(0i64).maximum(0.0));
        t.set_outputs(&[y], Vec::new());
        let trace = t.finish().expect("valid calls");
        let [node] = trace.nodes() else { panic!("one fused operation, not {:?}", trace.nodes()) };
        assert!(matches!(node.op, Op::Compiled(_)));
        assert_eq!(trace.inputs(node).len(), 2);
    }
}
