//! Results of `mlxplan bench` as claims.

use super::claim::{Claim, ClaimKind, MemoryMetric, Range};
use crate::bench::arrivals::support_a_rate;
use crate::bench::record::{EngineRecord, Record};
use crate::bench::summary::{CaseSummary, TrialMetric};
use crate::bench::{Trial, TrialFlag};

/// Every case of a run as a claim. The machine is left out where the run was not on a Mac of the catalog; speeds are
/// left out where it was on no Mac at all, because the bounds are those of Macs.
#[must_use]
pub fn claims(record: &Record) -> Vec<Claim> {
    let mac = record.machine.get("apple_silicon").and_then(serde_json::Value::as_bool);
    let chip = record.machine.get("chip").and_then(|c| c.as_str());
    let memory = record.machine.get("memory_bytes").and_then(serde_json::Value::as_u64);
    let machine = chip.zip(memory).map(|(chip, bytes)| format!("{chip}/{}", bytes >> 30));
    record
        .summary
        .iter()
        .filter_map(|s| {
            let engine = record.engines.iter().find(|e| e.label == s.engine)?;
            let claim =
                Claim { held_back: held_back(record, s), ..claim(s, engine, machine.clone()) };
            Some(if mac == Some(false) { without_speeds(claim) } else { claim })
        })
        .collect()
}

/// Trials of a case whose arrival times support no rate, and all that succeeded. Results of older versions have rates
/// from such trials.
fn held_back(record: &Record, s: &CaseSummary) -> Option<(usize, usize)> {
    let mine = |t: &&Trial| t.counts() && t.engine == s.engine && t.case == s.case;
    let trials: Vec<&Trial> = record.trials.iter().filter(mine).collect();
    let flagged =
        |t: &Trial| t.flags.contains(&TrialFlag::Burst) || t.flags.contains(&TrialFlag::AboveBound);
    let unsupported = |t: &Trial| {
        let (Some(_), Some(generated), Some(total)) =
            (t.decode_tokens_per_s, t.generated_tokens, t.total_s)
        else {
            return false;
        };
        !t.token_times_s.is_empty() && !support_a_rate(&t.token_times_s, generated, total)
    };
    let n = trials.iter().filter(|t| flagged(t) || unsupported(t)).count();
    (!trials.is_empty()).then_some((n, trials.len()))
}

fn without_speeds(claim: Claim) -> Claim {
    Claim { decode_tokens_per_s: None, prefill_tokens_per_s: None, ttft_s: None, ..claim }
}

fn claim(s: &CaseSummary, engine: &EngineRecord, machine: Option<String>) -> Claim {
    let server = engine.server.as_ref();
    let range = |m: TrialMetric| {
        let summary = s.metric(m)?;
        let [low, high] = summary.interval_95.unwrap_or([summary.median, summary.median]);
        Some(Range { low, high })
    };
    let count = |m: TrialMetric| Some(s.metric(m)?.median.round() as u32);
    let footprint = range(TrialMetric::FootprintBytes);
    Claim {
        id: format!("{} {}", s.engine, s.case),
        model: server.map(|i| i.model.id.clone()).filter(|id| !id.is_empty()),
        quant: server.and_then(|i| i.model.quant.clone()),
        engine: server.and_then(|i| i.engine()),
        machine,
        kind: ClaimKind::Measured,
        prompt_tokens: count(TrialMetric::PromptTokens),
        generated_tokens: count(TrialMetric::GeneratedTokens),
        cached_prefix: count(TrialMetric::CachedTokens).is_some_and(|n| n > 0),
        decode_tokens_per_s: range(TrialMetric::DecodeTokensPerS),
        prefill_tokens_per_s: range(TrialMetric::PrefillTokensPerS),
        ttft_s: range(TrialMetric::TtftS),
        memory_gb: footprint.map(|r| Range { low: r.low / 1e9, high: r.high / 1e9 }),
        memory_metric: footprint.map(|_| MemoryMetric::Footprint),
        ..Claim::default()
    }
}
