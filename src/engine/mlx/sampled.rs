//! A decode step of a model of which only some layers are in memory.
//!
//! Layers that do the same operations on the same shapes take the same time. So a step is run with a few copies of one
//! layer of each kind, each copy with tensors and cache of its own, and with everything before and after the layers.

use super::clock::Instant;
use super::error::EngineError;
use super::execute::{Inputs, Memo, load, run_node};
use super::ops::{Array, Ops, async_eval, eval};
use super::weights::LoadedWeights;
use crate::graph::Graph;
use crate::graph::cache::KvQuantization;
use crate::graph::pattern::LayerKind;
use crate::graph::shape::Shape;
use crate::graph::tape::{Node, Source, Stage, Trace, ValueId};
use crate::ledger::cache::steady_decode;
use crate::model::DType;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

type Result<T> = std::result::Result<T, EngineError>;

/// Layers that do the same.
#[derive(Clone, Debug)]
pub struct LikeLayers {
    /// The layer that stands for them.
    pub layer: u16,
    /// How many there are.
    pub count: u32,
    /// Bytes of the tensors of one.
    pub bytes: u64,
}

/// The parts of a step that share tensors and cache.
struct Copy {
    weights: LoadedWeights,
    memo: Memo,
    cache: HashMap<u32, Array>,
}

/// A step of a model, with copies of some layers.
pub struct Sampled<'g> {
    graph: &'g Graph,
    trace: Trace,
    ops: Ops,
    kinds: Vec<LikeLayers>,
    /// Nodes of each stage.
    stages: HashMap<Stage, Vec<usize>>,
    /// Values that other stages or the caller read.
    exported: Vec<bool>,
    /// What stands before and after the layers.
    around: Copy,
    /// Copies of the layers, by kind.
    copies: Vec<Vec<Copy>>,
    token: Array,
    seed: u64,
}

impl<'g> Sampled<'g> {
    /// A decode step at `depth` tokens in the cache, with no copy of any layer yet.
    ///
    /// # Errors
    /// When the model cannot run or MLX has no memory.
    pub fn new(graph: &'g Graph, depth: u32, kv: Option<KvQuantization>) -> Result<Self> {
        let ops = Ops::new();
        let trace = steady_decode(graph, depth, kv)?;
        if trace.host_decision {
            return Err(EngineError::Unsupported(format!("{} models", graph.model_type())));
        }
        let mut stages: HashMap<Stage, Vec<usize>> = HashMap::new();
        for (i, node) in trace.nodes().iter().enumerate() {
            stages.entry(node.stage).or_default().push(i);
        }
        let exported = exported(&trace);
        let kinds = kinds(graph, &trace, &stages)?;
        let token = ops.numbers(&[1.0], &Shape::new(&[1, 1]), DType::I32)?;
        let mut out = Self {
            graph,
            trace,
            ops,
            kinds,
            stages,
            exported,
            around: Copy {
                weights: LoadedWeights::empty(graph.params()),
                memo: Memo::default(),
                cache: HashMap::new(),
            },
            copies: Vec::new(),
            token,
            seed: 1,
        };
        out.around = out.copy(&[Stage::Embed, Stage::Head])?;
        out.copies = out.kinds.iter().map(|_| Vec::new()).collect();
        Ok(out)
    }

    /// The kinds of layers.
    #[must_use]
    pub fn kinds(&self) -> &[LikeLayers] {
        &self.kinds
    }

    /// Bytes of the tensors before and after the layers.
    #[must_use]
    pub fn around_bytes(&self) -> u64 {
        self.around.weights.bytes()
    }

    /// Makes sure that there are as many copies of each kind as asked.
    ///
    /// # Errors
    /// When MLX has no memory.
    pub fn provide(&mut self, counts: &[u32]) -> Result<()> {
        for (kind, &count) in counts.iter().enumerate() {
            while self.copies.get(kind).is_some_and(|c| c.len() < count as usize) {
                let copy = self.copy(&[Stage::Layer(self.kinds[kind].layer)])?;
                self.copies[kind].push(copy);
            }
        }
        Ok(())
    }

    /// Random tensors and cache for the given stages.
    fn copy(&mut self, stages: &[Stage]) -> Result<Copy> {
        self.seed += 1;
        let nodes = stages.iter().filter_map(|s| self.stages.get(s)).flatten();
        let mut modules = Vec::new();
        let mut slots = Vec::new();
        for &n in nodes {
            for &var in self.trace.inputs(&self.trace.nodes()[n]) {
                match self.trace.value(var).source {
                    Source::Param(module, _) => modules.push(module),
                    Source::Cache(slot) => slots.push((slot, var)),
                    Source::Derived(i) => {
                        modules.extend(self.trace.derived()[i as usize].modules())
                    }
                    _ => {}
                }
            }
        }
        let weights = LoadedWeights::random_of(self.graph.params(), &modules, self.seed)?;
        let mut cache = HashMap::new();
        for (slot, var) in slots {
            let value = self.trace.value(var);
            let state =
                super::weights::random_array(&self.ops, &value.shape, value.dtype, self.seed)?;
            cache.insert(slot, state);
        }
        eval(&weights.all().chain(cache.values()).collect::<Vec<_>>())?;
        Ok(Copy { weights, memo: Memo::default(), cache })
    }

    /// Runs `steps` decode steps with `counts` copies of each kind, as [`super::Session::time_steps`] runs a model;
    /// returns the seconds per step.
    ///
    /// # Errors
    /// When MLX fails.
    pub fn time(&mut self, counts: &[u32], steps: u32) -> Result<f64> {
        let steps = steps.max(1);
        let start = Instant::now();
        let mut current = self.step(counts)?;
        for _ in 1..steps {
            let next = self.step(counts)?;
            eval(&[&current])?;
            current = next;
        }
        eval(&[&current])?;
        Ok(start.seconds() / f64::from(steps))
    }

    /// Starts one step; returns its token.
    fn step(&mut self, counts: &[u32]) -> Result<Array> {
        let mut latest: HashMap<(Shape, DType), Array> = HashMap::new();
        let mut part = Part {
            trace: &self.trace,
            ops: &self.ops,
            exported: &self.exported,
            tokens: &self.token,
            latest: &mut latest,
        };
        part.run(self.stages.get(&Stage::Embed), &mut self.around)?;
        for (kind, &count) in counts.iter().enumerate() {
            let nodes = self.stages.get(&Stage::Layer(self.kinds[kind].layer));
            for copy in self.copies[kind].iter_mut().take(count as usize) {
                part.run(nodes, copy)?;
            }
        }
        let results = part.run(self.stages.get(&Stage::Head), &mut self.around)?;
        let Some(token) = results.into_iter().next() else {
            return Err(EngineError::Unsupported("a step without a token".into()));
        };
        async_eval(&[&token])?;
        self.token = self.ops.reshape(&token, &Shape::new(&[1, 1]))?;
        Ok(token)
    }
}

/// What the parts of a step share while it is built.
struct Part<'a> {
    trace: &'a Trace,
    ops: &'a Ops,
    exported: &'a [bool],
    tokens: &'a Array,
    /// The last value of each shape and type that one part left for another.
    latest: &'a mut HashMap<(Shape, DType), Array>,
}

impl Part<'_> {
    /// Builds the operations of a stage; returns the results of the step that it makes.
    fn run(&mut self, nodes: Option<&Vec<usize>>, copy: &mut Copy) -> Result<Vec<Array>> {
        let slots = copy.cache.keys().max().map_or(0, |&s| s as usize + 1);
        let mut cache = vec![None; slots];
        for (slot, array) in copy.cache.drain() {
            cache[slot as usize] = Some(array);
        }
        let mut values: HashMap<ValueId, Array> = HashMap::new();
        for &n in nodes.into_iter().flatten() {
            let node = &self.trace.nodes()[n];
            for &var in self.trace.inputs(node) {
                if let Entry::Vacant(place) = values.entry(var) {
                    place.insert(self.input(var, copy, &cache)?);
                }
            }
            let made = {
                let read: Vec<&Array> =
                    self.trace.inputs(node).iter().filter_map(|v| values.get(v)).collect();
                run_node(self.ops, self.trace, node, &read)?
            };
            for (&var, array) in self.trace.outputs(node).iter().zip(made) {
                if self.exported[var.index()] {
                    let value = self.trace.value(var);
                    self.latest.insert((value.shape, value.dtype), array.clone());
                }
                values.insert(var, array);
            }
        }
        for &(slot, var) in &self.trace.cache {
            let kept = cache.get_mut(slot as usize).and_then(Option::take);
            if let Some(array) = values.remove(&var).or(kept) {
                copy.cache.insert(slot, array);
            }
        }
        Ok(self.trace.results.iter().filter_map(|v| values.get(v).cloned()).collect())
    }

    fn input(&mut self, var: ValueId, copy: &mut Copy, cache: &[Option<Array>]) -> Result<Array> {
        let value = self.trace.value(var);
        if value.source == Source::Node {
            let key = (value.shape, value.dtype);
            if let Some(known) = self.latest.get(&key) {
                return Ok(known.clone());
            }
            // Left by a layer that is not run.
            let made = super::weights::random_array(self.ops, &value.shape, value.dtype, 1)?;
            self.latest.insert(key, made.clone());
            return Ok(made);
        }
        let mut inputs = Inputs {
            ops: self.ops,
            weights: &copy.weights,
            memo: &mut copy.memo,
            tokens: self.tokens,
            cache,
        };
        load(self.trace, var, &mut inputs)
    }
}

fn exported(trace: &Trace) -> Vec<bool> {
    let mut made: Vec<Option<Stage>> = vec![None; trace.values().len()];
    let mut out = vec![false; trace.values().len()];
    for node in trace.nodes() {
        for &var in trace.inputs(node) {
            if made[var.index()].is_some_and(|stage| stage != node.stage) {
                out[var.index()] = true;
            }
        }
        for &var in trace.outputs(node) {
            made[var.index()] = Some(node.stage);
        }
    }
    out
}

/// The kinds of layers that the graph's plan tells apart, with the bytes of their tensors.
fn kinds(
    graph: &Graph,
    trace: &Trace,
    stages: &HashMap<Stage, Vec<usize>>,
) -> Result<Vec<LikeLayers>> {
    let of_plan = |LayerKind { layer, count }| {
        let nodes = stages.get(&Stage::Layer(layer)).into_iter().flatten();
        let nodes: Vec<&Node> = nodes.map(|&n| &trace.nodes()[n]).collect();
        LikeLayers { layer, count, bytes: bytes(graph, trace, &nodes) }
    };
    Ok(graph.layer_plan()?.kinds().into_iter().map(of_plan).collect())
}

fn bytes(graph: &Graph, trace: &Trace, nodes: &[&Node]) -> u64 {
    let mut seen = Vec::new();
    let mut total = 0;
    for var in nodes.iter().flat_map(|n| trace.inputs(n)) {
        if let Source::Param(module, part) = trace.value(*var).source
            && !seen.contains(&(module, part))
        {
            seen.push((module, part));
            total +=
                graph.params().tensor(module, part).map_or(0, |(s, d)| s.elements() * d.bytes());
        }
    }
    total
}
