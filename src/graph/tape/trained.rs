//! What a training step changes in the recording of the forward pass: tensors that are trained, adapters, and that the
//! whole step is one compiled function.

use super::{Tape, ValueId, Var};
use crate::graph::params::{ModuleId, Part};
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;

/// A low-rank adapter of a module, as values of the tape.
#[derive(Clone, Copy, Debug)]
pub struct Adapter<'t> {
    /// The first small matrix.
    pub a: Var<'t>,
    /// The second.
    pub b: Var<'t>,
    /// The magnitudes of DoRA.
    pub magnitude: Option<Var<'t>>,
    /// Factor on the product of the two.
    pub scale: f64,
}

#[derive(Clone, Copy, Debug)]
struct AdapterIds {
    a: ValueId,
    b: ValueId,
    magnitude: Option<ValueId>,
    scale: f64,
}

/// What is trained.
#[derive(Debug, Default)]
pub(super) struct Trained {
    adapters: FxHashMap<usize, AdapterIds>,
    /// Values through which no gradient passes.
    stopped: FxHashSet<ValueId>,
    /// The operations of checkpointed functions, by the first value that they make.
    checkpoints: FxHashMap<ValueId, Range<usize>>,
    /// Whether a training step is recorded.
    active: bool,
    /// Whether the gradient of fused attention is one kernel too.
    fuses_gradients: bool,
}

impl<'t> Tape<'t> {
    /// From now on a training step is recorded: compiled functions inside it have no borders of their own, and
    /// recurrences run as plain operations. `fuses_gradients` says whether the gradient of attention is one kernel.
    pub fn start_training(&self, fuses_gradients: bool) {
        self.region.set(self.region.get() + 1);
        let mut trained = self.trained.borrow_mut();
        trained.active = true;
        trained.fuses_gradients = fuses_gradients;
    }

    /// Whether the gradient of fused attention is one kernel; it takes no array as mask then.
    #[must_use]
    pub fn fuses_gradients(&self) -> bool {
        self.trained.borrow().fuses_gradients
    }

    /// Whether a training step is recorded.
    #[must_use]
    pub fn is_training(&self) -> bool {
        self.trained.borrow().active
    }

    /// Puts a trained array in the place of a tensor of the model.
    pub fn train(&self, module: ModuleId, part: Part, value: Var<'_>) {
        self.loaded.borrow_mut()[module.index()][part as usize] = value.id();
    }

    /// Gives a module an adapter.
    pub fn adapt(&self, module: ModuleId, adapter: Adapter<'_>) {
        let ids = AdapterIds {
            a: adapter.a.id(),
            b: adapter.b.id(),
            magnitude: adapter.magnitude.map(Var::id),
            scale: adapter.scale,
        };
        self.trained.borrow_mut().adapters.insert(module.index(), ids);
    }

    /// The adapter of a module, if it has one.
    #[must_use]
    pub fn adapter(&'t self, module: ModuleId) -> Option<Adapter<'t>> {
        let trained = self.trained.borrow();
        let ids = trained.adapters.get(&module.index())?;
        Some(Adapter {
            a: self.var(ids.a),
            b: self.var(ids.b),
            magnitude: ids.magnitude.map(|m| self.var(m)),
            scale: ids.scale,
        })
    }

    /// Notes the operations of a checkpointed function by the first value that it makes.
    pub(in crate::graph) fn set_checkpoint(&self, first: ValueId, operations: Range<usize>) {
        self.trained.borrow_mut().checkpoints.insert(first, operations);
    }

    /// The operations of the checkpointed function that makes a value first.
    pub(in crate::graph) fn checkpoint(&self, first: ValueId) -> Option<Range<usize>> {
        self.trained.borrow().checkpoints.get(&first).cloned()
    }

    /// Stops gradients at copies of values at which they stop.
    pub(in crate::graph) fn follow_stop(&self, from: &[ValueId], copies: &[Var<'_>]) {
        let stopped = &mut self.trained.borrow_mut().stopped;
        for (v, copy) in from.iter().zip(copies) {
            if stopped.contains(v) {
                stopped.insert(copy.id());
            }
        }
    }

    /// Whether no gradient passes through a value.
    pub(in crate::graph) fn is_stopped(&self, value: ValueId) -> bool {
        self.trained.borrow().stopped.contains(&value)
    }
}

impl Var<'_> {
    /// `mx.stop_gradient`, which is no operation once a function is compiled. Nothing else may read the value.
    pub fn stop_gradient(self) -> Self {
        self.tape.trained.borrow_mut().stopped.insert(self.id());
        self
    }
}
