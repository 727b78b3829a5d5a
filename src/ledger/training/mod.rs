//! Memory and work of fine-tuning: the training step of `mlx_lm.lora`, replayed under MLX's rules.
//!
//! Two updates are replayed, because the first one makes the optimizer's state and the second one finds it. There is no
//! constant for memory.

mod outline;
mod work;

pub use outline::{PeakPart, PeakPlace, StepPhase};

use super::replay::{ArrayId, Gpu, Purpose, Replay};
use crate::graph::Graph;
use crate::graph::shape::Shape;
use crate::graph::tape::{Source, TraceError, Value};
use crate::graph::training::{
    FineTuning, PlanError, Role, StateUse, StepForm, TrainingPlan, TrainingStep,
};
use crate::model::DType;
use outline::TrainingOutline;
use rustc_hash::FxHashMap;
use work::IterationWork;

/// Why a fine-tuning run has no figures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainingError {
    /// mlx-lm refuses it.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The model cannot run or cannot be differentiated.
    #[error("mlx_lm.lora cannot train this model: {}", .0.0)]
    Step(TraceError),
}

/// What a fine-tuning run takes.
#[derive(Clone, Debug)]
pub struct TrainingLedger {
    /// Parameters that are trained.
    pub trainable_parameters: u64,
    /// Bytes of the arrays that are trained.
    pub trainable_bytes: u64,
    /// Bytes that the optimizer keeps, in the types of the trained arrays.
    pub optimizer_bytes: u64,
    /// Most active memory: what `mx.get_peak_memory()` returns.
    pub peak_bytes: u64,
    /// Weights after loading, page rounded.
    pub weights_bytes: u64,
    /// What it consists of; what is nothing is left out.
    pub parts: Vec<PeakPart>,
    /// Where in the step it lies.
    pub place: PeakPlace,
    /// The largest single buffer.
    pub largest_buffer_bytes: u64,
    /// Floating-point operations of one iteration with an update.
    pub flops: u64,
    /// Kernels of one iteration with an update.
    pub dispatches: u64,
    /// Bytes of weights that the matrix products of an iteration read.
    pub weight_bytes_read: u64,
}

/// Batches of an accumulation that are replayed: the first, one in the middle, the last.
const ACCUMULATED: u32 = 3;
/// Updates that are replayed.
const UPDATES: u32 = 2;

/// Replays a fine-tuning run on a GPU.
///
/// # Errors
/// When mlx-lm refuses the run or cannot differentiate the model.
pub fn replay(
    graph: &Graph,
    options: &FineTuning,
    gpu: Gpu,
) -> Result<TrainingLedger, TrainingError> {
    let plan = graph.training_plan(options)?;
    let mut process = Process::new(graph, &plan, options, gpu);
    let steps = options.accumulation.clamp(1, ACCUMULATED);
    let mut work = IterationWork::default();
    let mut place = PeakPlace { phase: StepPhase::Loaded, layer: None };
    for update in 0..UPDATES {
        for i in 1..=steps {
            let form = StepForm { accumulated: i > 1, update: i == steps, later: update > 0 };
            let step = graph.training_step(&plan, options, form).map_err(TrainingError::Step)?;
            let before = process.replay.peak_at();
            let outline = TrainingOutline::of(&step);
            work = process.iterate(step, &outline);
            if let Some((_, v)) = process.replay.peak_at().filter(|at| Some(*at) != before) {
                place = outline.place(v);
            }
        }
    }
    Ok(TrainingLedger {
        trainable_parameters: plan.parameters(),
        trainable_bytes: plan.bytes(),
        optimizer_bytes: plan.optimizer_bytes(options.optimizer),
        peak_bytes: process.replay.peak_bytes(),
        weights_bytes: process.weights_bytes,
        parts: parts(&process.replay),
        place,
        largest_buffer_bytes: process.replay.largest_buffer(),
        flops: work.flops,
        dispatches: work.dispatches,
        weight_bytes_read: work.weight_bytes,
    })
}

fn parts(replay: &Replay<'_>) -> Vec<PeakPart> {
    let all = Purpose::ALL.map(|part| PeakPart { part, bytes: replay.at_peak(part) });
    all.into_iter().filter(|p| p.bytes > 0).collect()
}

/// A process that runs `mlx_lm.lora`.
struct Process<'a> {
    replay: Replay<'a>,
    options: &'a FineTuning,
    /// The arrays that Python holds, by slot of the state.
    held: FxHashMap<u32, ArrayId>,
    /// Loss, tokens, and gradients that are added up.
    results: Vec<ArrayId>,
    batch: Option<[ArrayId; 2]>,
    trained: u32,
    weights_bytes: u64,
}

impl<'a> Process<'a> {
    fn new(graph: &Graph, plan: &TrainingPlan, options: &'a FineTuning, gpu: Gpu) -> Self {
        let mut replay = Replay::new(graph, gpu);
        replay.follow_purposes();
        let weights_bytes = replay.active_bytes();
        let mut held = FxHashMap::default();
        for (slot, array) in plan.arrays.iter().enumerate() {
            if let Role::Tensor(part) = array.role {
                replay.release_tensor(array.module, part);
            }
            let slot = slot as u32;
            let a = hold(&mut replay, slot, array.shape, array.dtype);
            let adapter = array.is_adapter();
            replay.mark(a, if adapter { Purpose::Adapters } else { Purpose::Weights });
            held.insert(slot, a);
        }
        let trained = plan.arrays.len() as u32;
        Self { replay, options, held, results: Vec::new(), batch: None, trained, weights_bytes }
    }

    fn iterate(&mut self, step: TrainingStep, outline: &TrainingOutline) -> IterationWork {
        let o = self.options;
        let tokens = Shape::new(&[o.batch, o.tokens + 1]);
        let batch = [
            hold(&mut self.replay, u32::MAX, tokens, DType::I32),
            hold(&mut self.replay, u32::MAX, Shape::new(&[o.batch, 2]), DType::I32),
        ];
        for a in self.batch.replace(batch).into_iter().flatten() {
            self.replay.release(a);
        }
        let mut given: Vec<(u32, ArrayId)> = Vec::with_capacity(step.state.len());
        for (slot, array) in (0..).zip(&step.state) {
            match array.use_ {
                StateUse::Lengths => given.push((slot, batch[1])),
                StateUse::Gradient => {
                    let first = slot - (step.state.len() as u32 - self.trained);
                    given.extend(self.results.get(2 + first as usize).map(|&a| (slot, a)));
                }
                StateUse::Trained { .. } => given.extend(self.held.get(&slot).map(|&a| (slot, a))),
                StateUse::Optimizer | StateUse::Random => {
                    // Scalars exist from the start, arrays of the optimizer since the first update.
                    let early = array.shape.rank() == 0 || array.use_ == StateUse::Random;
                    if early && !self.held.contains_key(&slot) {
                        let a = hold(&mut self.replay, slot, array.shape, array.dtype);
                        self.replay.mark(a, Purpose::Optimizer);
                        self.held.insert(slot, a);
                    }
                    given.extend(self.held.get(&slot).map(|&a| (slot, a)));
                }
            }
        }
        let mut work = IterationWork::of(&step.trace);
        let before = self.replay.kernels();
        self.replay.expect(outline.purposes.clone());
        let (results, state) = self.replay.load(step.trace, batch[0], &given);
        for a in self.held.drain().map(|(_, a)| a).chain(self.results.drain(..)) {
            self.replay.release(a);
        }
        let outputs: Vec<ArrayId> =
            state.iter().map(|(_, a)| *a).chain(results.iter().copied()).collect();
        self.replay.evaluate(&outputs, true);
        self.held.extend(state);
        self.results = results;
        work.dispatches = self.replay.kernels() - before;
        work
    }
}

fn hold(replay: &mut Replay<'_>, slot: u32, shape: Shape, dtype: DType) -> ArrayId {
    replay.held(Value { shape, dtype, source: Source::Cache(slot) })
}
