//! The key `session` of a workload: the turns of an agent, whose longest is the run that must fit.

use crate::advise::session::{SessionSpec, SessionSpecError};
use crate::hardware::catalog::document::DataEntry;
use crate::run::Run;

/// Keys that a session answers itself, or that it cannot be judged with.
const OTHERS: [&str; 8] =
    ["context", "generate", "users", "batch", "rate", "images", "idle", "draft"];

/// The session of a workload, and the run of its longest turn; the run as it was without one. `None` where there is a mistake.
pub(super) fn read(entry: &mut DataEntry<'_>, run: Run) -> Option<(Run, Option<SessionSpec>)> {
    let Some(text) = entry.optional::<String>("session") else {
        return (!entry.has("session")).then_some((run, None));
    };
    if let Some(other) = OTHERS.into_iter().find(|key| entry.has(key)) {
        entry.wrong(
            other,
            "does not go with session, which says the tokens of every turn of one user",
        );
        return None;
    }
    let spec: SessionSpec =
        text.parse().map_err(|e: SessionSpecError| entry.wrong("session", e.to_string())).ok()?;
    if spec.max_ttft_s.is_some() {
        entry.wrong("session", "max_ttft is a key of the workload here: max_ttft_s = SECONDS");
        return None;
    }
    let longest = spec.longest_turn()?;
    let run = run.with_context(longest.prompt.max(1)).with_generated(longest.output.max(1));
    Some((run, Some(spec)))
}
