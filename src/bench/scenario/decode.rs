//! Decode rate and time to first token over kinds of prompts.

use crate::bench::prompts::PromptKind;
use crate::bench::run::BenchRun;

/// A prompt to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptWork {
    /// One of the nine kinds.
    Kind(PromptKind),
    /// A text of the user, with a name.
    Given(String, String),
}

impl PromptWork {
    fn name(&self) -> String {
        match self {
            Self::Kind(kind) => kind.name().to_owned(),
            Self::Given(name, _) => name.clone(),
        }
    }
}

/// Measures the prompts on every engine.
pub fn decode(run: &mut BenchRun<'_>, work: &[PromptWork]) {
    let cases: Vec<(String, &PromptWork)> = work.iter().map(|w| (w.name(), w)).collect();
    run.interleaved(&cases, |run, work| {
        let text = match work {
            PromptWork::Kind(kind) => run.prompts.of_kind(*kind),
            PromptWork::Given(_, text) => run.prompts.made_unique(text),
        };
        run.prompt(text)
    });
}
