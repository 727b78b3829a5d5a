//! The order in which MLX evaluates operations: `eval_impl` of `mlx/transforms.cpp`.

use super::Replay;
use super::memory::{ArrayId, NodeId};

/// Width limit of the breadth-first order.
const WIDTH: usize = 20;

/// A place in the order: an operation, or the end that waits for the outputs.
#[derive(Clone, Copy)]
enum Place {
    End,
    Node(NodeId),
}

impl Replay<'_> {
    /// Unevaluated operations that the outputs need, in the order in which they are encoded.
    pub(super) fn order(&mut self, outputs: &[ArrayId]) -> Vec<NodeId> {
        let mut remaining = self.count_degrees(outputs);
        let mut order = vec![Place::End];
        let mut later: Vec<(Place, usize)> = Vec::new();
        let mut next = 0;
        while remaining > 0 && (next < order.len() || !later.is_empty()) {
            let (place, mut i) = if next < order.len() {
                next += 1;
                (order[next - 1], 0)
            } else {
                match later.pop() {
                    Some(resumed) => resumed,
                    None => break,
                }
            };
            while let Some(a) = self.read_by(place, outputs, i) {
                let Some(node) = self.unevaluated(a) else {
                    i += 1;
                    continue;
                };
                if order.len() - next >= WIDTH {
                    later.push((place, i));
                    break;
                }
                let p = &mut self.nodes[node.index()];
                p.degree -= 1;
                if p.degree == 0 {
                    remaining -= 1;
                    order.push(Place::Node(node));
                }
                i += 1;
            }
        }
        order
            .into_iter()
            .rev()
            .filter_map(|p| match p {
                Place::Node(n) => Some(n),
                Place::End => None,
            })
            .collect()
    }

    /// Counts for every needed operation how often its outputs are read; returns how many operations there are.
    fn count_degrees(&mut self, outputs: &[ArrayId]) -> usize {
        let mut count = 0;
        let mut stack: Vec<NodeId> = Vec::with_capacity(64);
        for &a in outputs {
            self.meet(a, &mut stack, &mut count);
            while let Some(n) = stack.pop() {
                for i in self.node_inputs(n) {
                    self.meet(self.links[i], &mut stack, &mut count);
                }
            }
        }
        count
    }

    fn meet(&mut self, a: ArrayId, stack: &mut Vec<NodeId>, count: &mut usize) {
        let Some(node) = self.unevaluated(a) else { return };
        let p = &mut self.nodes[node.index()];
        p.degree += 1;
        if p.degree == 1 {
            *count += 1;
            stack.push(node);
        }
    }

    fn unevaluated(&self, a: ArrayId) -> Option<NodeId> {
        let maker = self.users[a.index()].maker;
        (maker != NodeId::NONE).then_some(maker)
    }

    fn read_by(&self, place: Place, outputs: &[ArrayId], i: usize) -> Option<ArrayId> {
        match place {
            Place::End => outputs.get(i).copied(),
            Place::Node(n) => {
                let range = self.node_inputs(n);
                (range.start + i < range.end).then(|| self.links[range.start + i])
            }
        }
    }
}
