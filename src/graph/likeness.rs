//! What is read off one whole decode step and remembered: which layers do the same, and a number that graphs share
//! which do the same.

use super::first_calls::FirstCalls;
use super::pattern::LayerPlan;
use super::tape::{Routing, Trace, TraceError};
use super::{Call, Graph, SkippedLayers};
use rustc_hash::FxHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

impl Graph {
    /// Says that activations are IEEE half precision, or not, whatever the type of the configuration: conversions on
    /// the hub differ from it. Sizes are the same in both.
    #[must_use]
    pub fn with_fp16_activations(mut self, fp16: Option<bool>) -> Self {
        if self.fp16_activations != fp16 {
            self.fp16_activations = fp16;
            self.forget();
        }
        self
    }

    /// Whether activations are IEEE half precision, where it was said.
    #[must_use]
    pub const fn fp16_activations(&self) -> Option<bool> {
        self.fp16_activations
    }

    /// A number that is the same for graphs that do the same: equal tensors, caches and operations of a decode step.
    /// Models that differ only in their weights (fine-tunes, distillations) share it.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn fingerprint(&self) -> Result<u64, TraceError> {
        self.read(&self.fingerprint).clone()
    }

    /// Which layers do the same.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn layer_plan(&self) -> Result<&LayerPlan, TraceError> {
        self.read(&self.layer_plan).as_deref().map_err(Clone::clone)
    }

    /// Takes over which layers do the same from a graph of the same model in another format, provided that both formats
    /// pack the matrices of all layers alike.
    #[must_use]
    pub fn with_layer_plan_of(mut self, other: &Self) -> Self {
        self.layer_plan.clone_from(&other.layer_plan);
        self
    }

    /// The layers that a call may skip whose operations are only counted ([`LayerPlan::counted`]).
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn skipped_for_counts(&self) -> Result<SkippedLayers, TraceError> {
        Ok(self.layer_plan()?.counted())
    }

    pub(super) fn forget(&mut self) {
        self.layer_plan = OnceLock::new();
        self.fingerprint = OnceLock::new();
        self.first_calls = FirstCalls::default();
    }

    /// What is read off a whole decode step: one trace serves both.
    pub(super) fn read<'a, T>(
        &'a self,
        wanted: &'a OnceLock<Result<T, TraceError>>,
    ) -> &'a Result<T, TraceError> {
        if wanted.get().is_none() {
            let trace = self.trace(&mut self.make_cache(), Call::decode(), Routing::default());
            let print = trace.as_ref().map(|t| self.print_of(t)).map_err(Clone::clone);
            let _ = self.fingerprint.set(print);
            let _ = self.layer_plan.set(trace.map(|t| Arc::new(self.plan_of(&t))));
        }
        wanted.wait()
    }

    fn plan_of(&self, trace: &Trace) -> LayerPlan {
        LayerPlan::of(trace, &self.params, self.built.network.layers(), &self.built.caches)
    }

    fn print_of(&self, trace: &Trace) -> u64 {
        let mut h = FxHasher::default();
        for module in self.params.modules() {
            (module.kind, module.packing, module.dtype).hash(&mut h);
            (module.shape, module.bias).hash(&mut h);
        }
        for node in trace.nodes() {
            std::mem::discriminant(&node.op).hash(&mut h);
            for &v in trace.outputs(node) {
                (trace.value(v).shape, trace.value(v).dtype).hash(&mut h);
            }
        }
        (self.model_type(), self.fp16_activations).hash(&mut h);
        (&self.built.caches, self.built.experts).hash(&mut h);
        h.finish()
    }
}
