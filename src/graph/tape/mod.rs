//! Recording the operations of one model call.
//!
//! A family's forward pass is ordinary code over values ([`Var`]): it adds them, calls `matmul`, `rms_norm`,
//! `attention` … on them, and their [`Tape`] records the primitives that MLX would build for the same calls, with shapes and types. The finished
//! [`Trace`] is what sizes, traffic, peak memory and execution are read off.
//!
//! The methods stand in themed files beside this one and follow `mlx/ops.cpp` and `mlx/fast.cpp` of MLX 0.32.
//! A call that MLX would refuse (shapes that do not fit) records an error; the trace then fails as a whole.

mod attention;
mod compile;
pub mod elementwise;
#[cfg(test)]
pub(crate) mod every;
mod indexing;
pub mod linalg;
mod prune;
mod reduce;
mod routing;
mod steps;
mod tables;
mod trained;
mod value;
mod views;

pub use attention::Mask;
pub use compile::{Body, BodyNode, BodyRef, Results};
pub use elementwise::Operand;
pub use indexing::concat;
pub use routing::{KernelChoice, Masks, PromptKernel, Routing, VectorKernel};
pub(super) use steps::TraceStep;
pub use tables::{Derived, FrequencyTable};
pub use trained::Adapter;
pub use value::Var;

use super::op::Op;
use super::params::{ModuleId, Parameters, Part};
use super::shape::Shape;
use super::skipped::SkippedLayers;
use crate::model::DType;
use std::cell::{Cell, RefCell};

/// A value of a trace: an input or the output of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

impl ValueId {
    /// Position among the values of the trace.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Output of an operation.
    Node,
    /// A tensor of the model.
    Param(ModuleId, Part),
    /// An array of the cache; its slot, counted over all layers.
    Cache(u32),
    /// A table that exists before the first token; index into [`Trace::tables`].
    Table(u32),
    /// A vector that the first call has derived from tensors; index into [`Trace::derived`].
    Derived(u32),
    /// Nothing: the recording has failed.
    Invalid,
    /// The token ids.
    Tokens,
    /// Whole numbers made on the host, as positions of tokens are in some models; index into [`Trace::integers`].
    Integers(u32),
    /// A constant, usually a scalar; index into [`Trace::constants`].
    Constant(u32),
}

/// Shape, type and origin of a value.
#[derive(Clone, Copy, Debug)]
pub struct Value {
    /// Dimensions.
    pub shape: Shape,
    /// Element type.
    pub dtype: DType,
    /// Origin.
    pub source: Source,
}

impl Value {
    /// Bytes of the value when stored densely.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shape.elements() * self.dtype.bytes()
    }
}

/// Part of the model that an operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Everything before the first layer.
    Embed,
    /// A layer, counted from 0.
    Layer(u16),
    /// Final norm, output head and sampling.
    Head,
}

/// One recorded operation. Its inputs and outputs are read through [`Trace::inputs`] and [`Trace::outputs`].
#[derive(Clone, Debug)]
pub struct Node {
    /// What is done.
    pub op: Op,
    /// Part of the model.
    pub stage: Stage,
    /// Whether its output is a matrix of attention scores or a mask.
    pub scores: bool,
    first_link: u32,
    inputs: u16,
    outputs: u16,
}

/// A call that MLX would refuse, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this model cannot run: {0}")]
pub struct TraceError(pub String);

/// Everything recorded of one model call.
#[derive(Debug, Default)]
pub struct Trace {
    pub(super) values: Vec<Value>,
    pub(super) nodes: Vec<Node>,
    pub(super) links: Vec<ValueId>,
    pub(super) bodies: Vec<Body>,
    pub(super) constants: Vec<(f64, DType)>,
    pub(super) tables: Vec<FrequencyTable>,
    pub(super) integers: Vec<Vec<i64>>,
    pub(super) derived: Vec<Derived>,
    /// What the call returns: the next token and the log-probabilities, or nothing in prefill.
    pub results: Vec<ValueId>,
    /// Cache slots and the values they hold after the call.
    pub cache: Vec<(u32, ValueId)>,
    /// Sizes of the heads of queries and values of every attention, each once.
    pub heads: Vec<[u32; 2]>,
    /// Whether the model reads values back and decides by them what to run next, so that this trace stands for one
    /// of many courses and its results mean nothing.
    pub host_decision: bool,
}

/// The allocations of a trace that is no longer needed, for the next one: a planner traces thousands of calls, and
/// giving their megabyte back to the system each time would cost as much as the tracing.
#[derive(Default)]
struct Spare {
    values: Vec<Value>,
    nodes: Vec<Node>,
    links: Vec<ValueId>,
}

thread_local! {
    static SPARE: RefCell<Vec<Spare>> = const { RefCell::new(Vec::new()) };
}

/// Traces whose allocations are kept; a simulation holds a few at a time.
const SPARES: usize = 8;

impl Drop for Trace {
    fn drop(&mut self) {
        let mut spare = Spare {
            values: std::mem::take(&mut self.values),
            nodes: std::mem::take(&mut self.nodes),
            links: std::mem::take(&mut self.links),
        };
        spare.values.clear();
        spare.nodes.clear();
        spare.links.clear();
        // At the end of a thread the store may be gone already; then the allocations are freed as usual.
        let _ = SPARE.try_with(|all| {
            let mut all = all.borrow_mut();
            if all.len() < SPARES {
                all.push(spare);
            }
        });
    }
}

impl Trace {
    /// An empty trace, in the allocations of an earlier one where there is one.
    fn new() -> Self {
        let spare = SPARE.with(|all| all.borrow_mut().pop()).unwrap_or_default();
        let mut trace = Self::default();
        (trace.values, trace.nodes, trace.links) = (spare.values, spare.nodes, spare.links);
        trace
    }

    /// All operations in the order of the calls.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Inputs of an operation.
    #[must_use]
    pub fn inputs(&self, node: &Node) -> &[ValueId] {
        let first = node.first_link as usize;
        &self.links[first..first + usize::from(node.inputs)]
    }

    /// Outputs of an operation.
    #[must_use]
    pub fn outputs(&self, node: &Node) -> &[ValueId] {
        let first = node.first_link as usize + usize::from(node.inputs);
        &self.links[first..first + usize::from(node.outputs)]
    }

    /// Shape, type and origin of a value.
    #[must_use]
    pub fn value(&self, var: ValueId) -> &Value {
        &self.values[var.index()]
    }

    /// All values.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Constant scalars: value and type.
    #[must_use]
    pub fn constants(&self) -> &[(f64, DType)] {
        &self.constants
    }

    /// Frequency tables.
    #[must_use]
    pub fn tables(&self) -> &[FrequencyTable] {
        &self.tables
    }

    /// Arrays of whole numbers made on the host.
    #[must_use]
    pub fn integers(&self) -> &[Vec<i64>] {
        &self.integers
    }

    /// Vectors that the first call has derived from tensors.
    #[must_use]
    pub fn derived(&self) -> &[Derived] {
        &self.derived
    }

    /// Body of a [`Op::Compiled`] operation.
    #[must_use]
    pub fn body(&self, index: u32) -> &Body {
        &self.bodies[index as usize]
    }

    /// MLX's name of an operation, with the members of a fused chain: `CompiledSigmoidMultiplyMultiply`.
    #[must_use]
    pub fn name(&self, node: &Node) -> String {
        match &node.op {
            Op::Compiled(i) => self.body(*i).name(),
            op => op.name().to_owned(),
        }
    }

    /// Everything that is evaluated: the results, then the cache.
    pub fn roots(&self) -> impl DoubleEndedIterator<Item = ValueId> + '_ {
        self.results.iter().copied().chain(self.cache.iter().map(|&(_, v)| v))
    }
}

/// Records the operations of one model call.
///
/// Its values ([`Var`]) know it and record what is done with them, so that calls can be nested as in Python:
/// `x + self.mlp.forward(self.norm.forward(x))`. Rust evaluates operands and arguments from left to right, as Python
/// does, and so the order of the recorded operations is the same.
#[derive(Debug)]
pub struct Tape<'p> {
    pub(super) trace: RefCell<Trace>,
    params: &'p Parameters,
    routing: Routing,
    skipped: SkippedLayers,
    stage: Cell<Stage>,
    /// Whether the model has not been called before.
    first_call: Cell<bool>,
    /// Depth of nested `mx.compile` regions.
    region: Cell<u32>,
    /// Depth of nested [`Tape::scores`] calls.
    scores: Cell<u32>,
    error: RefCell<Option<String>>,
    /// What a training step trains.
    trained: RefCell<trained::Trained>,
    /// The value of every tensor used so far, by module and part.
    loaded: RefCell<Vec<[ValueId; 4]>>,
}

const NOT_LOADED: ValueId = ValueId(u32::MAX);

impl<'t> Tape<'t> {
    /// An empty tape over the tensors of a model.
    #[must_use]
    pub fn new(params: &'t Parameters, routing: Routing, skipped: SkippedLayers) -> Self {
        let expected = if skipped.is_empty() { params.modules().len() * 8 } else { 256 };
        let mut trace = Trace::new();
        trace.values.reserve(2 * expected);
        trace.nodes.reserve(expected);
        trace.links.reserve(4 * expected);
        Self {
            trace: RefCell::new(trace),
            params,
            routing,
            skipped,
            stage: Cell::new(Stage::Embed),
            first_call: Cell::new(false),
            region: Cell::new(0),
            scores: Cell::new(0),
            error: RefCell::new(None),
            trained: RefCell::default(),
            loaded: RefCell::new(vec![[NOT_LOADED; 4]; params.modules().len()]),
        }
    }

    /// The tensors of the model.
    #[must_use]
    pub fn params(&self) -> &'t Parameters {
        self.params
    }

    /// Says whether the model has not been called before, so that vectors it keeps must be computed.
    pub fn set_first_call(&self, first: bool) {
        self.first_call.set(first);
    }

    /// Whether the model has not been called before.
    #[must_use]
    pub fn is_first_call(&self) -> bool {
        self.first_call.get()
    }

    /// Notes the sizes of the heads of an attention.
    fn note_heads(&self, heads: [u32; 2]) {
        let known = &mut self.trace.borrow_mut().heads;
        if !known.contains(&heads) {
            known.push(heads);
        }
    }

    /// Says that what follows depends on values that the model reads back.
    pub fn decide_on_host(&self) {
        self.trace.borrow_mut().host_decision = true;
    }

    /// Later operations belong to `stage`.
    pub fn set_stage(&self, stage: Stage) {
        self.stage.set(stage);
    }

    /// Whether the call leaves out layer `index`.
    #[must_use]
    pub fn skips(&self, index: usize) -> bool {
        self.skipped.skips(index)
    }

    /// Whether the call leaves out the layer of a cache.
    #[must_use]
    pub fn skips_cache(&self, index: usize) -> bool {
        self.skipped.skips_cache(index)
    }

    /// Later operations belong to layer `index`.
    pub fn layer(&self, index: usize) {
        self.set_stage(Stage::Layer(u16::try_from(index).unwrap_or(u16::MAX)));
    }

    /// Marks what `record` records as attention scores, so that their memory can be told apart.
    pub fn scores<T>(&self, record: impl FnOnce() -> T) -> T {
        self.scores.set(self.scores.get() + 1);
        let out = record();
        self.scores.set(self.scores.get() - 1);
        out
    }

    /// Records that the model cannot run. The first reason is kept.
    pub fn fail(&'t self, reason: impl Into<String>) -> Var<'t> {
        self.error.borrow_mut().get_or_insert_with(|| reason.into());
        self.value(Shape::SCALAR, DType::F32, Source::Invalid)
    }

    /// The trace, once the outputs are set.
    ///
    /// # Errors
    /// When a recorded call was invalid.
    pub fn finish(self) -> Result<Trace, TraceError> {
        match self.error.into_inner() {
            None => Ok(self.trace.into_inner()),
            Some(reason) => Err(TraceError(reason)),
        }
    }

    /// Sets what is evaluated: results, and the arrays that the cache slots hold now.
    pub fn set_outputs(&self, results: &[Var<'_>], cache: Vec<(u32, ValueId)>) {
        let mut trace = self.trace.borrow_mut();
        trace.results = results.iter().map(|v| v.id()).collect();
        trace.cache = cache;
    }

    pub(super) fn value(&'t self, shape: Shape, dtype: DType, source: Source) -> Var<'t> {
        let values = &mut self.trace.borrow_mut().values;
        let id = ValueId(u32::try_from(values.len()).unwrap_or(u32::MAX));
        values.push(Value { shape, dtype, source });
        Var::new(self, id)
    }

    /// The value with this number.
    #[must_use]
    pub const fn var(&'t self, id: ValueId) -> Var<'t> {
        Var::new(self, id)
    }

    /// An input of the call: tokens, a table, or an array of the cache.
    pub fn input(&'t self, shape: Shape, dtype: DType, source: Source) -> Var<'t> {
        self.value(shape, dtype, source)
    }

    /// A tensor of the model.
    pub fn param(&'t self, module: ModuleId, part: Part) -> Var<'t> {
        let slot = self.loaded.borrow()[module.index()][part as usize];
        if slot != NOT_LOADED {
            return self.var(slot);
        }
        let Some((shape, dtype)) = self.params.tensor(module, part) else {
            return self.fail(format!("{} has no {part:?}", self.params.module(module).path));
        };
        let var = self.value(shape, dtype, Source::Param(module, part));
        self.loaded.borrow_mut()[module.index()][part as usize] = var.id();
        var
    }

    /// A tensor of the model in another type: converted by an earlier call of a model that replaces its weights.
    pub fn param_as(&'t self, module: ModuleId, part: Part, dtype: DType) -> Var<'t> {
        let Some((shape, _)) = self.params.tensor(module, part) else {
            return self.fail(format!("{} has no {part:?}", self.params.module(module).path));
        };
        self.value(shape, dtype, Source::Param(module, part))
    }

    /// A scalar constant.
    pub fn scalar(&'t self, value: f64, dtype: DType) -> Var<'t> {
        self.constant(Shape::SCALAR, value, dtype)
    }

    /// An array whose elements are all the same constant; like a scalar it costs no operation.
    pub fn constant(&'t self, shape: Shape, value: f64, dtype: DType) -> Var<'t> {
        let index = push_new(&mut self.trace.borrow_mut().constants, (value, dtype));
        self.value(shape, dtype, Source::Constant(index))
    }

    /// `mx.array` of a list of whole numbers.
    pub fn integers(&'t self, values: Vec<i64>, dtype: DType) -> Var<'t> {
        let n = self.size(values.len() as u64);
        let index = push_new(&mut self.trace.borrow_mut().integers, values);
        self.value(Shape::new(&[n]), dtype, Source::Integers(index))
    }

    pub(super) fn record(&'t self, op: Op, inputs: &[Var<'t>], outputs: &[Var<'t>]) {
        let mut trace = self.trace.borrow_mut();
        let first_link = u32::try_from(trace.links.len()).unwrap_or(u32::MAX);
        trace.links.extend(inputs.iter().chain(outputs).map(|v| v.id()));
        trace.nodes.push(Node {
            op,
            stage: self.stage.get(),
            scores: self.scores.get() > 0,
            first_link,
            inputs: u16::try_from(inputs.len()).unwrap_or(u16::MAX),
            outputs: u16::try_from(outputs.len()).unwrap_or(u16::MAX),
        });
        drop(trace);
        if inputs.len() + outputs.len() > usize::from(u16::MAX) {
            self.fail("an operation with more than 65535 inputs");
        }
    }

    pub(super) fn push(
        &'t self,
        op: Op,
        inputs: &[Var<'t>],
        shape: Shape,
        dtype: DType,
    ) -> Var<'t> {
        let out = self.value(shape, dtype, Source::Node);
        self.record(op, inputs, &[out]);
        out
    }
}

/// Appends `item` and says where it stands.
fn push_new<T>(all: &mut Vec<T>, item: T) -> u32 {
    let index = u32::try_from(all.len()).unwrap_or(u32::MAX);
    all.push(item);
    index
}
