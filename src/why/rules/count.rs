//! How tokens and time were counted.

use super::{Brings, NONE, SuspectList};
use crate::why::{GapCause, GapError};

/// Tokens of an answer where they were not said.
const ANSWERS: [u32; 2] = [8, 1024];
/// Tokens of a prompt where they were not said.
const PROMPTS: [u32; 2] = [64, 8192];

pub(super) fn find(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    end_to_end(found)?;
    for variant in ["too_many", "too_few"] {
        let row = found.row(GapCause::TokenCount, Some(variant))?;
        let test = found.bench("--generate 256  # counts the server's tokens");
        found.add(row, 1.0, Brings::of(row), test);
    }
    Ok(())
}

/// Tokens over the time of the whole request.
fn end_to_end(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let (case, run) = (found.case, found.case.run());
    let row = found.row(GapCause::EndToEndRate, None)?;
    let work = run.work;
    let answers = if case.stated.generate { [work.generate_tokens; 2] } else { ANSWERS };
    let ttft = match (case.seen.ttft_s, case.stated.context) {
        (Some(seconds), _) => [seconds; 2],
        (None, true) => case.ttft_interval_90_s,
        (None, false) => {
            let of = |tokens| case.speeds(run.with_context(tokens)).map(|s| s.ttft_s);
            let (Some(soon), Some(late)) = (of(PROMPTS[0]), of(PROMPTS[1])) else { return Ok(()) };
            [soon, late]
        }
    };
    let rate = case.decode.tokens_per_s;
    let factor = |tokens: u32, seconds: f64| {
        let tokens = f64::from(tokens.max(1));
        (tokens / (seconds + tokens / rate)) / rate
    };
    let decode = [factor(answers[0], ttft[1]), factor(answers[1], ttft[0])];
    let test = found.bench("--generate 256  # decode and first token apart");
    found.add(row, 1.0, Brings::computed(decode, NONE), test);
    Ok(())
}
