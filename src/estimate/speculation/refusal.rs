//! What speaks against drafts in a run: reasons why there cannot be any, and doubts.

use crate::engine::programs::{Drafting, Engines, WindowsWithDrafts};
use crate::graph::Graph;
use crate::graph::cache::CacheKind;
use crate::graph::towers::Loader;
use crate::model::drafts::{DraftFacts, PredictionHeads, SharedTokenizer};
use crate::roofline::speculation::MOST_DRAFTS;
use crate::run::{DraftTokens, Drafter, Program, Run};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use thiserror::Error;

/// Why a run cannot have drafts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DraftRefusal {
    /// The program takes no draft model.
    #[error("{0} takes no draft model; engines that do: {1}")]
    NoModels(Program, String),
    /// The program does not use prediction heads.
    #[error("{0} does not use prediction heads (MTP){2}; engines that do: {1}")]
    NoHeads(Program, String, &'static str),
    /// The model has no prediction heads.
    #[error("the model has no prediction heads (MTP){0}")]
    Headless(String),
    /// The tokenizers differ.
    #[error(
        "the tokenizers differ{which}: the draft's tokens mean others to the model, so hardly any would be \
         accepted"
    )]
    OtherTokenizer {
        /// Which they are, in brackets, where that is known.
        which: String,
    },
    /// The draft is the model itself, or a larger one.
    #[error("the draft is no smaller than the model")]
    NotSmaller,
    /// Several sequences at once.
    #[error(
        "{0} serves runs with a draft one at a time: it has none with --batch {1}; leave --batch or --draft out"
    )]
    Batch(Program, u32),
    /// A model that is loaded with a vision tower.
    #[error(
        "{0} takes no draft for models that it loads with a vision tower; take a copy of the language model alone"
    )]
    Towers(Program),
    /// Recurrent states cannot go back.
    #[error(
        "the model keeps states that cannot be taken back to before a rejected draft ({1}): {0} refuses a draft"
    )]
    States(Program, &'static str),
    /// Sliding windows are left wrong.
    #[error(
        "{program} goes wrong without an error: once prompt, output and the drafts of a round fill the sliding window of \
         {window} tokens, rejected drafts stay in the cache and the output is no longer that of the model (this run reaches \
         {tokens}); stay below the window, or leave --draft out"
    )]
    Windows {
        /// The program.
        program: Program,
        /// Tokens of the smallest window.
        window: u32,
        /// Tokens of the run and of a round's drafts.
        tokens: u32,
    },
}

/// A doubt about drafts in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DraftDoubt {
    /// Whether the tokenizers are the same is not known.
    TokenizerUnknown(String),
    /// Special tokens differ.
    SpecialTokens,
    /// The run stays below the window, beyond which the output would be wrong.
    BelowWindow(Program, u32),
    /// What the program does with windows is not known.
    WindowsUnknown(Program),
    /// What the program does with states is not known.
    StatesUnknown(Program),
    /// Whether the program takes such drafts is not known.
    ProgramUnknown(Program),
    /// The draft's own states or windows cannot go back.
    DraftForgets,
    /// Something has to be set.
    Needs(Program, String),
    /// Requests wait for one another.
    Alone(Program),
    /// Drafts are off unless a number is set.
    OffByDefault(Program, String),
    /// Converted files lack the heads.
    HeadsInFiles,
}

impl fmt::Display for DraftDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TokenizerUnknown(of) => write!(
                f,
                "the tokenizer of {of} is not known: give folders with tokenizer.json to have them compared; if they \
                 differ, hardly any draft is accepted"
            ),
            Self::SpecialTokens => f.write_str(
                "the tokens of text are the same, special tokens differ: drafts of those are rejected",
            ),
            Self::BelowWindow(program, window) => write!(
                f,
                "right only while prompt, output and drafts stay below the sliding window of {window} tokens: from there on {program} \
                 goes wrong without an error"
            ),
            Self::WindowsUnknown(program) => write!(
                f,
                "whether {program} takes rejected drafts out of sliding windows is not known: compare its output with and \
                 without the draft"
            ),
            Self::StatesUnknown(program) => {
                write!(f, "whether {program} takes recurrent states back is not known")
            }
            Self::ProgramUnknown(program) => {
                write!(f, "whether {program} takes such drafts is not known")
            }
            Self::DraftForgets => f.write_str(
                "the draft model keeps states or windows that do not go back after a rejection: fewer of its drafts are right",
            ),
            Self::Needs(program, what) => write!(f, "{program} needs {what} for drafts"),
            Self::Alone(program) => {
                write!(f, "{program} serves requests one at a time while it has a draft model")
            }
            Self::OffByDefault(program, option) => {
                write!(f, "{program} drafts nothing unless {option} is set")
            }
            Self::HeadsInFiles => f.write_str(
                "files converted by mlx-lm have lost the heads: take a copy that keeps them (often named …-mtp)",
            ),
        }
    }
}

impl Serialize for DraftDoubt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for DraftDoubt {
    fn schema_name() -> Cow<'static, str> {
        "DraftDoubt".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// How far the caches of a model go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoesBack {
    /// To any token.
    Always,
    /// To any token until so many are stored.
    Below(u32),
    /// Not at all; mlx-lm's name of the class.
    Never(&'static str),
    /// Not known.
    Unknown,
}

impl GoesBack {
    /// How far all caches of a model go back: as far as the one that goes the least far.
    pub(super) fn of(kinds: &[CacheKind]) -> Self {
        kinds.iter().map(Self::of_kind).fold(Self::Always, Self::and)
    }

    fn of_kind(kind: &CacheKind) -> Self {
        match kind {
            CacheKind::Kv | CacheKind::Projected { .. } => Self::Always,
            CacheKind::Rotating { max_size, .. } => Self::Below(*max_size),
            CacheKind::Chunked { .. } => Self::Unknown,
            CacheKind::Arrays(_) => Self::Never("ArraysCache"),
            CacheKind::Compressed(_) | CacheKind::Pool { .. } => {
                Self::Never("windows and groups of compressed attention")
            }
            CacheKind::List(all) => Self::of(all),
        }
    }

    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never(class), _) | (_, Self::Never(class)) => Self::Never(class),
            (Self::Below(a), Self::Below(b)) => Self::Below(if a < b { a } else { b }),
            (Self::Below(a), _) | (_, Self::Below(a)) => Self::Below(a),
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Always, Self::Always) => Self::Always,
        }
    }
}

/// What is known of drafts in a program.
pub(super) fn drafting(program: Program) -> Option<&'static Drafting> {
    Engines::embedded().ok()?.row(program)?.drafts.as_ref()
}

/// What speaks against drafts in a run of a model.
pub(super) struct Case<'a> {
    pub graph: &'a Graph,
    pub run: &'a Run,
    pub by: Drafter,
    pub tokens: DraftTokens,
}

/// Drafts a round where neither the user nor the engine says: as many as mlx-lm makes.
const USUAL: u32 = 3;

impl Case<'_> {
    /// Reasons of the program and of the model's caches.
    pub(super) fn of_run(&self) -> Result<Vec<DraftDoubt>, DraftRefusal> {
        let (program, batch) = (self.run.engine.program, self.run.work.batch);
        let Some(known) = drafting(program) else {
            return Ok(vec![DraftDoubt::ProgramUnknown(program)]);
        };
        let mut doubts = self.of_program(program, known)?;
        if batch > 1 {
            // Elsewhere drafts for several sequences exist, but nothing is known of their speed.
            return Err(DraftRefusal::Batch(program, batch));
        }
        if known.towers == Some(false) && self.graph.loader() == Loader::MlxVlm {
            return Err(DraftRefusal::Towers(program));
        }
        doubts.extend(self.of_caches(program, known)?);
        if let Some(needs) = &known.needs {
            doubts.push(DraftDoubt::Needs(program, needs.clone()));
        }
        if program.is_mlx_server() && known.alone == Some(true) {
            doubts.push(DraftDoubt::Alone(program));
        }
        if known.tokens == Some(0) {
            let option = known.tokens_option.clone().unwrap_or_default();
            doubts.push(DraftDoubt::OffByDefault(program, option));
        }
        Ok(doubts)
    }

    fn of_program(
        &self,
        program: Program,
        known: &Drafting,
    ) -> Result<Vec<DraftDoubt>, DraftRefusal> {
        let takes = match self.by {
            Drafter::Model => known.model,
            Drafter::Heads => known.heads,
        };
        match (takes, self.by) {
            (Some(true), _) => Ok(Vec::new()),
            (None, _) => Ok(vec![DraftDoubt::ProgramUnknown(program)]),
            (Some(false), Drafter::Model) => {
                Err(DraftRefusal::NoModels(program, engines(|d| d.model == Some(true))))
            }
            (Some(false), Drafter::Heads) => {
                let dropped = if program.is_mlx_lm() { ": it drops them on load" } else { "" };
                Err(DraftRefusal::NoHeads(program, engines(|d| d.heads == Some(true)), dropped))
            }
        }
    }

    fn of_caches(
        &self,
        program: Program,
        known: &Drafting,
    ) -> Result<Vec<DraftDoubt>, DraftRefusal> {
        let drafts = match self.tokens {
            DraftTokens::Stated(drafts) => drafts,
            DraftTokens::Default => known.tokens.unwrap_or(USUAL),
            DraftTokens::Best => MOST_DRAFTS,
        };
        let tokens = self.run.total_tokens().saturating_add(drafts);
        match GoesBack::of(self.graph.cache_kinds()) {
            GoesBack::Always => Ok(Vec::new()),
            GoesBack::Unknown => Ok(vec![DraftDoubt::WindowsUnknown(program)]),
            GoesBack::Never(class) => match known.states {
                Some(true) => Ok(Vec::new()),
                Some(false) => Err(DraftRefusal::States(program, class)),
                None => Ok(vec![DraftDoubt::StatesUnknown(program)]),
            },
            GoesBack::Below(window) => match known.windows {
                Some(WindowsWithDrafts::Right) => Ok(Vec::new()),
                None => Ok(vec![DraftDoubt::WindowsUnknown(program)]),
                Some(WindowsWithDrafts::Wrong) if tokens >= window => {
                    Err(DraftRefusal::Windows { program, window, tokens })
                }
                Some(WindowsWithDrafts::Wrong) => {
                    Ok(vec![DraftDoubt::BelowWindow(program, window)])
                }
            },
        }
    }
}

/// The listed programs of which something is true, in words.
fn engines(with: impl Fn(&Drafting) -> bool) -> String {
    let names = Program::ALL.into_iter().filter(|p| drafting(*p).is_some_and(&with));
    names.map(|p| p.to_string()).collect::<Vec<_>>().join(", ")
}

/// What tokenizers say against a draft model; `names` are those of the model's and of the draft's.
pub(super) fn of_tokenizers(
    shared: SharedTokenizer,
    [main, draft]: [Option<&'static str>; 2],
    [model, drafter]: [&str; 2],
) -> Result<Option<DraftDoubt>, DraftRefusal> {
    match shared {
        SharedTokenizer::Same => Ok(None),
        SharedTokenizer::SameText => Ok(Some(DraftDoubt::SpecialTokens)),
        SharedTokenizer::Different => {
            let which = match (main, draft) {
                (Some(main), Some(draft)) if main != draft => format!(" ({main} and {draft})"),
                _ => " (tokenizer.json of both)".to_owned(),
            };
            Err(DraftRefusal::OtherTokenizer { which })
        }
        SharedTokenizer::Unknown => {
            let of = if main.is_none() { model } else { drafter };
            Ok(Some(DraftDoubt::TokenizerUnknown(of.to_owned())))
        }
    }
}

/// The heads of a model, or why there are none.
pub(super) fn of_heads(
    heads: Option<PredictionHeads>,
    repo: &str,
) -> Result<PredictionHeads, DraftRefusal> {
    heads.ok_or_else(|| {
        let drafter = DraftFacts::embedded().ok().and_then(|facts| facts.drafter_of(repo));
        let instead = drafter.map_or_else(String::new, |d| {
            format!("; what drafts for it is {}, which mlxplan does not model", d.name)
        });
        DraftRefusal::Headless(instead)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_go_back_as_far_as_the_least_of_them() {
        use CacheKind::{Arrays, Kv, List, Rotating};
        let window = |max_size| Rotating { max_size, keep: 0 };
        let of = |kinds: &[CacheKind]| GoesBack::of(kinds);
        assert_eq!(of(&[Kv, Kv]), GoesBack::Always);
        assert_eq!(of(&[Kv, window(1024), window(512)]), GoesBack::Below(512));
        assert_eq!(of(&[window(128), Arrays(2)]), GoesBack::Never("ArraysCache"));
        assert_eq!(of(&[List(vec![Kv, Arrays(1)]), Kv]), GoesBack::Never("ArraysCache"));
        assert_eq!(of(&[List(Vec::new())]), GoesBack::Always);
    }
}
