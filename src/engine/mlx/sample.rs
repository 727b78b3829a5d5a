//! Choosing the next token.

use super::error::EngineError;
use super::model::StepOutput;
use super::ops::{Array, Ops};
use crate::graph::shape::Shape;
use crate::model::DType;

/// Greedy, or by temperature.
pub(super) struct Sampler {
    /// The generator's key and the inverse temperature, when not greedy.
    random: Option<Random>,
}

struct Random {
    ops: Ops,
    /// Seed of the next token.
    seed: u64,
    inverse: Array,
}

impl Sampler {
    pub fn new(temperature: f64, seed: u64) -> Result<Self, EngineError> {
        if temperature <= 0.0 {
            return Ok(Self { random: None });
        }
        let ops = Ops::new();
        let inverse = ops.numbers(&[1.0 / temperature], &Shape::SCALAR, DType::F32)?;
        Ok(Self { random: Some(Random { ops, seed, inverse }) })
    }

    /// The token of a step, as an array of one element.
    pub fn token(&mut self, step: &StepOutput) -> Result<Array, EngineError> {
        let Some(random) = &mut self.random else {
            return Ok(step.token.clone());
        };
        let ops = &random.ops;
        let logits =
            ops.binary("multiply", mlx_sys::mlx_multiply, &step.log_probs, &random.inverse)?;
        random.seed = random.seed.wrapping_add(1);
        let token = ops.categorical(&logits, random.seed)?;
        ops.reshape(&token, &Shape::new(&[1]))
    }
}
