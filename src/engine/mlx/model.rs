//! A model that runs: its graph, its tensors, and a generation's cache.

use super::clock::Instant;
use super::error::EngineError;
use super::execute::{Inputs, Memo, execute};
use super::ops::{Array, Ops, async_eval, eval};
use super::weights::LoadedWeights;
use crate::graph::cache::{Cache, KvQuantization};
use crate::graph::params::ModuleKind;
use crate::graph::shape::Shape;
use crate::graph::tape::Routing;
use crate::graph::{Call, Graph, SkippedLayers};
use crate::model::DType;
use std::cell::RefCell;

type Result<T> = std::result::Result<T, EngineError>;

/// A model in memory.
pub struct Model<'g> {
    graph: &'g Graph,
    weights: LoadedWeights,
    ops: Ops,
    memo: RefCell<Memo>,
    routing: Routing,
}

/// What a sampling step returns.
pub struct StepOutput {
    /// The most probable next token `[batch]`.
    pub token: Array,
    /// Log-probabilities of all tokens, `[vocabulary]` for one sequence.
    pub log_probs: Array,
}

impl<'g> Model<'g> {
    /// A model with the given tensors.
    ///
    /// # Errors
    /// When MLX cannot hold the tensors.
    pub fn new(graph: &'g Graph, weights: LoadedWeights) -> Result<Self> {
        let ops = Ops::new();
        let all: Vec<&Array> = weights.all().collect();
        eval(&all)?;
        Ok(Self { graph, weights, ops, memo: RefCell::default(), routing: Routing::default() })
    }

    /// The graph.
    #[must_use]
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// The tensors.
    #[must_use]
    pub fn weights(&self) -> &LoadedWeights {
        &self.weights
    }

    /// A generation with an empty cache, of `batch` sequences.
    #[must_use]
    pub fn session(&self, batch: u32, kv: Option<KvQuantization>) -> Session<'_, 'g> {
        Session { model: self, caches: self.graph.make_cache(), arrays: Vec::new(), batch, kv }
    }

    /// A generation that has `depth` tokens in its cache already: made-up keys, values and states of the shapes that
    /// a prompt would leave. Of use for timing only.
    ///
    /// # Errors
    /// When the model cannot run or MLX has no memory.
    pub fn session_at(&self, depth: u32, kv: Option<KvQuantization>) -> Result<Session<'_, 'g>> {
        let caches = crate::ledger::cache::after_prompt(self.graph, depth.max(1), 2048, 1, kv)?;
        let mut arrays = Vec::new();
        for (i, slot) in caches.iter().flat_map(|c| c.slots()).enumerate() {
            arrays.push(match slot {
                None => None,
                Some(s) => {
                    let seed = i as u64 + 1;
                    Some(super::weights::random_array(&self.ops, &s.shape, s.dtype, seed)?)
                }
            });
        }
        eval(&arrays.iter().flatten().collect::<Vec<_>>())?;
        Ok(Session { model: self, caches, arrays, batch: 1, kv })
    }

    /// Token ids `[batch, n]` as an array.
    ///
    /// # Errors
    /// When a token is none of the model's, or MLX has no memory.
    pub fn tokens(&self, ids: &[u32], batch: u32) -> Result<Array> {
        // MLX would read whatever lies behind the table.
        let table = self.graph.params().modules().iter().find(|m| m.kind == ModuleKind::Embedding);
        if let Some(rows) = table.map(|m| m.shape.dim(0))
            && let Some(id) = ids.iter().find(|id| **id >= rows)
        {
            return Err(EngineError::Token { id: *id, rows });
        }
        let n = ids.len() as u32 / batch.max(1);
        let numbers: Vec<f64> = ids.iter().map(|&t| f64::from(t)).collect();
        self.ops.numbers(&numbers, &Shape::new(&[batch, n]), DType::I32)
    }
}

/// A generation: the cache of a model, moved on call by call.
pub struct Session<'m, 'g> {
    model: &'m Model<'g>,
    caches: Vec<Cache>,
    arrays: Vec<Option<Array>>,
    batch: u32,
    kv: Option<KvQuantization>,
}

impl Session<'_, '_> {
    fn call(&self, tokens: &Array, sample: bool) -> Call {
        let n = tokens.shape().get(1).copied().unwrap_or(0).unsigned_abs();
        Call { batch: self.batch, tokens: n, sample, kv: self.kv, skipped: SkippedLayers::NONE }
    }

    fn run(&mut self, tokens: &Array, call: Call, logits: bool) -> Result<Vec<Array>> {
        let model = self.model;
        let trace = if logits {
            model.graph.trace_logits(&mut self.caches, call, model.routing)?
        } else {
            model.graph.trace(&mut self.caches, call, model.routing)?
        };
        let inputs = Inputs {
            ops: &model.ops,
            weights: &model.weights,
            memo: &mut model.memo.borrow_mut(),
            tokens,
            cache: &self.arrays,
        };
        let out = execute(&trace, inputs)?;
        self.arrays = out.cache;
        Ok(out.results)
    }

    /// Fills the cache with a chunk of the prompt `[batch, n]` and waits for it.
    ///
    /// # Errors
    /// When the model cannot run or MLX fails.
    pub fn prefill(&mut self, tokens: &Array) -> Result<()> {
        self.run(tokens, self.call(tokens, false), false)?;
        eval(&self.arrays.iter().flatten().collect::<Vec<_>>())?;
        // As mlx-lm: buffers of a prompt chunk are of no use to the next.
        let _ = super::rs::memory::clear_cache();
        Ok(())
    }

    /// Builds the step that reads `tokens [batch, n]` and samples the next; nothing is computed yet.
    ///
    /// # Errors
    /// When the model cannot run or MLX refuses an operation.
    pub fn step(&mut self, tokens: &Array) -> Result<StepOutput> {
        let mut results = self.run(tokens, self.call(tokens, true), false)?.into_iter();
        match (results.next(), results.next()) {
            (Some(token), Some(log_probs)) => Ok(StepOutput { token, log_probs }),
            _ => Err(EngineError::Unsupported("a step without results".into())),
        }
    }

    /// The logits `[batch, n, vocabulary]` of `tokens [batch, n]`, in float32.
    ///
    /// # Errors
    /// When the model cannot run or MLX fails.
    pub fn logits(&mut self, tokens: &Array) -> Result<Vec<f32>> {
        let results = self.run(tokens, self.call(tokens, false), true)?;
        let [logits] = results.as_slice() else {
            return Err(EngineError::Unsupported("a call without logits".into()));
        };
        let logits = self.model.ops.as_type(logits, DType::F32)?;
        let logits = self.model.ops.contiguous(&logits)?;
        let mut all: Vec<&Array> = self.arrays.iter().flatten().collect();
        all.push(&logits);
        eval(&all)?;
        logits
            .to_vec_exact::<f32>()
            .map_err(|e| EngineError::Mlx { operation: "reading logits", message: e.to_string() })
    }

    /// A token array `[batch]` as the input of the next step, `[batch, 1]`.
    ///
    /// # Errors
    /// When MLX refuses it.
    pub fn next_input(&self, token: &Array) -> Result<Array> {
        self.model.ops.reshape(token, &Shape::new(&[self.batch, 1]))
    }

    /// Starts to compute a step.
    ///
    /// # Errors
    /// When MLX fails.
    pub fn start(&self, step: &StepOutput) -> Result<()> {
        async_eval(&[&step.token, &step.log_probs])
    }

    /// Generates `steps` tokens from an arbitrary one, the next step always built while one is computed; returns the
    /// seconds per step, by [`super::clock`], from an idle start to the last token.
    ///
    /// Single steps cannot be told apart: MLX's CPU backend holds the caller up while it builds a step, so that the
    /// time of one is spent before the token of the one before is read.
    ///
    /// # Errors
    /// When the model cannot run or MLX fails.
    pub fn time_steps(&mut self, steps: u32) -> Result<f64> {
        let steps = steps.max(1);
        let first = self.model.tokens(&[1], self.batch)?;
        let start = Instant::now();
        let mut current = self.step(&first)?;
        self.start(&current)?;
        for _ in 1..steps {
            let input = self.next_input(&current.token)?;
            let next = self.step(&input)?;
            self.start(&next)?;
            eval(&[&current.token])?;
            current = next;
        }
        eval(&[&current.token])?;
        Ok(start.seconds() / f64::from(steps))
    }

    /// Tokens in the cache.
    #[must_use]
    pub fn offset(&self) -> u32 {
        self.caches.iter().map(|c| c.offset()).max().unwrap_or(0)
    }
}
