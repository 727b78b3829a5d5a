//! Dropping operations that nothing evaluates.

use super::{Trace, ValueId};

impl Trace {
    /// The trace without operations that no result and no cache array depends on, as when Python lets go of them:
    /// in prefill, for example, the output of the last layer is never computed.
    #[must_use]
    pub fn pruned(mut self) -> Self {
        let mut needed = vec![false; self.values.len()];
        self.roots().collect::<Vec<ValueId>>().into_iter().for_each(|v| needed[v.index()] = true);
        let mut keep = vec![false; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if self.outputs(node).iter().any(|v| needed[v.index()]) {
                keep[i] = true;
                self.inputs(node).iter().for_each(|v| needed[v.index()] = true);
            }
        }
        let mut keep = keep.into_iter();
        self.nodes.retain(|_| keep.next().unwrap_or(true));
        self
    }
}
