//! Exact bytes of the prompt cache after a number of tokens.

use crate::graph::cache::{Cache, CacheKind, KvQuantization, quantize_shapes};
use crate::graph::tape::{Routing, Trace, TraceError};
use crate::graph::{Call, Graph};

pub use crate::run::PREFILL_STEP;

/// The caches of a model after its prompt has been processed as `mlx_lm.generate` does it: all tokens but the last
/// in chunks of `step`, then the last one.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn after_prompt(
    graph: &Graph,
    tokens: u32,
    step: u32,
    batch: u32,
    kv: Option<KvQuantization>,
) -> Result<Vec<Cache>, TraceError> {
    let mut chunks = prefill_chunks(tokens, step).chain((tokens > 0).then_some(1));
    // One traced call fixes the shapes; the rest is counting.
    let Some(first) = chunks.next() else { return Ok(graph.make_cache()) };
    let mut caches = after_first(graph, first, batch, kv)?;
    let chunks: Vec<u32> = chunks.collect();
    advance(&mut caches, &chunks, kv);
    Ok(caches)
}

/// The caches after a first call of so many tokens.
fn after_first(
    graph: &Graph,
    tokens: u32,
    batch: u32,
    kv: Option<KvQuantization>,
) -> Result<Vec<Cache>, TraceError> {
    let skipped = graph.skipped_for_counts()?;
    graph.caches_after(&Call { batch, kv, skipped, ..Call::prefill(telling(graph, tokens)) })
}

/// Tokens of a first call that leaves caches of the same shapes as one of `tokens`: states have the same at any length,
/// and some models that have nothing else process a prompt token by token.
fn telling(graph: &Graph, tokens: u32) -> u32 {
    if states_only(graph) { tokens.min(16) } else { tokens }
}

/// Whether a model has states and nothing else. Some such models process a prompt token by token, so that one of their
/// layers takes hundreds of command buffers.
pub(super) fn states_only(graph: &Graph) -> bool {
    graph.cache_kinds().iter().all(|k| matches!(k, CacheKind::Arrays(_)))
}

/// Lengths of the prefill calls for a prompt: `tokens - 1` in chunks of `step`.
pub fn prefill_chunks(tokens: u32, step: u32) -> impl Iterator<Item = u32> {
    let step = step.max(1);
    let rest = tokens.saturating_sub(1);
    std::iter::repeat_n(step, (rest / step) as usize)
        .chain((rest % step > 0).then_some(rest % step))
}

/// A decode step with `depth` tokens in the cache in which no cache grows: the first one, or the second where caches grow
/// in the first, which is rare.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn steady_decode(
    graph: &Graph,
    depth: u32,
    kv: Option<KvQuantization>,
) -> Result<Trace, TraceError> {
    let mut caches = after_prompt(graph, depth.max(1), PREFILL_STEP, 1, kv)?;
    let call = Call { kv, ..Call::decode() };
    let slots = |caches: &[Cache]| caches.iter().flat_map(|c| c.slots()).collect::<Vec<_>>();
    let before = slots(&caches);
    let trace = graph.trace(&mut caches, call.clone(), Routing::default())?;
    if slots(&caches) == before {
        return Ok(trace);
    }
    graph.trace(&mut caches, call, Routing::default())
}

/// Moves all caches on by calls of the given lengths, with `--kv-bits` if given. Equal caches are counted once.
pub fn advance(caches: &mut [Cache], calls: &[u32], kv: Option<KvQuantization>) {
    let mut known: Vec<(Cache, Cache)> = Vec::new();
    for cache in caches {
        if let Some((_, after)) = known.iter().find(|(before, _)| before == cache) {
            *cache = after.clone();
            continue;
        }
        let before = cache.clone();
        for &n in calls {
            cache.advance(n);
            if let Some(q) = kv {
                quantize_shapes(std::slice::from_mut(cache), q);
            }
        }
        known.push((before, cache.clone()));
    }
}

/// Moves all caches on by so many calls of one token each, as [`advance`] does by a list of them.
pub fn advance_singly(caches: &mut [Cache], mut calls: u32, kv: Option<KvQuantization>) {
    // Until a quantized cache is packed, every call may be the one after which it is.
    if let Some(q) = kv {
        let offset = caches.iter().map(|c| c.offset()).min().unwrap_or(0);
        let before = q.start.saturating_sub(offset).saturating_add(1).min(calls);
        advance(caches, &vec![1; before as usize], kv);
        calls -= before;
    }
    for cache in caches {
        cache.advance_singly(calls);
    }
}

/// Cache sizes of one model for many prompt lengths: what they share is traced once.
pub struct CacheGrowth<'g> {
    graph: &'g Graph,
    step: u32,
    batch: u32,
    kv: Option<KvQuantization>,
    /// The different caches after the first whole chunk, and how many layers have each.
    first: Vec<(Cache, u64)>,
}

impl<'g> CacheGrowth<'g> {
    /// The caches of prompts processed in chunks of `step`, `batch` of them at once.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn of(
        graph: &'g Graph,
        step: u32,
        batch: u32,
        kv: Option<KvQuantization>,
    ) -> Result<Self, TraceError> {
        let step = step.max(1);
        let mut first: Vec<(Cache, u64)> = Vec::new();
        for cache in after_first(graph, step, batch, kv)? {
            match first.iter_mut().find(|(known, _)| *known == cache) {
                Some((_, n)) => *n += 1,
                None => first.push((cache, 1)),
            }
        }
        Ok(Self { graph, step, batch, kv, first })
    }

    /// Bytes of all caches after `tokens`.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn bytes(&self, tokens: u32) -> Result<u64, TraceError> {
        if tokens <= self.step {
            let caches = after_prompt(self.graph, tokens, self.step, self.batch, self.kv)?;
            return Ok(bytes(&caches));
        }
        let rest: Vec<u32> =
            prefill_chunks(tokens, self.step).skip(1).chain(std::iter::once(1)).collect();
        let of = |(cache, n): &(Cache, u64)| {
            let mut cache = [cache.clone()];
            advance(&mut cache, &rest, self.kv);
            n * bytes(&cache)
        };
        Ok(self.first.iter().map(of).sum())
    }
}

/// Bytes of all caches.
#[must_use]
pub fn bytes(caches: &[Cache]) -> u64 {
    caches.iter().map(|c| c.bytes()).sum()
}

/// Bytes of the cache after each of the given numbers of tokens (batch 1, default prefill step).
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn bytes_after(graph: &Graph, tokens: &[u32]) -> Result<Vec<u64>, TraceError> {
    tokens.iter().map(|&n| Ok(bytes(&after_prompt(graph, n, PREFILL_STEP, 1, None)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Config, Scheme};

    fn qwen3_4b() -> Graph {
        let config = Config::parse(
            r#"{"model_type":"qwen3","hidden_size":2560,"num_hidden_layers":36,"num_attention_heads":32,
                "num_key_value_heads":8,"head_dim":128,"intermediate_size":9728,"vocab_size":151936,
                "tie_word_embeddings":true}"#,
        );
        Graph::quantized(&config.expect("valid JSON"), Scheme::DEFAULT).expect("a known family")
    }

    /// Bytes that mlx-lm 0.32.2's own caches reported after `maybe_quantize_kv_cache` with 4 bits from 300 tokens on.
    #[test]
    fn quantized_caches_have_mlx_lms_sizes() {
        let graph = qwen3_4b();
        let kv = Some(KvQuantization { start: 300, ..KvQuantization::bits(4) });
        for (tokens, expected) in
            [(200, 37_748_736), (301, 21_233_664), (1000, 42_467_328), (5000, 212_336_640)]
        {
            let caches = after_prompt(&graph, tokens, PREFILL_STEP, 1, kv).expect("runs");
            assert_eq!(bytes(&caches), expected, "{tokens} tokens");
        }
    }

    #[test]
    fn growth_counts_what_the_calls_would_leave() {
        let graph = qwen3_4b();
        let growth = CacheGrowth::of(&graph, 512, 2, None).expect("runs");
        for tokens in [1, 300, 512, 513, 514, 2000, 9000] {
            let caches = after_prompt(&graph, tokens, 512, 2, None).expect("runs");
            assert_eq!(growth.bytes(tokens).expect("runs"), bytes(&caches), "{tokens} tokens");
        }
    }

    /// Every class of caches, from many states on, quantized and not.
    #[test]
    fn single_tokens_at_once_leave_what_they_leave_one_by_one() {
        let catalog = crate::model::catalog::Models::built_in().expect("built in");
        let mut classes: Vec<CacheKind> = Vec::new();
        for model in catalog.models() {
            let entry = model.entry().expect("readable");
            // Some types are known by name only.
            let Ok(graph) = Graph::new(&entry.config, crate::model::DType::BF16) else { continue };
            if graph.cache_kinds().iter().all(|k| classes.contains(k)) {
                continue;
            }
            classes.extend(graph.cache_kinds().iter().cloned());
            for prompt in [1, 300, 2049] {
                let after = after_prompt(&graph, prompt, 512, 1, None).expect("runs");
                let packed = Some(KvQuantization { start: 2100, ..KvQuantization::bits(4) });
                let packs = graph.cache_kinds().iter().all(|k| *k == CacheKind::Kv);
                for kv in [None, packed.filter(|_| packs)] {
                    for calls in [0, 1, 255, 256, 257, 3000] {
                        let (mut one_by_one, mut at_once) = (after.clone(), after.clone());
                        advance(&mut one_by_one, &vec![1; calls as usize], kv);
                        advance_singly(&mut at_once, calls, kv);
                        assert!(one_by_one == at_once, "{} {prompt} {calls}", model.id);
                    }
                }
            }
        }
        assert!(classes.len() > 8, "{classes:?}");
    }

    #[test]
    fn a_prompt_is_cut_into_chunks_without_its_last_token() {
        let chunks = |n| prefill_chunks(n, 2048).collect::<Vec<u32>>();
        assert!(chunks(1).is_empty());
        assert_eq!(chunks(2049), [2048]);
        assert_eq!(chunks(4100), [2048, 2048, 3]);
    }
}
