//! One call of the model, and what it records.

use super::cache::{self, Cache, KvQuantization};
use super::tape::{Routing, Source, Stage, Tape, Trace, TraceError, Var};
use super::{Graph, SkippedLayers};
use crate::model::DType;

/// One call of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Sequences processed together.
    pub batch: u32,
    /// New tokens per sequence.
    pub tokens: u32,
    /// Whether the next token is sampled (decode) or only the cache is filled (prefill).
    pub sample: bool,
    /// Whether the cache is quantized after the call.
    pub kv: Option<KvQuantization>,
    /// Layers that are not run.
    pub skipped: SkippedLayers,
}

impl Call {
    /// A prefill call of one sequence.
    #[must_use]
    pub const fn prefill(tokens: u32) -> Self {
        Self { batch: 1, tokens, sample: false, kv: None, skipped: SkippedLayers::NONE }
    }

    /// A decode step of one sequence.
    #[must_use]
    pub const fn decode() -> Self {
        Self { batch: 1, tokens: 1, sample: true, kv: None, skipped: SkippedLayers::NONE }
    }
}

impl Graph {
    /// Sizes of the heads of queries and values of every attention, in prompts and in decode steps, each once. Read once.
    ///
    /// # Errors
    /// When mlx-lm could not run this model.
    pub fn attention_heads(&self) -> Result<&[[u32; 2]], TraceError> {
        if let Some(known) = self.heads.get() {
            return Ok(known);
        }
        let mut caches = self.make_cache();
        let skipped = self.skipped_for_counts()?;
        let mut of = |call: Call| -> Result<_, TraceError> {
            let call = Call { skipped: skipped.clone(), ..call };
            Ok(self.trace(&mut caches, call, Routing::default())?.heads.clone())
        };
        let mut heads = of(Call::prefill(16))?;
        let decode = of(Call::decode())?;
        heads.extend(decode.iter().filter(|h| !heads.contains(h)).copied().collect::<Vec<_>>());
        Ok(self.heads.get_or_init(|| heads))
    }

    /// Records one call of the model and advances the caches.
    ///
    /// # Errors
    /// When mlx-lm could not run this model (shapes that do not fit).
    pub fn trace(
        &self,
        caches: &mut [Cache],
        call: Call,
        routing: Routing,
    ) -> Result<Trace, TraceError> {
        let sampled = call.sample;
        self.record(
            caches,
            call,
            routing,
            |logits| {
                if sampled { sample(logits) } else { Vec::new() }
            },
        )
    }

    /// As [`Graph::trace`], with the logits `[batch, tokens, vocabulary]` as the only result.
    ///
    /// # Errors
    /// As [`Graph::trace`].
    pub fn trace_logits(
        &self,
        caches: &mut [Cache],
        call: Call,
        routing: Routing,
    ) -> Result<Trace, TraceError> {
        self.record(caches, call, routing, |logits| vec![logits])
    }

    fn record(
        &self,
        caches: &mut [Cache],
        call: Call,
        routing: Routing,
        results: impl FnOnce(Var<'_>) -> Vec<Var<'_>>,
    ) -> Result<Trace, TraceError> {
        let t = Tape::new(&self.params, routing, call.skipped.clone());
        let shape = [call.batch, call.tokens].into();
        let tokens = t.input(shape, DType::I32, Source::Tokens);
        t.set_first_call(caches.iter().all(|c| c.slots().iter().all(Option::is_none)));
        cache::enter(caches, &t, &call.skipped);
        let logits = self.built.network.forward(tokens, caches);
        if let Some(kv) = call.kv {
            cache::quantize(caches, &t, kv, &call.skipped);
        }
        let results = results(logits);
        let state = cache::leave(caches, &call.skipped);
        cache::follow(caches, &call.skipped);
        t.set_outputs(&results, state);
        t.finish().map(Trace::pruned)
    }
}

/// Greedy sampling as `mlx_lm.generate` does it: the next token and the log-probabilities.
fn sample(logits: Var<'_>) -> Vec<Var<'_>> {
    logits.tape().set_stage(Stage::Head);
    let n = logits.dim(1);
    let row = logits.at(1, n.saturating_sub(1));
    let total = row.logsumexp();
    let log_probs = row - total;
    let token = log_probs.argmax();
    let log_probs = if row.dim(0) == 1 { log_probs.squeeze(&[0]) } else { log_probs };
    vec![token, log_probs]
}
