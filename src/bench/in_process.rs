//! MLX in this process: prompts of random tokens, as `mlx_lm.benchmark` makes them, with token times and MLX's own
//! memory counters.

use super::failure::FailureKind;
use super::generation::CountSource;
use super::memory::MemoryReading;
use super::run::Protocol;
use super::stop::Stop;
use super::trial::{Trial, case_name};
use crate::engine::mlx::{
    EngineError, GenerationRequest, MlxGeneration, MlxMemory, Model, clear_cache, reset_peak,
};
use crate::graph::params::ModuleKind;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Tokens of a prefill chunk, as mlx-lm's default.
const CHUNK: usize = 2048;

/// What is varied in a sweep: every length with every batch.
#[derive(Clone, Copy, Debug)]
pub struct Loads<'l> {
    /// Tokens of each prompt.
    pub lengths: &'l [u32],
    /// Sequences generated together. Several of them are sampled greedily.
    pub batches: &'l [u32],
}

/// Measures decode and prefill after prompts of the given lengths and batches; stop tokens do not stop it. `observe`
/// is told of every trial; `stop` ends it early.
pub fn sweep(
    model: &Model<'_>,
    engine: &str,
    loads: Loads<'_>,
    protocol: &Protocol,
    observe: &dyn Fn(&Trial),
    stop: &Stop,
) -> Vec<Trial> {
    let clock = Instant::now();
    let vocabulary = vocabulary(model);
    let mut rng = fastrand::Rng::with_seed(0);
    let mut trials = Vec::new();
    let cases = loads.lengths.iter().flat_map(|&l| loads.batches.iter().map(move |&b| (l, b)));
    for (length, batch) in cases {
        for n in 0..protocol.warm_up.saturating_add(protocol.trials) {
            stop.sleep(Duration::from_secs_f64(protocol.cool_down_s.clamp(0.0, 3600.0)));
            if stop.requested() {
                return trials;
            }
            let (length, batch) = (length.max(1), batch.max(1));
            let count = length as usize * batch as usize;
            let prompt: Vec<u32> = (0..count).map(|_| rng.u32(..vocabulary)).collect();
            let started_s = clock.elapsed().as_secs_f64();
            clear_cache();
            reset_peak();
            let times_s = match batch {
                1 => single(model, prompt, protocol).map(|done| done.times_s),
                _ => together(model, &prompt, batch, protocol.max_tokens),
            };
            let trial = Trial {
                engine: engine.to_owned(),
                index: trials.len() as u32,
                case: case_name(length, batch),
                round: n.saturating_sub(protocol.warm_up),
                warm_up: n < protocol.warm_up,
                started_s,
                ..trial(times_s, length, batch)
            };
            observe(&trial);
            trials.push(trial);
        }
    }
    trials
}

fn single(
    model: &Model<'_>,
    prompt: Vec<u32>,
    protocol: &Protocol,
) -> Result<MlxGeneration, EngineError> {
    let request = GenerationRequest {
        temperature: protocol.temperature,
        ..GenerationRequest::greedy(prompt, protocol.max_tokens)
    };
    model.generate(&request, &mut |_| ControlFlow::Continue(()))
}

/// Generates from several prompts of equal length together; returns when each step's tokens were there, in seconds.
/// The next step is under way while the tokens of one are read, as in mlx-lm.
fn together(
    model: &Model<'_>,
    prompts: &[u32],
    batch: u32,
    steps: u32,
) -> Result<Vec<f64>, EngineError> {
    let rows: Vec<&[u32]> = prompts.chunks(prompts.len() / batch.max(1) as usize).collect();
    let columns = |from: usize, to: usize| -> Vec<u32> {
        rows.iter().flat_map(|row| row.get(from..to).unwrap_or_default()).copied().collect()
    };
    let before = rows.first().map_or(0, |row| row.len().saturating_sub(1));
    let begin = Instant::now();
    let mut session = model.session(batch, None);
    for from in (0..before).step_by(CHUNK) {
        let chunk = columns(from, before.min(from + CHUNK));
        session.prefill(&model.tokens(&chunk, batch)?)?;
    }
    let mut current = session.step(&model.tokens(&columns(before, before + 1), batch)?)?;
    session.start(&current)?;
    let mut times = Vec::new();
    for n in 1..=steps {
        let next = if n < steps {
            let input = session.next_input(&current.token)?;
            let next = session.step(&input)?;
            session.start(&next)?;
            Some(next)
        } else {
            None
        };
        current.token.to_vec_exact::<u32>().map_err(|e| EngineError::Mlx {
            operation: "reading the tokens of a batch",
            message: e.to_string(),
        })?;
        times.push(begin.elapsed().as_secs_f64());
        let Some(next) = next else { break };
        current = next;
    }
    Ok(times)
}

/// Rows of the embedding table.
fn vocabulary(model: &Model<'_>) -> u32 {
    let modules = model.graph().params().modules();
    let table = modules.iter().find(|m| m.kind == ModuleKind::Embedding);
    table.map_or(1, |m| m.shape.dim(0)).max(1)
}

/// Rates of all sequences together; counts of each.
fn trial(times_s: Result<Vec<f64>, EngineError>, prompt: u32, batch: u32) -> Trial {
    let times_s = match times_s {
        Ok(times_s) => times_s,
        Err(e) => return Trial::failed(FailureKind::Engine, e.to_string()),
    };
    let rate = |tokens: f64, seconds: Option<f64>| {
        let sequences = f64::from(batch);
        seconds.filter(|s| *s > 0.0).map(|s| sequences * tokens / s)
    };
    let (first, last) = (times_s.first().copied(), times_s.last().copied());
    let generated = u32::try_from(times_s.len()).unwrap_or(u32::MAX);
    let decoding = first.zip(last).map(|(first, last)| last - first);
    Trial {
        ttft_s: first,
        total_s: last,
        prefill_tokens_per_s: rate(f64::from(prompt), first),
        decode_tokens_per_s: rate(f64::from(generated.saturating_sub(1)), decoding),
        end_to_end_tokens_per_s: rate(f64::from(generated), last),
        batch: Some(batch).filter(|n| *n > 1),
        prompt_tokens: Some(prompt),
        cached_tokens: Some(0),
        generated_tokens: Some(generated),
        count_source: Some(CountSource::Engine),
        finish_reason: Some("length".to_owned()),
        longest_gap_s: times_s.windows(2).map(|w| w[1] - w[0]).max_by(f64::total_cmp),
        token_times_s: times_s,
        memory: Some(memory(MemoryReading::default())),
        ..Trial::default()
    }
}

/// A reading with MLX's own counters.
pub(super) fn memory(reading: MemoryReading) -> MemoryReading {
    let now = MlxMemory::now();
    MemoryReading {
        mlx_active_bytes: now.map(|m| m.active_bytes),
        mlx_cache_bytes: now.map(|m| m.cache_bytes),
        mlx_peak_bytes: now.map(|m| m.peak_bytes),
        ..reading
    }
}
