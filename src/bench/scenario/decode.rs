//! Decode rate and time to first token over kinds of prompts.

use crate::bench::prompts::Kind;
use crate::bench::run::Run;

/// A prompt to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// One of the nine kinds.
    Kind(Kind),
    /// A text of the user, with a name.
    Given(String, String),
}

impl Work {
    fn name(&self) -> String {
        match self {
            Self::Kind(kind) => kind.name().to_owned(),
            Self::Given(name, _) => name.clone(),
        }
    }
}

/// Measures the prompts on every engine.
pub fn decode(run: &mut Run<'_>, work: &[Work]) {
    let cases: Vec<(String, &Work)> = work.iter().map(|w| (w.name(), w)).collect();
    run.interleaved(&cases, |run, work| {
        let text = match work {
            Work::Kind(kind) => run.prompts.of_kind(*kind),
            Work::Given(_, text) => run.prompts.made_unique(text),
        };
        run.prompt(text)
    });
}
