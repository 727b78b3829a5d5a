//! The training step of `mlx_lm.lora` as a reading of the graph: forward pass, loss, backward pass and update, as one
//! compiled function.
//!
//! A family records its forward pass as for generation, without a cache. The adapters stand in the layers of
//! `graph::nn`; the gradient of every operation stands in one match; what `mx.compile` makes of the whole follows its
//! rules. So a family needs nothing for being trained.

mod checkpoint;
mod elementwise;
mod fuse;
mod gradient;
mod kernels;
mod loss;
mod optimizer;
mod options;
mod plan;
mod products;
mod recorded;
mod simplify;
mod views;
mod vjp;

pub use options::{FineTuneType, FineTuning, Loss, Optimizer, TrainedAttention, padded_tokens};
pub use plan::{PlanError, Role, TrainedArray, TrainingPlan, adaptable_paths, skipped_keys};

use super::Graph;
use super::cache::Cache;
use super::shape::Shape;
use super::skipped::SkippedLayers;
use super::tape::{Adapter, KernelChoice, Routing, Source, Tape, Trace, TraceError, ValueId, Var};
use crate::model::DType;
use rustc_hash::FxHashMap;
use std::sync::LazyLock;

/// An array that lives from step to step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateArray {
    /// What it is for.
    pub use_: StateUse,
    /// Dimensions.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
}

/// What an array of the training's state is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateUse {
    /// A trained array.
    Trained {
        /// Whether it belongs to an adapter.
        adapter: bool,
    },
    /// An array of the optimizer, or a scalar of it.
    Optimizer,
    /// The state of the random numbers.
    Random,
    /// First and last token of every sample that counts.
    Lengths,
    /// A gradient added up over batches.
    Gradient,
}

/// What a step finds and does: the first update finds no optimizer state, and with accumulation only some steps update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StepForm {
    /// Whether gradients of earlier batches are added.
    pub accumulated: bool,
    /// Whether the parameters are updated.
    pub update: bool,
    /// Whether the optimizer has been used before.
    pub later: bool,
}

/// A recorded training step. The arrays of its state are the slots of the trace's cache, by their place in `state`.
#[derive(Debug)]
pub struct TrainingStep {
    /// The operations.
    pub trace: Trace,
    /// All arrays of the state, whether the step reads and makes them or not.
    pub state: Vec<StateArray>,
    /// The values that are gradients of trained arrays.
    pub gradients: Vec<ValueId>,
    /// Values of the forward pass: those that the loss depends on.
    pub forward: Vec<bool>,
    /// Tokens of a sequence.
    pub tokens: u32,
    /// Width of the logits.
    pub vocabulary: u32,
}

/// Attention as plain operations, as always where gradients are recorded.
fn unfused() -> Routing {
    static NO_KERNELS: LazyLock<KernelChoice> = LazyLock::new(KernelChoice::default);
    Routing::new(&NO_KERNELS)
}

/// The slots of a training's state, in the order in which mlx-lm holds it.
struct Slots {
    all: Vec<StateArray>,
    /// First slot of the optimizer's arrays of each trained array.
    states: Vec<std::ops::Range<u32>>,
    step: u32,
    rate: u32,
    random: u32,
    lengths: u32,
    gradients: u32,
}

impl Slots {
    fn new(plan: &TrainingPlan, options: &FineTuning) -> Self {
        let mut all: Vec<StateArray> = Vec::new();
        let mut add = |use_, shape, dtype| {
            all.push(StateArray { use_, shape, dtype });
            all.len() as u32 - 1
        };
        for a in &plan.arrays {
            add(StateUse::Trained { adapter: a.is_adapter() }, a.shape, a.dtype);
        }
        let step = add(StateUse::Optimizer, Shape::SCALAR, DType::I64);
        let rate = add(StateUse::Optimizer, Shape::SCALAR, DType::F32);
        let mut states = Vec::with_capacity(plan.arrays.len());
        for a in &plan.arrays {
            let shapes = plan::state_shapes(options.optimizer, a);
            let ids: Vec<u32> =
                shapes.into_iter().map(|(s, d)| add(StateUse::Optimizer, s, d)).collect();
            states.push(ids[0]..ids[0] + ids.len() as u32);
        }
        let random = add(StateUse::Random, Shape::new(&[2]), DType::U32);
        let lengths = add(StateUse::Lengths, Shape::new(&[options.batch, 2]), DType::I32);
        let gradients = lengths + 1;
        for a in &plan.arrays {
            add(StateUse::Gradient, a.shape, a.dtype);
        }
        Self { all, states, step, rate, random, lengths, gradients }
    }
}

impl Graph {
    /// What `mlx_lm.lora` trains of this model.
    ///
    /// # Errors
    /// When mlx-lm refuses.
    pub fn training_plan(&self, options: &FineTuning) -> Result<TrainingPlan, PlanError> {
        TrainingPlan::new(&self.params, options)
    }

    /// Records one step of a training run.
    ///
    /// # Errors
    /// When mlx-lm could not run or not differentiate this model.
    pub fn training_step(
        &self,
        plan: &TrainingPlan,
        options: &FineTuning,
        form: StepForm,
    ) -> Result<TrainingStep, TraceError> {
        let slots = Slots::new(plan, options);
        let routing = match options.attention {
            TrainedAttention::Unfused => unfused(),
            TrainedAttention::FusedForward | TrainedAttention::Fused => Routing::default(),
        };
        let t = Tape::new(&self.params, routing, SkippedLayers::NONE);
        t.start_training(options.attention == TrainedAttention::Fused);
        t.set_first_call(true);
        let step = Recording { t: &t, graph: self, plan, options, slots: &slots }.run(form);
        let mut trace = t.finish()?;
        let StepValues { results, state, gradients, vocabulary } = step;
        trace.results = results;
        trace.cache = state;
        let roots: Vec<ValueId> = trace.roots().collect();
        simplify::in_order(&mut trace, &roots);
        simplify::merge_constants(&mut trace);
        simplify::merge_equal(&mut trace, &roots);
        simplify::in_order(&mut trace, &roots);
        let forward = ancestors(&trace, trace.results[0]);
        fuse::fuse(&mut trace, &roots);
        simplify::in_order(&mut trace, &roots);
        let (tokens, state) = (options.tokens, slots.all);
        Ok(TrainingStep { trace, state, gradients, forward, tokens, vocabulary })
    }
}

/// Which values a value is computed from, itself included.
fn ancestors(trace: &Trace, of: ValueId) -> Vec<bool> {
    let mut found = vec![false; trace.values().len()];
    found[of.index()] = true;
    for node in trace.nodes().iter().rev() {
        if trace.outputs(node).iter().any(|v| found[v.index()]) {
            trace.inputs(node).iter().for_each(|v| found[v.index()] = true);
        }
    }
    found
}

struct Recording<'a, 't> {
    t: &'t Tape<'t>,
    graph: &'a Graph,
    plan: &'a TrainingPlan,
    options: &'a FineTuning,
    slots: &'a Slots,
}

struct StepValues {
    results: Vec<ValueId>,
    state: Vec<(u32, ValueId)>,
    gradients: Vec<ValueId>,
    vocabulary: u32,
}

impl<'t> Recording<'_, 't> {
    fn input(&self, slot: u32) -> Var<'t> {
        let a = self.slots.all[slot as usize];
        self.t.input(a.shape, a.dtype, Source::Cache(slot))
    }

    /// Puts the trained arrays in their places.
    fn install(&self, trained: &[Var<'t>]) {
        let mut adapters: FxHashMap<usize, [Option<Var<'t>>; 3]> = FxHashMap::default();
        for (array, &value) in self.plan.arrays.iter().zip(trained) {
            let part = match array.role {
                Role::Tensor(part) => {
                    self.t.train(array.module, part, value);
                    continue;
                }
                Role::A => 0,
                Role::B => 1,
                Role::Magnitude => 2,
            };
            let known = adapters.entry(array.module.index()).or_default();
            known[part] = Some(value);
            if let [Some(a), Some(b), magnitude] = known {
                let adapter =
                    Adapter { a: *a, b: *b, magnitude: *magnitude, scale: self.plan.scale };
                self.t.adapt(array.module, adapter);
            }
        }
    }

    fn run(&self, form: StepForm) -> StepValues {
        let (t, o, slots) = (self.t, self.options, self.slots);
        let batch = t.input(Shape::new(&[o.batch, o.tokens + 1]), DType::I32, Source::Tokens);
        let lengths = self.input(slots.lengths);
        let trained: Vec<Var<'t>> =
            (0..self.plan.arrays.len()).map(|i| self.input(i as u32)).collect();
        self.install(&trained);
        let tokens = batch.slice(1, 0, o.tokens);
        let targets = batch.slice(1, 1, o.tokens + 1);
        let mut caches: Vec<Cache> = self.graph.built.caches.iter().map(Cache::absent).collect();
        let logits = self.graph.built.network.forward(tokens, &mut caches);
        if o.checkpoint {
            checkpoint::insert(t, trained.len() as u32);
        }
        let (loss, count) = loss::mean(logits, targets, lengths, o.loss);
        let one = t.scalar(1.0, DType::F32);
        let mut gradients = vjp::gradients_of(t, &[(loss, one)], &trained);
        if form.accumulated {
            for (i, g) in gradients.iter_mut().enumerate() {
                *g = *g + self.input(slots.gradients + i as u32);
            }
        }
        let mut results = vec![loss.id(), count.id()];
        let ids: Vec<ValueId> = gradients.iter().map(|g| g.id()).collect();
        let mut state: Vec<(u32, ValueId)> = Vec::new();
        if form.update {
            self.update(&trained, &gradients, form, &mut state);
        } else {
            results.extend(&ids);
            state.extend(trained.iter().zip(0..).map(|(v, slot)| (slot, v.id())));
            let held = [slots.step, slots.rate].into_iter();
            let kept = slots.states.iter().cloned().flatten().filter(|_| form.later);
            state.extend(held.chain(kept).map(|slot| (slot, self.input(slot).id())));
        }
        state.push((slots.random, self.input(slots.random).id()));
        StepValues { results, state, gradients: ids, vocabulary: logits.dim(-1) }
    }

    /// The optimizer's update of every trained array.
    fn update(
        &self,
        trained: &[Var<'t>],
        gradients: &[Var<'t>],
        form: StepForm,
        state: &mut Vec<(u32, ValueId)>,
    ) {
        let slots = self.slots;
        let step = self.input(slots.step) + 1i64;
        let learning_rate = self.input(slots.rate);
        let scalars = optimizer::Scalars { step, learning_rate };
        let mut kept: Vec<(u32, ValueId)> = vec![(slots.step, step.id())];
        kept.push((slots.rate, learning_rate.id()));
        for (i, (&p, &g)) in trained.iter().zip(gradients).enumerate() {
            let g = match self.options.accumulation {
                0 | 1 => g,
                n => g / i64::from(n),
            };
            let range = slots.states[i].clone();
            let before = if form.later {
                range.clone().map(|slot| self.input(slot)).collect()
            } else {
                let shapes = plan::state_shapes(self.options.optimizer, &self.plan.arrays[i]);
                optimizer::fresh(p, &shapes)
            };
            let new = optimizer::apply(self.options.optimizer, (p, g), &before, scalars);
            state.push((i as u32, new.parameter.id()));
            kept.extend(range.zip(new.state.iter().map(|v| v.id())));
        }
        state.extend(kept);
    }
}
