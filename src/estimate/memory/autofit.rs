//! How programs size the room for caches themselves, whatever the run: LM Studio fits the context of a model into the
//! working set when it loads it, vllm-metal makes a pool of blocks of what it reserves.

use crate::hardware::machine::Machine;
use crate::ledger::llama_cpp::Layout;
use crate::units::{Bytes, GIB};

/// Bytes of an element of keys and values, and of activations.
const HALF: u64 = 2;
/// Bytes of an element of a recurrent state.
const SINGLE: u64 = 4;
/// Tokens that contexts and caches grow by.
const STEP: u64 = 256;
/// The least context that LM Studio fits.
const LEAST: u64 = 4096;

/// What a token and the rest of the caches take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Widths {
    /// Bytes of keys and values of a token in the layers that keep all tokens.
    token: u64,
    /// The same in the layers with a window, by the tokens of theirs: window and a chunk.
    windows: u64,
    /// Bytes of the states.
    states: u64,
    /// Query heads of the layer that has most.
    heads: u64,
}

impl Widths {
    fn of(layout: &Layout, chunk: u64) -> Self {
        let mut all = Self { token: 0, windows: 0, states: 0, heads: 0 };
        for layer in &layout.layers {
            let stored = HALF * layer.stored.iter().sum::<u64>();
            match layer.window {
                Some(window) => all.windows += stored * (u64::from(window) + chunk),
                None => all.token += stored,
            }
            all.states += SINGLE * layer.state;
            all.heads = all.heads.max(layer.attention.map_or(0, |a| a.heads));
        }
        all
    }
}

/// What LM Studio fits the context of a model with.
#[derive(Clone, Copy, Debug)]
pub struct AutoFitRule<'r> {
    /// Chunks that it chooses from, the largest first.
    pub steps: &'r [u32],
    /// What it leaves free of the working set, GiB.
    pub reserve_gib: u32,
    /// Whether it charges no scores of attention to this model.
    pub without_scores: bool,
}

/// The context that LM Studio fits to a model on MLX, by the rule that its log shows (`context_fit.py` of mlx-engine).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoFit {
    /// Tokens.
    pub tokens: u64,
    /// What it estimates the peak to be there.
    pub peak: Bytes,
    /// What it allows: the working set less its reserve.
    pub ceiling: Bytes,
    /// The reserve, GiB.
    pub reserve_gib: u32,
    /// Whether it charges the scores of a whole chunk for every token.
    pub charges_scores: bool,
    /// The chunks in which it reads the prompt of the run: until which token, and how many at once.
    pub chunks: Vec<(u64, u32)>,
}

impl AutoFit {
    /// The context for weights of so many bytes that were made for so many tokens, and the chunks of a prompt. The scores of
    /// a whole chunk are charged for every token of the context, also where MLX builds none, unless the model is one that it
    /// charges none for.
    #[must_use]
    pub fn of(
        layout: &Layout,
        (weights, made_for): (Bytes, Option<u64>),
        (working_set, prompt): (Bytes, u64),
        rule: AutoFitRule<'_>,
    ) -> Self {
        let ceiling = working_set.saturating_sub(Bytes(u64::from(rule.reserve_gib) * GIB));
        let smallest = rule.steps.last().copied().unwrap_or(1);
        let at = FittedStep::of(layout, weights, (smallest, rule.without_scores));
        let room = ceiling.0.saturating_sub(at.fixed) / (at.token + at.input).max(1);
        let most = made_for.unwrap_or(u64::MAX).max(LEAST);
        let tokens = room.next_multiple_of(STEP).clamp(LEAST, most);
        let peak = Bytes(at.fixed + tokens * (at.token + at.input));
        let limits = rule.steps.iter().map(|&step| {
            let at = FittedStep::of(layout, weights, (step, rule.without_scores));
            let room = ceiling.0.saturating_sub(at.fixed + at.input * prompt);
            (room / at.token.max(1) / STEP * STEP, step)
        });
        let mut chunks: Vec<(u64, u32)> = Vec::new();
        for (until, step) in limits {
            let last = if step == smallest { prompt } else { until.min(prompt) };
            if last > chunks.last().map_or(0, |(end, _)| *end) {
                chunks.push((last, step));
            }
        }
        let charges_scores = !rule.without_scores;
        Self { tokens, peak, ceiling, reserve_gib: rule.reserve_gib, charges_scores, chunks }
    }
}

impl AutoFit {
    /// The chunks of the prompt in words, where they are not all of one length.
    #[must_use]
    pub fn chunks_text(&self) -> String {
        let [parts @ .., (_, last)] = self.chunks.as_slice() else { return String::new() };
        if parts.is_empty() {
            return String::new();
        }
        let parts: Vec<String> =
            parts.iter().map(|(until, step)| format!("of {step} up to token {until}")).collect();
        format!(
            "; it reads this prompt in chunks {}, then of {last} (--prefill-step {last} predicts those)",
            parts.join(", ")
        )
    }
}

/// The sum that LM Studio makes for a chunk.
struct FittedStep {
    /// Bytes whatever the tokens.
    fixed: u64,
    /// Bytes of a token in the cache, with the scores of a chunk.
    token: u64,
    /// Bytes of a token of the prompt.
    input: u64,
}

impl FittedStep {
    fn of(layout: &Layout, weights: Bytes, (step, without_scores): (u32, bool)) -> Self {
        let step = u64::from(step);
        let widths = Widths::of(layout, step);
        let scores = if without_scores { 0 } else { HALF * widths.heads * step };
        Self {
            fixed: weights.0 + widths.windows + widths.states,
            token: widths.token + scores,
            input: HALF * layout.width,
        }
    }
}

/// The pool of cache blocks that vllm-metal makes when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachePool {
    /// Bytes that it reserves in all.
    pub reserved: Bytes,
    /// Bytes of them for blocks.
    pub pool: Bytes,
    /// Tokens of all sequences together that the blocks hold.
    pub tokens: u64,
}

impl CachePool {
    /// The pool on a machine whose program reserves a share of the GPU limit, beside weights and what a run needs beside them
    /// and its cache; `None` where it reserves nothing.
    #[must_use]
    pub fn of(layout: &Layout, machine: &Machine, beside: Bytes, block: u64) -> Option<Self> {
        let (_, reserved, _) = machine.cap_bytes()?;
        let widths = Widths::of(layout, 0);
        let pool = reserved.saturating_sub(beside + Bytes(widths.windows + widths.states));
        let block = block.max(1);
        let tokens = pool.0 / widths.token.max(1) / block * block;
        Some(Self { reserved, pool, tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::graph::towers::Loader;
    use crate::ledger::weights::Weights;
    use crate::model::Scheme;
    use crate::model::catalog::Models;

    fn graph(model: &str, quant: &str) -> Graph {
        let models = Models::built_in().expect("built in");
        let entry = models.get(model).expect("known").entry().expect("a good entry");
        let scheme: Scheme = quant.parse().expect("a scheme");
        Graph::converted(&entry.config, scheme, Loader::MlxVlm).expect("a graph")
    }

    const fn gib(x: f64) -> Bytes {
        Bytes((x * GIB as f64) as u64)
    }

    /// Lines of LM Studio's log, "Model context auto-fit": working set, baseline, fitted tokens and estimated peak in GiB.
    /// lmstudio-bug-tracker#2250 (M1 Max 64 GB: 48.88 where 48.84 are allowed), #2191 and #2240.
    #[test]
    fn contexts_that_lm_studio_fitted() {
        for (model, quant, working_set, baseline, tokens, peak) in [
            ("Qwen/Qwen3.8-27B", "4bit", 51.84, 14.95, 208_384, 48.88),
            ("Qwen/Qwen3.6-35B-A3B", "4bit", 36.0, 20.15, 152_576, 33.01),
            ("google/gemma-4-26B-A4B-it", "8bit", 37.44, 26.04, 91_648, 34.44),
        ] {
            let graph = graph(model, quant);
            let layout = Layout::of(&graph).expect("runs");
            let made_for = graph.max_context();
            let rule = AutoFitRule { steps: &[2048], reserve_gib: 3, without_scores: false };
            let fit =
                AutoFit::of(&layout, (gib(baseline), made_for), (gib(working_set), 8192), rule);
            assert!(fit.tokens.abs_diff(tokens) <= 512, "{model}: {} tokens", fit.tokens);
            assert!((fit.peak.gib() - peak).abs() < 0.06, "{model}: {}", fit.peak.gib());
            assert!((fit.ceiling.gib() - (working_set - 3.0)).abs() < 0.01, "{model}");
        }
    }

    /// Since 2026-08-21 the context is that of chunks of 512, and a prompt is read in larger ones as far as those fit.
    #[test]
    fn smaller_chunks_hold_longer_prompts() {
        let graph = graph("Qwen/Qwen3.8-27B", "4bit");
        let layout = Layout::of(&graph).expect("runs");
        let fit = |steps: &[u32], prompt: u64| {
            let rule = AutoFitRule { steps, reserve_gib: 3, without_scores: false };
            AutoFit::of(&layout, (gib(14.95), graph.max_context()), (gib(36.0), prompt), rule)
        };
        let (fixed, chosen) = (fit(&[2048], 100_000), fit(&[2048, 1024, 512], 150_000));
        assert!(chosen.tokens > fixed.tokens, "{} {}", chosen.tokens, fixed.tokens);
        let steps: Vec<u32> = chosen.chunks.iter().map(|(_, step)| *step).collect();
        assert_eq!(
            (steps, chosen.chunks.last().map(|(end, _)| *end)),
            (vec![2048, 1024], Some(150_000))
        );
        assert_eq!(fit(&[2048, 1024, 512], 4096).chunks, [(4096, 2048)]);
    }

    /// What it takes for the baseline is what is loaded, tower included.
    #[test]
    fn the_baseline_is_the_weights() {
        let loaded = Weights::of(&graph("Qwen/Qwen3.8-27B", "4bit")).active_bytes;
        assert!((Bytes(loaded).gib() / 14.95 - 1.0).abs() < 0.005, "{}", Bytes(loaded).gib());
    }
}
