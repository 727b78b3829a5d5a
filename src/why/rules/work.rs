//! The work: more tokens than thought, kept prompts, requests at once.

use super::{Brings, NONE, SuspectList, around, between};
use crate::why::{GapCause, GapError};

/// Tokens of thinking before an answer.
const THINKING: [f64; 2] = [30.0, 4000.0];
/// How far the time of a missed prompt may be off.
const MISSED_SPREAD: f64 = 1.2;
/// Seconds that a hit takes at least.
const HIT_S: f64 = 0.02;
/// Requests at once, few and many.
const SHARED: [u32; 2] = [2, 4];
const TOTAL: [u32; 2] = [2, 16];

pub(super) fn find(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    depth(found)?;
    thinking(found)?;
    kept(found)?;
    batch(found)
}

fn depth(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let (case, run) = (found.case, found.case.run());
    let deepest = case.deepest();
    if deepest <= run.work.context_tokens.saturating_mul(2) {
        return Ok(());
    }
    // Who says how long the prompt is may forget the system prompt, not ten times as much.
    let (most, times) = match case.stated.context {
        true => (deepest.min(run.work.context_tokens.saturating_mul(4).max(16_384)), 0.4),
        false => (deepest, 1.0),
    };
    let Some([decode, first]) = case.changed(run.with_context(most)) else { return Ok(()) };
    let row = found.row(GapCause::ContextDepth, None)?;
    let brings = Brings::computed(between(decode, 1.0), between(first, 1.0));
    let test = found.bench("--scenario depth");
    found.add(row, times, brings, test);
    Ok(())
}

fn thinking(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let case = found.case;
    let row = found.row(GapCause::ThinkingTokens, None)?;
    let seconds = THINKING.map(|n| n / case.decode.tokens_per_s);
    let brings = Brings::computed(NONE, case.later_token(seconds));
    let test = found.bench("--generate 32  # thinking counts as tokens");
    found.add(row, 1.0, brings, test);
    Ok(())
}

fn kept(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let (case, run) = (found.case, found.case.run());
    let test = found.bench("--scenario resume");
    if case.seen.cached_tokens > 0 {
        let row = found.row(GapCause::PrefixCache, Some("missed"))?;
        let first = case.ttft_s / case.prefill.ttft_s;
        found.add(row, 1.0, Brings::computed(NONE, around(first, MISSED_SPREAD)), test);
        return Ok(());
    }
    let deepest = case.deepest();
    if !case.stated.context && deepest > run.work.context_tokens {
        let row = found.row(GapCause::PrefixCache, Some("history"))?;
        if let Some([_, first]) = case.changed(run.with_context(deepest)) {
            found.add(row, 1.0, Brings::computed(NONE, between(first, 1.0)), test.clone());
        }
    }
    let row = found.row(GapCause::PrefixCache, Some("hit"))?;
    let least = case.decode.seconds_per_token + HIT_S;
    let most = (case.ttft_s / least).max(1.0);
    found.add(row, 1.0, Brings::computed(NONE, [1.1_f64.min(most), most]), test);
    Ok(())
}

fn batch(found: &mut SuspectList<'_, '_>) -> Result<(), GapError> {
    let (case, run) = (found.case, found.case.run());
    if run.work.batch > 1 {
        return Ok(());
    }
    let total = |n: u32| case.changed(run.with_batch(n)).map(|[decode, _]| decode);
    let test = found.bench("--scenario concurrency --users 1,2,4");
    if let (Some(few), Some(many)) = (total(SHARED[0]), total(SHARED[1])) {
        let row = found.row(GapCause::Batch, Some("shared"))?;
        let each = between(few / f64::from(SHARED[0]), many / f64::from(SHARED[1]));
        let first = [1.0 / f64::from(SHARED[1]), 1.0 / f64::from(SHARED[0])];
        found.add(row, 1.0, Brings::computed(each.map(|f| f.min(1.0)), first), test.clone());
    }
    if let (Some(few), Some(many)) = (total(TOTAL[0]), total(TOTAL[1]))
        && many > 1.1
    {
        let row = found.row(GapCause::Batch, Some("total"))?;
        found.add(row, 1.0, Brings::computed(between(few.max(1.05), many), NONE), test);
    }
    Ok(())
}
