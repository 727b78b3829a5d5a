//! The time of a decode step from a few of its layers.
//!
//! A step is timed with a small and with a larger number of copies of each kind of layer; the difference is the time
//! of the added copies, and so of every further layer. The copies together are larger than any cache, as the whole
//! model is. Plans take turns round by round, so that a change of the machine's speed meets all of them.

use super::error::EngineError;
use super::sampled::{LikeLayers, Sampled};
use crate::graph::Graph;
use crate::graph::cache::KvQuantization;
use crate::stats::{median, spread_of};
use serde::Serialize;

/// Bytes of copies that no cache holds: twice the largest system-level cache of an Apple chip (96 MB).
const BEYOND_CACHES: u64 = 200_000_000;
/// Bytes of the copies of a kind of layer in the larger plan, when they are larger than the caches anyway.
const ROOM: u64 = 2_000_000_000;
/// Most copies then, and least.
const COPIES: [u32; 2] = [16, 4];
/// Most copies in the smaller plan: so many that MLX, which builds a few small layers ahead of what it computes, has the
/// same buffers in use as in the whole model.
const FEW: u32 = 4;

/// How many copies of each kind of layer a plan runs.
type Plan = Vec<u32>;

/// Times a model's decode step without most of its layers.
pub struct LayerTimer<'g> {
    sampled: Sampled<'g>,
    /// The smaller plan, then one per kind with more copies of it.
    plans: Vec<Plan>,
    /// Seconds per step, by plan, one median per round.
    rounds: Vec<Vec<f64>>,
}

/// A step time with its uncertainty.
#[derive(Clone, Debug, Serialize)]
pub struct LayerEstimate {
    /// Seconds per token.
    pub seconds_per_token: f64,
    /// Standard error of its logarithm, from the spread of the rounds.
    pub log_error: f64,
    /// Seconds of everything but the layers.
    pub around_s: f64,
    /// Seconds of one layer of each kind, and how many there are.
    pub layers: Vec<(f64, u32)>,
    /// Rounds that were timed.
    pub rounds: u32,
}

impl<'g> LayerTimer<'g> {
    /// Prepares to time a step with `depth` tokens in the cache, using at most `max_bytes` for tensors.
    ///
    /// # Errors
    /// When the model cannot run, MLX has no memory, or even single layers need more than `max_bytes`.
    pub fn new(
        graph: &'g Graph,
        depth: u32,
        kv: Option<KvQuantization>,
        max_bytes: u64,
    ) -> Result<Self, EngineError> {
        let mut sampled = Sampled::new(graph, depth, kv)?;
        let plans = plans(sampled.kinds());
        let most: Plan = (0..sampled.kinds().len())
            .map(|k| plans.iter().map(|p| p[k]).max().unwrap_or(1))
            .collect();
        let bytes: u64 =
            sampled.kinds().iter().zip(&most).map(|(k, &n)| k.bytes * u64::from(n)).sum();
        let bytes = bytes + sampled.around_bytes();
        if bytes > max_bytes {
            return Err(EngineError::Memory { needed: bytes, limit: max_bytes });
        }
        sampled.provide(&most)?;
        let rounds = vec![Vec::new(); plans.len()];
        let mut timer = Self { sampled, plans, rounds };
        // Compiles kernels and fills pools.
        for plan in timer.plans.clone() {
            timer.sampled.time(&plan, 1)?;
        }
        Ok(timer)
    }

    /// Times every plan over `steps` steps.
    ///
    /// # Errors
    /// When MLX fails.
    pub fn round(&mut self, steps: u32) -> Result<(), EngineError> {
        for (plan, rounds) in self.plans.iter().zip(&mut self.rounds) {
            rounds.push(self.sampled.time(plan, steps)?);
        }
        Ok(())
    }

    /// Seconds per step of the whole model, by round.
    #[must_use]
    pub fn whole(&self) -> Vec<f64> {
        let weights = self.weights();
        let of_round = |r: usize| self.rounds.iter().zip(&weights).map(|(t, w)| t[r] * w).sum();
        (0..self.rounds[0].len()).map(of_round).collect()
    }

    /// The whole model as a combination of the plans.
    fn weights(&self) -> Vec<f64> {
        let mut weights = vec![1.0];
        for (k, kind) in self.sampled.kinds().iter().enumerate() {
            let few = f64::from(self.plans[0][k]);
            let further = (f64::from(kind.count) - few) / self.added(k);
            weights[0] -= further;
            weights.push(further);
        }
        weights
    }

    /// Copies of kind `k` that its plan has more than the smallest.
    fn added(&self, k: usize) -> f64 {
        f64::from(self.plans[k + 1][k] - self.plans[0][k]).max(1.0)
    }

    /// The estimate after the rounds so far; `None` before the first.
    #[must_use]
    pub fn estimate(&self) -> Option<LayerEstimate> {
        let middles = self.rounds.iter().map(|r| median(r)).collect::<Option<Vec<f64>>>()?;
        let base = *middles.first()?;
        let mut layers = Vec::new();
        let mut around = base;
        for (k, kind) in self.sampled.kinds().iter().enumerate() {
            let one = (middles[k + 1] - base) / self.added(k);
            around -= one * f64::from(self.plans[0][k]);
            layers.push((one, kind.count));
        }
        let whole = self.whole();
        let spread = spread_of(&whole)?;
        Some(LayerEstimate {
            seconds_per_token: spread.median,
            log_error: spread.median_error / spread.median,
            around_s: around,
            layers,
            rounds: spread.n,
        })
    }
}

/// The smaller plan, and one larger plan per kind of layer. Models with few layers are run whole.
fn plans(kinds: &[LikeLayers]) -> Vec<Plan> {
    let total: u64 = kinds.iter().map(|k| k.bytes).sum::<u64>().max(1);
    let needed = u32::try_from(BEYOND_CACHES / total).unwrap_or(u32::MAX);
    let copies = |k: &LikeLayers| {
        let fit = u32::try_from(ROOM / k.bytes.max(1)).unwrap_or(u32::MAX);
        fit.clamp(COPIES[1], COPIES[0])
    };
    let few = |k: &LikeLayers| FEW.min(copies(k) / 4).min(k.count.saturating_sub(1)).max(1);
    let small: Plan = kinds.iter().map(few).collect();
    let mut all = vec![small.clone()];
    for (k, kind) in kinds.iter().enumerate() {
        let mut plan = small.clone();
        plan[k] = copies(kind).max(needed).min(kind.count).max(small[k] + 1);
        all.push(plan);
    }
    all
}
