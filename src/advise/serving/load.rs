//! Requests that arrive at a rate, and what users see of a server under them.

use super::replay::{Demand, ServedDemand, ServedLoad};
use crate::stats::quantile;

/// Requests that are replayed.
pub const REQUESTS: usize = 300;
/// The seed of the arrivals.
const SEED: u64 = 18;
/// Standard deviation of the logarithm of prompt and output around their means. An assumption.
pub const SPREAD: f64 = 0.5;

/// `users` requests at the same time.
#[must_use]
pub fn burst(users: u32, prompt: u32, output: u32) -> Vec<Demand> {
    let one = Demand { arrival_s: 0.0, prompt, cached: 0, output };
    vec![one; users as usize]
}

/// Requests that arrive independently of one another at `rate` a second (a Poisson process), with lengths that vary
/// log-normally around these means. The same at every call.
#[must_use]
pub fn arrivals(rate: f64, prompt: u32, output: u32) -> Vec<Demand> {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut now = 0.0;
    let one = |_| {
        now += -(1.0 - random.f64()).ln() / rate;
        let arrival_s = now;
        let prompt = length(&mut random, prompt);
        Demand { arrival_s, prompt, cached: 0, output: length(&mut random, output) }
    };
    (0..REQUESTS).map(one).collect()
}

/// A length around a mean.
fn length(random: &mut fastrand::Rng, mean: u32) -> u32 {
    let (radius, angle) = ((1.0 - random.f64()).ln() * -2.0, random.f64() * std::f64::consts::TAU);
    let normal = radius.sqrt() * angle.cos();
    let factor = (SPREAD * normal - SPREAD * SPREAD / 2.0).exp();
    ((f64::from(mean) * factor).round() as u32).max(1)
}

/// What users see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeenByUsers {
    /// Median time to the first token in seconds.
    pub ttft_median_s: f64,
    /// Time to the first token that nine of ten stay below.
    pub ttft_p90_s: f64,
    /// Median of the users' tokens per second.
    pub tokens_per_s: f64,
    /// Tokens per second that nine of ten get at least.
    pub slowest_tenth: f64,
    /// Share of the busy time in which prompts are read.
    pub reading: f64,
    /// Generated tokens per second of all together, from the first arrival to the last token.
    pub total_tokens_per_s: f64,
}

impl SeenByUsers {
    /// Of a server's work; `None` without requests.
    #[must_use]
    pub fn of(load: &ServedLoad) -> Option<Self> {
        let all = &load.demands;
        let waits: Vec<f64> = all.iter().map(ServedDemand::ttft_s).collect();
        let rates: Vec<f64> = all.iter().filter_map(ServedDemand::tokens_per_s).collect();
        let tokens: f64 = all.iter().map(|d| f64::from(d.output)).sum();
        let busy = load.reading_s + load.generating_s;
        Some(Self {
            ttft_median_s: quantile(&waits, 0.5)?,
            ttft_p90_s: quantile(&waits, 0.9)?,
            tokens_per_s: quantile(&rates, 0.5).unwrap_or(0.0),
            slowest_tenth: quantile(&rates, 0.1).unwrap_or(0.0),
            reading: load.reading_s / busy.max(f64::MIN_POSITIVE),
            total_tokens_per_s: tokens
                / (load.end_s - all.first()?.arrival_s).max(f64::MIN_POSITIVE),
        })
    }
}
