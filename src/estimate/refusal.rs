//! What an engine or a family cannot do, said before anything is computed with it.

use crate::engine::programs::Engines;
use crate::graph::Graph;
use crate::graph::cache::CacheKind;
use crate::graph::towers::Loader;
use crate::run::{Program, Run};
use thiserror::Error;

/// Why a run cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The program has no such cache.
    #[error("{program} has no KV cache of {bits} bits; --kv-bits takes {allowed} with it{hint}")]
    Bits {
        /// The program.
        program: Program,
        /// Bits that were asked for.
        bits: u32,
        /// What it has, in words.
        allowed: String,
        /// What it means there, where that needs saying.
        hint: &'static str,
    },
    /// The program cannot quantize its cache at all.
    #[error("{0} cannot quantize its KV cache; leave --kv-bits out, or name another --engine")]
    NoBits(Program),
    /// The program cannot quantize the cache of a model that it loads with its vision tower.
    #[error(
        "{0} cannot quantize the KV cache of models that it loads with a vision tower; leave --kv-bits out, or use a copy of \
         the language model alone"
    )]
    Towers(Program),
    /// The model keeps windows, which mlx-lm cannot quantize; a shorter run has nothing of it.
    #[error(
        "the model keeps sliding windows, which mlx-lm cannot quantize: with --kv-bits it stops once the cache holds {0} \
         tokens; leave --kv-bits out"
    )]
    Windows(u32),
}

impl Refusal {
    /// What speaks against a run of a model, if anything.
    #[must_use]
    pub fn of(graph: &Graph, run: &Run) -> Option<Self> {
        let kv = run.engine.kv?;
        let (program, bits) = (run.engine.program, kv.packing.bits);
        if let Some(allowed) = allowed(program) {
            if allowed.is_empty() {
                return Some(Self::NoBits(program));
            }
            if !allowed.contains(&bits) {
                let words: Vec<String> = allowed.iter().map(ToString::to_string).collect();
                let hint = if program.runs_gguf() { " (8 is q8_0, 4 is q4_0)" } else { "" };
                return Some(Self::Bits { program, bits, allowed: words.join(", "), hint });
            }
        }
        if program == Program::LmStudio && graph.loader() == Loader::MlxVlm {
            return Some(Self::Towers(program));
        }
        let windows = graph.cache_kinds().iter().any(keeps_windows);
        (!program.runs_gguf() && windows).then_some(Self::Windows(kv.start))
    }
}

/// Bits of the caches that a program has; `None` where that is not known.
fn allowed(program: Program) -> Option<&'static [u32]> {
    Engines::embedded().ok()?.row(program)?.kv_bits.as_deref()
}

fn keeps_windows(kind: &CacheKind) -> bool {
    match kind {
        CacheKind::Rotating { .. } => true,
        CacheKind::List(all) => all.iter().any(keeps_windows),
        _ => false,
    }
}
