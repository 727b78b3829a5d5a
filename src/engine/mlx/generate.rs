//! Generating text, step by step as `mlx_lm.generate` does it.

use super::error::EngineError;
use super::model::{Model, Session, StepOutput};
use super::ops::{Array, eval};
use super::sample::Sampler;
use crate::graph::cache::KvQuantization;
use std::ops::ControlFlow;
use std::time::Instant;

/// What to generate.
#[derive(Clone, Debug)]
pub struct GenerationRequest {
    /// Token ids of the prompt; at least one.
    pub prompt: Vec<u32>,
    /// Most tokens to generate.
    pub max_tokens: u32,
    /// Tokens that end the text.
    pub stop: Vec<u32>,
    /// Sampling temperature; 0 takes the most probable token.
    pub temperature: f64,
    /// Seed of the sampling.
    pub seed: u64,
    /// Tokens of a prefill chunk.
    pub prefill_step: u32,
    /// Whether and how the cache is quantized.
    pub kv: Option<KvQuantization>,
}

impl GenerationRequest {
    /// Greedy generation with mlx-lm's defaults.
    #[must_use]
    pub fn greedy(prompt: Vec<u32>, max_tokens: u32) -> Self {
        let stop = Vec::new();
        Self { prompt, max_tokens, stop, temperature: 0.0, seed: 0, prefill_step: 2048, kv: None }
    }
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The most tokens asked for were generated.
    Length,
    /// A stop token was sampled.
    Stop,
    /// The caller wanted no more.
    Canceled,
}

/// A finished generation with its times, in seconds since its start.
#[derive(Clone, Debug)]
pub struct MlxGeneration {
    /// Generated tokens; a stop token is not among them.
    pub tokens: Vec<u32>,
    /// When each token, a final stop token included, was there.
    pub times_s: Vec<f64>,
    /// Why it ended.
    pub finish: Finish,
}

impl MlxGeneration {
    /// Seconds to the first token.
    #[must_use]
    pub fn ttft_s(&self) -> Option<f64> {
        self.times_s.first().copied()
    }

    /// Tokens per second from the first to the last token.
    #[must_use]
    pub fn decode_tokens_per_s(&self) -> Option<f64> {
        let (first, last) = (self.times_s.first()?, self.times_s.last()?);
        let seconds = last - first;
        (seconds > 0.0).then(|| (self.times_s.len() - 1) as f64 / seconds)
    }
}

impl Model<'_> {
    /// Generates from a prompt; `each` gets every token as it comes.
    ///
    /// # Errors
    /// When the prompt is empty, the model cannot run, or MLX fails.
    pub fn generate(
        &self,
        request: &GenerationRequest,
        each: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<MlxGeneration, EngineError> {
        let mut session = self.session(1, request.kv);
        let start = Instant::now();
        let _wired = super::memory::Wired::recommended();
        let last = prefill(self, &mut session, &request.prompt, request.prefill_step)?;
        decode(&mut session, &last, request, start, each)
    }
}

/// Fills the cache with all tokens of the prompt but the last, which it returns as an array.
pub(super) fn prefill(
    model: &Model<'_>,
    session: &mut Session<'_, '_>,
    prompt: &[u32],
    step: u32,
) -> Result<Array, EngineError> {
    let Some((last, before)) = prompt.split_last() else {
        return Err(EngineError::Tensor("the prompt is empty".to_owned()));
    };
    for chunk in before.chunks(step.max(1) as usize) {
        session.prefill(&model.tokens(chunk, 1)?)?;
    }
    model.tokens(&[*last], 1)
}

fn decode(
    session: &mut Session<'_, '_>,
    last: &Array,
    request: &GenerationRequest,
    start: Instant,
    each: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<MlxGeneration, EngineError> {
    let mut sampler = Sampler::new(request.temperature, request.seed)?;
    let mut out = MlxGeneration { tokens: Vec::new(), times_s: Vec::new(), finish: Finish::Length };
    let mut step = |session: &mut Session<'_, '_>, input: &Array| {
        let made = session.step(input)?;
        let step = StepOutput { token: sampler.token(&made)?, ..made };
        session.start(&step)?;
        Ok::<_, EngineError>(step)
    };
    let mut current = step(session, last)?;
    for n in 0..request.max_tokens {
        // The next step is under way while this token is read; the one after the last is not needed.
        let next = if n + 1 < request.max_tokens {
            let input = session.next_input(&current.token)?;
            Some(step(session, &input)?)
        } else {
            None
        };
        let token = read(&current.token)?;
        out.times_s.push(start.elapsed().as_secs_f64());
        if request.stop.contains(&token) {
            out.finish = Finish::Stop;
            break;
        }
        out.tokens.push(token);
        if each(token).is_break() {
            out.finish = Finish::Canceled;
            break;
        }
        if n % 256 == 0 {
            let _ = super::rs::memory::clear_cache();
        }
        match next {
            Some(next) => current = next,
            None => break,
        }
    }
    Ok(out)
}

/// Waits for a token.
pub(super) fn read(token: &Array) -> Result<u32, EngineError> {
    eval(&[token])?;
    token
        .try_item_exact::<u32>()
        .map_err(|e| EngineError::Mlx { operation: "reading a token", message: e.to_string() })
}
