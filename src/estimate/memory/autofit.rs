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

/// The context that LM Studio fits to a model on MLX, by the rule that its log shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl AutoFit {
    /// The context for weights of so many bytes that were made for so many tokens. The scores of a whole chunk are charged for
    /// every token of the context, also where MLX builds none, unless the model is one that it charges none for.
    #[must_use]
    pub fn of(
        layout: &Layout,
        (weights, made_for): (Bytes, Option<u64>),
        (working_set, reserve_gib): (Bytes, u32),
        (chunk, without_scores): (u32, bool),
    ) -> Self {
        let chunk = u64::from(chunk);
        let widths = Widths::of(layout, chunk);
        let ceiling = working_set.saturating_sub(Bytes(u64::from(reserve_gib) * GIB));
        let scores = if without_scores { 0 } else { HALF * widths.heads * chunk };
        let each = (widths.token + HALF * layout.width + scores).max(1);
        let fixed = weights.0 + widths.windows + widths.states;
        let room = ceiling.0.saturating_sub(fixed) / each;
        let most = made_for.unwrap_or(u64::MAX).max(LEAST);
        let tokens = room.next_multiple_of(STEP).clamp(LEAST, most);
        let peak = Bytes(fixed + tokens * each);
        Self { tokens, peak, ceiling, reserve_gib, charges_scores: !without_scores }
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
            let fit = AutoFit::of(
                &layout,
                (gib(baseline), made_for),
                (gib(working_set), 3),
                (2048, false),
            );
            assert!(fit.tokens.abs_diff(tokens) <= 512, "{model}: {} tokens", fit.tokens);
            assert!((fit.peak.gib() - peak).abs() < 0.06, "{model}: {}", fit.peak.gib());
            assert!((fit.ceiling.gib() - (working_set - 3.0)).abs() < 0.01, "{model}");
        }
    }

    /// What it takes for the baseline is what is loaded, tower included.
    #[test]
    fn the_baseline_is_the_weights() {
        let loaded = Weights::of(&graph("Qwen/Qwen3.8-27B", "4bit")).active_bytes;
        assert!((Bytes(loaded).gib() / 14.95 - 1.0).abs() < 0.005, "{}", Bytes(loaded).gib());
    }
}
