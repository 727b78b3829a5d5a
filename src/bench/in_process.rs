//! MLX in this process: prompts of random tokens, as `mlx_lm.benchmark` makes them, with token times and MLX's own
//! memory counters.

use super::generation::CountSource;
use super::memory::MemoryReading;
use super::run::Protocol;
use super::trial::{FailureKind, Trial};
use crate::engine::mlx::{
    EngineError, Generation, Memory, Model, Request, clear_cache, reset_peak,
};
use crate::graph::params::ModuleKind;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Measures decode and prefill after prompts of the given lengths; stop tokens do not stop it. `observe` is told of
/// every trial.
pub fn sweep(
    model: &Model<'_>,
    engine: &str,
    lengths: &[u32],
    protocol: &Protocol,
    observe: &dyn Fn(&Trial),
) -> Vec<Trial> {
    let clock = Instant::now();
    let vocabulary = vocabulary(model);
    let mut rng = fastrand::Rng::with_seed(0);
    let mut trials = Vec::new();
    for &length in lengths {
        for n in 0..protocol.warm_up.saturating_add(protocol.trials) {
            std::thread::sleep(Duration::from_secs_f64(protocol.cool_down_s.clamp(0.0, 3600.0)));
            let prompt = (0..length.max(1)).map(|_| rng.u32(..vocabulary)).collect();
            let request = Request {
                temperature: protocol.temperature,
                ..Request::greedy(prompt, protocol.max_tokens)
            };
            let started_s = clock.elapsed().as_secs_f64();
            clear_cache();
            reset_peak();
            let done = model.generate(&request, &mut |_| ControlFlow::Continue(()));
            let trial = Trial {
                engine: engine.to_owned(),
                index: trials.len() as u32,
                case: format!("{length} tokens"),
                round: n.saturating_sub(protocol.warm_up),
                warm_up: n < protocol.warm_up,
                started_s,
                ..trial(done, length)
            };
            observe(&trial);
            trials.push(trial);
        }
    }
    trials
}

/// Rows of the embedding table.
fn vocabulary(model: &Model<'_>) -> u32 {
    let modules = model.graph().params().modules();
    let table = modules.iter().find(|m| m.kind == ModuleKind::Embedding);
    table.map_or(1, |m| m.shape.dim(0)).max(1)
}

fn trial(done: Result<Generation, EngineError>, prompt: u32) -> Trial {
    let done = match done {
        Ok(done) => done,
        Err(e) => return Trial::failed(FailureKind::Engine, e.to_string()),
    };
    let ttft_s = done.ttft_s();
    let generated = u32::try_from(done.times_s.len()).unwrap_or(u32::MAX);
    let total_s = done.times_s.last().copied();
    Trial {
        ttft_s,
        total_s,
        prefill_tokens_per_s: ttft_s.filter(|s| *s > 0.0).map(|s| f64::from(prompt) / s),
        decode_tokens_per_s: done.decode_tokens_per_s(),
        end_to_end_tokens_per_s: total_s.filter(|s| *s > 0.0).map(|s| f64::from(generated) / s),
        prompt_tokens: Some(prompt),
        cached_tokens: Some(0),
        generated_tokens: Some(generated),
        count_source: Some(CountSource::Engine),
        finish_reason: Some("length".to_owned()),
        longest_gap_s: done.times_s.windows(2).map(|w| w[1] - w[0]).max_by(f64::total_cmp),
        token_times_s: done.times_s,
        memory: Memory::now().map(|m| MemoryReading {
            mlx_active_bytes: Some(m.active_bytes),
            mlx_cache_bytes: Some(m.cache_bytes),
            mlx_peak_bytes: Some(m.peak_bytes),
            ..MemoryReading::default()
        }),
        ..Trial::default()
    }
}
