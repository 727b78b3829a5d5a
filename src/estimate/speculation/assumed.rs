//! What is assumed of drafts where nothing is said or measured.

use crate::run::{Acceptance, Drafter, Program};

/// Acceptance that is assumed for a kind of text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct OfTask {
    /// The kind of text.
    pub task: &'static str,
    /// What is taken.
    pub middle: f64,
    /// Its lowest and highest value.
    pub ends: [f64; 2],
}

/// Acceptance by task. Assumptions: published figures come from short greedy runs, mostly the favorable ones.
pub(super) const TASKS: [OfTask; 2] = [
    OfTask { task: "prose", middle: 0.55, ends: [0.35, 0.75] },
    OfTask { task: "code and structured output", middle: 0.75, ends: [0.55, 0.9] },
];

/// Acceptances to show: value, and the task that it is assumed for.
pub(super) fn acceptances(stated: Option<Acceptance>) -> Vec<(f64, Option<&'static str>)> {
    match stated {
        Some(a) if a.is_exact() => vec![(a.middle(), None)],
        Some(a) => {
            let [low, high] = a.ends();
            [low, a.middle(), high].map(|a| (a, None)).to_vec()
        }
        None => {
            let [prose, code] = TASKS;
            vec![
                (prose.ends[0], Some("prose, at worst")),
                (prose.middle, Some(prose.task)),
                (code.middle, Some(code.task)),
                (code.ends[1], Some("code, at best")),
            ]
        }
    }
}

/// Factors around a predicted speed-up at a known number of tokens a round that hold nine of ten measurements, and where
/// they come from.
pub(super) const fn band(program: Program, by: Drafter, states: bool) -> ([f64; 2], &'static str) {
    if program.runs_gguf() {
        return (GGUF, GGUF_SOURCE);
    }
    match (by, states) {
        (Drafter::Model, false) => (MLX, MLX_SOURCE),
        _ => (OTHER, OTHER_SOURCE),
    }
}

const MLX: [f64; 2] = [0.75, 1.3];
const MLX_SOURCE: &str =
    "published speed-ups of drafts with MLX (data/beyond.csv), tokens a round given";
const OTHER: [f64; 2] = [0.6, 1.5];
const OTHER_SOURCE: &str = "prediction heads and recurrent states: engines repair states in their own ways (data/beyond.csv)";
const GGUF: [f64; 2] = [0.45, 1.4];
const GGUF_SOURCE: &str = "an assumption: the law is that of MLX's kernels, and llama.cpp's cost 20 to 40 % more for 2 to 4 rows";
