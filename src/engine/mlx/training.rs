//! Fine-tuning in this process: the step of `mlx_lm.lora` as the graph has it, executed by MLX.
//!
//! Forward pass, loss, backward pass and update are the operations of [`Graph::training_step`], so that a run here is a proof
//! of them. The loss is that of plain operations, and attention is not fused, as MLX before 0.32.4 has both.

use super::clock::Instant;
use super::error::EngineError;
use super::execute::{Inputs, Memo, execute};
use super::ops::{Array, Ops, eval};
use super::weights::{LoadedWeights, random_array};
use crate::graph::Graph;
use crate::graph::shape::Shape;
use crate::graph::training::{
    FineTuning, Loss, Role, StateUse, StepForm, TrainedArray, TrainedAttention, TrainingPlan,
};
use crate::model::DType;

type Result<T> = std::result::Result<T, EngineError>;

/// A model that is being fine-tuned.
pub struct TrainingProcess<'g> {
    graph: &'g Graph,
    plan: TrainingPlan,
    options: FineTuning,
    weights: LoadedWeights,
    ops: Ops,
    memo: Memo,
    /// The arrays that live from step to step, by slot.
    held: Vec<Option<Array>>,
    learning_rate: f64,
    /// Batches since the last update, and updates.
    batches: u32,
    updates: u32,
}

impl<'g> TrainingProcess<'g> {
    /// Prepares a run: adapters start as mlx-lm makes them, the first matrix at random and the second at zero.
    ///
    /// # Errors
    /// When mlx-lm refuses the run, or MLX cannot hold the arrays.
    pub fn new(
        graph: &'g Graph,
        weights: LoadedWeights,
        options: &FineTuning,
        learning_rate: f64,
    ) -> Result<Self> {
        let options = FineTuning {
            loss: Loss::Plain,
            attention: TrainedAttention::Unfused,
            ..options.clone()
        };
        let plan = graph.training_plan(&options);
        let plan = plan.map_err(|e| EngineError::Unsupported(e.to_string()))?;
        let ops = Ops::new();
        let first =
            |(i, a): (usize, &TrainedArray)| first_value(&ops, &weights, a, i as u64 + 1).map(Some);
        let held = plan.arrays.iter().enumerate().map(first).collect::<Result<Vec<_>>>()?;
        let memo = Memo::default();
        let (batches, updates) = (0, 0);
        Ok(Self { graph, plan, options, weights, ops, memo, held, learning_rate, batches, updates })
    }

    /// Sets a trained array by the name that mlx-lm gives it, such as `model.layers.0.self_attn.q_proj.lora_a`.
    ///
    /// # Errors
    /// When no trained array has the name, or the numbers are not as many.
    pub fn set(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let at = (0..self.plan.arrays.len()).find(|&i| self.name(i) == name);
        let at = at.ok_or_else(|| EngineError::Tensor(format!("{name} is not trained")))?;
        let a = self.plan.arrays[at];
        let values: Vec<f64> = values.iter().map(|&x| f64::from(x)).collect();
        self.held[at] = Some(self.ops.numbers(&values, &a.shape, a.dtype)?);
        Ok(())
    }

    /// The name of a trained array.
    fn name(&self, at: usize) -> String {
        let a = self.plan.arrays[at];
        let module = self.graph.params().module(a.module);
        match a.role {
            Role::Tensor(part) => module.tensor_name(part),
            Role::A => format!("{}.lora_a", module.path),
            Role::B => format!("{}.lora_b", module.path),
            Role::Magnitude => format!("{}.m", module.path),
        }
    }

    /// The trained arrays in float32, by name.
    ///
    /// # Errors
    /// When MLX fails.
    pub fn trained(&self) -> Result<Vec<(String, Vec<f32>)>> {
        let arrays = self.held.iter().take(self.plan.arrays.len()).enumerate();
        let of = |(i, array): (usize, &Option<Array>)| {
            let Some(array) = array else { return Ok((self.name(i), Vec::new())) };
            Ok((self.name(i), numbers(&self.ops, array)?))
        };
        arrays.map(of).collect()
    }

    /// One batch: token ids of every sample, padded to one more than the tokens of the options, and the first and last that
    /// counts of each. Returns the loss.
    ///
    /// # Errors
    /// When an operation has no gradient, or MLX fails.
    pub fn step(&mut self, ids: &[u32], lengths: &[[u32; 2]]) -> Result<f32> {
        let o = &self.options;
        let last = self.batches + 1 >= o.accumulation.max(1);
        let form =
            StepForm { accumulated: self.batches > 0, update: last, later: self.updates > 0 };
        let step = self.graph.training_step(&self.plan, o, form)?;
        let numbers_of = |values: Vec<f64>, columns: u32| {
            self.ops.numbers(&values, &Shape::new(&[o.batch, columns]), DType::I32)
        };
        let tokens = numbers_of(ids.iter().map(|&id| f64::from(id)).collect(), o.tokens + 1)?;
        let ends = numbers_of(lengths.iter().flatten().map(|&n| f64::from(n)).collect(), 2)?;
        self.held.resize(step.state.len(), None);
        let mut scalars = 0;
        for (array, place) in step.state.iter().zip(&mut self.held) {
            let scalar = array.use_ == StateUse::Optimizer && array.shape.rank() == 0;
            if array.use_ == StateUse::Lengths {
                *place = Some(ends.clone());
            } else if place.is_none() && scalar {
                // The number of the update, then the learning rate.
                let value = if scalars == 0 { 0.0 } else { self.learning_rate };
                *place = Some(self.ops.numbers(&[value], &array.shape, array.dtype)?);
            } else if place.is_none() && array.use_ == StateUse::Random {
                *place = Some(self.ops.numbers(&[0.0, 0.0], &array.shape, array.dtype)?);
            }
            scalars += u32::from(scalar);
        }
        let inputs = Inputs {
            ops: &self.ops,
            weights: &self.weights,
            memo: &mut self.memo,
            tokens: &tokens,
            cache: &self.held,
        };
        let out = execute(&step.trace, inputs)?;
        let first_gradient = step.state.len() - self.plan.arrays.len();
        for (slot, array) in out.cache.into_iter().enumerate().filter(|(_, a)| a.is_some()) {
            self.held[slot] = array;
        }
        let gradients = out.results.iter().skip(2).cloned().map(Some);
        self.held[first_gradient..].iter_mut().for_each(|place| *place = None);
        self.held[first_gradient..].iter_mut().zip(gradients).for_each(|(place, g)| *place = g);
        let kept = self.held.iter().flatten();
        eval(&kept.chain(&out.results).collect::<Vec<_>>())?;
        self.batches = if last { 0 } else { self.batches + 1 };
        self.updates += u32::from(last);
        let Some(loss) = out.results.first() else {
            return Err(EngineError::Unsupported("a step without a loss".into()));
        };
        Ok(numbers(&self.ops, loss)?.first().copied().unwrap_or(f32::NAN))
    }

    /// Seconds of a batch of made-up tokens.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn time(&mut self) -> Result<f64> {
        let (batch, tokens) = (self.options.batch, self.options.tokens);
        let ids: Vec<u32> = (0..batch * (tokens + 1)).map(|i| i % 61).collect();
        let lengths = vec![[0, tokens]; batch as usize];
        let start = Instant::now();
        self.step(&ids, &lengths)?;
        Ok(start.seconds())
    }
}

/// What an array is before the first step.
fn first_value(ops: &Ops, weights: &LoadedWeights, a: &TrainedArray, seed: u64) -> Result<Array> {
    match a.role {
        Role::Tensor(part) => Ok(weights.get(a.module, part)?.clone()),
        Role::A => {
            let noise = random_array(ops, &a.shape, a.dtype, seed)?;
            let inputs = f64::from(a.shape.dim(if a.shape.rank() == 3 { -1 } else { 0 }));
            let size = ops.numbers(&[1.0 / inputs.max(1.0).sqrt()], &Shape::SCALAR, a.dtype)?;
            ops.binary("multiply", mlx_sys::mlx_multiply, &noise, &size)
        }
        Role::B => ops.full(&a.shape, &ops.numbers(&[0.0], &Shape::SCALAR, a.dtype)?, a.dtype),
        Role::Magnitude => {
            ops.full(&a.shape, &ops.numbers(&[1.0], &Shape::SCALAR, a.dtype)?, a.dtype)
        }
    }
}

/// The numbers of an array.
fn numbers(ops: &Ops, array: &Array) -> Result<Vec<f32>> {
    let plain = ops.contiguous(&ops.as_type(array, DType::F32)?)?;
    eval(&[&plain])?;
    plain
        .to_vec_exact::<f32>()
        .map_err(|e| EngineError::Mlx { operation: "reading numbers", message: e.to_string() })
}
