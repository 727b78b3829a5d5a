//! A second of one large product: what rate of arithmetic this machine reaches.

use super::clock;
use super::error::EngineError;
use super::memory::backend;
use super::ops::{Ops, eval};
use super::weights::random_array;
use crate::graph::shape::Shape;
use crate::model::DType;
use crate::stats::median;
use std::time::{Duration, Instant};

/// Products of a chain that is timed as a whole.
const CHAIN: u32 = 4;
/// Fewest chains, however long they take.
const LEAST: usize = 3;

/// A product of square matrices, timed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimedProduct {
    /// Rows and columns of the matrices.
    pub side: u32,
    /// Operations per second: the median of the chains.
    pub flops: f64,
    /// Chains of products.
    pub chains: usize,
}

/// Multiplies matrices in bfloat16 for about `limit`.
///
/// # Errors
/// When MLX fails.
pub fn time_product(limit: Duration) -> Result<TimedProduct, EngineError> {
    let side = if backend() == "metal" { 4096 } else { 256 };
    let ops = Ops::new();
    let shape = Shape::new(&[side, side]);
    let a = random_array(&ops, &shape, DType::BF16, 1)?;
    let b = random_array(&ops, &shape, DType::BF16, 2)?;
    let chain = || -> Result<f64, EngineError> {
        let begin = clock::Instant::now();
        let mut c = a.clone();
        for _ in 0..CHAIN {
            c = ops.matmul(&c, &b)?;
        }
        eval(&[&c])?;
        Ok(begin.seconds())
    };
    // Kernels are compiled, and clocks rise.
    chain()?;
    let (start, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < LEAST || start.elapsed() < limit {
        seconds.push(chain()?);
    }
    let operations = f64::from(CHAIN) * 2.0 * f64::from(side).powi(3);
    let flops = median(&seconds).map_or(0.0, |s| operations / s.max(1e-9));
    Ok(TimedProduct { side, flops, chains: seconds.len() })
}
