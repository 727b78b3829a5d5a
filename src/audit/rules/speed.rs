//! Speeds against what memory and arithmetic allow.

use crate::audit::claim::{ClaimedWork, Limiter};
use crate::audit::{AuditCase, AuditRule, Claim, Facts, JudgedClaims, Known, Severity};
use crate::run::Program;
use crate::units::{BytesPerSecond, TokensPerSecond};

/// Share of the bus that no measured stream reaches; between this and the bus a claim is doubtful. The best published
/// shares are 0.94 by a GPU (M5 Max) and 0.96 by the CPU (M4) (`data/hw_measurements.csv`).
const BELIEVABLE_SHARE: f64 = 0.97;
/// A GPU engine this many times slower than the low end of its prediction runs on the CPU, or something else is wrong.
const CPU_FACTOR: f64 = 4.0;
/// Agreement of a rate with tokens over total time that shows where it comes from.
const SAME: f64 = 0.01;

pub(in crate::audit) fn check(case: &AuditCase, out: &mut JudgedClaims) {
    let claim = &case.claim;
    if claim.workload == ClaimedWork::Training {
        return;
    }
    if claim.decode_tokens_per_s.is_some() {
        implied_bandwidth(claim, &case.facts, out);
        cpu_speed(claim, &case.facts, out);
        end_to_end(claim, out);
    }
    if claim.prefill_tokens_per_s.is_some() || claim.ttft_s.is_some() {
        prefill(claim, &case.facts, out);
    }
    bandwidth_figure(claim, &case.facts, out);
    explanation(claim, &case.facts, out);
}

/// Bytes that one decode step reads: weights, and keys and values of the middle of the generation.
fn step_bytes(claim: &Claim, known: &Known) -> (f64, f64) {
    let batch = f64::from(claim.batch.unwrap_or(1).max(1));
    let generated = claim.generated_tokens.unwrap_or(0);
    known.step_bytes(claim.context().unwrap_or(0), generated, batch)
}

fn implied_bandwidth(claim: &Claim, facts: &Facts, out: &mut JudgedClaims) {
    let rule = AuditRule::ImpliedBandwidth;
    if claim.speculative {
        return out.skip(&claim.id, rule, "speculative decoding yields several tokens a step");
    }
    let known = match &facts.model {
        Ok(known) => known,
        Err(reason) => return out.skip(&claim.id, rule, reason),
    };
    let (Some(rate), Some(bus)) = (claim.decode_tokens_per_s, facts.bus()) else { return };
    let batch = f64::from(claim.batch.unwrap_or(1).max(1));
    let (weights, cache) = step_bytes(claim, known);
    let implied = rate.high / batch * (weights + cache);
    if implied <= BELIEVABLE_SHARE * bus {
        return out.pass(&claim.id, rule);
    }
    let numbers = format!(
        "{} tok/s × {:.2} GB a token = {}, against {} of {}",
        TokensPerSecond(rate.high),
        (weights + cache) / batch / 1e9,
        BytesPerSecond(implied),
        BytesPerSecond(bus),
        facts.whose(),
    );
    if implied > bus {
        let cause = "another model, quantization or machine than stated, several tokens a step (speculative decoding, \
                     a batch), or a rate that is not decoding";
        out.find(&claim.id, rule, Severity::Impossible, numbers, cause);
    } else {
        let cause =
            "the best published reads reach 94 % of the bus by the GPU, and 96 % by the CPU";
        out.find(&claim.id, rule, Severity::Doubtful, numbers, cause);
    }
}

fn cpu_speed(claim: &Claim, facts: &Facts, out: &mut JudgedClaims) {
    let rule = AuditRule::CpuSpeed;
    let Ok(known) = &facts.model else { return };
    let Some(rate) = claim.decode_tokens_per_s else { return };
    let engine = claim.engine.unwrap_or(Program::MlxLm);
    let (context, batch) = (claim.context().unwrap_or(0), claim.batch.unwrap_or(1));
    let Some(slowest) = facts.slowest_decode(known, engine, context, batch) else {
        return out.skip(&claim.id, rule, "the coefficients of the speed model cannot be read");
    };
    if rate.high * CPU_FACTOR >= slowest {
        return out.pass(&claim.id, rule);
    }
    let (weights, cache) = step_bytes(claim, known);
    let numbers = format!(
        "{} tok/s move {}; {} should reach at least {} tok/s with {}",
        TokensPerSecond(rate.high),
        BytesPerSecond(rate.high * (weights + cache)),
        facts.whose(),
        TokensPerSecond(slowest),
        engine,
    );
    let cause = "the engine fell back to the CPU (a format without GPU kernels, as bf16 GGUF on older versions), the \
                 model was swapped to disk, or the rate includes more than decoding";
    out.find(&claim.id, rule, Severity::Misleading, numbers, cause);
}

fn end_to_end(claim: &Claim, out: &mut JudgedClaims) {
    let rule = AuditRule::EndToEnd;
    let (Some(rate), Some(tokens), Some(total)) =
        (claim.decode_tokens_per_s, claim.generated_tokens, claim.total_s)
    else {
        return;
    };
    if total <= 0.0 {
        return out.skip(&claim.id, rule, "the total time is not positive");
    }
    let whole = f64::from(tokens) / total;
    if (rate.high / whole - 1.0).abs() > SAME {
        return out.pass(&claim.id, rule);
    }
    let numbers =
        format!("{} tok/s is {tokens} tokens over the whole {total} s", TokensPerSecond(rate.high));
    let cause = "the prompt's time is in it, so it changes with the lengths of prompt and answer; decode is the tokens \
                 after the first over the time since the first";
    out.find(&claim.id, rule, Severity::Misleading, numbers, cause);
}

/// Prompt speed, as stated or as prompt tokens over the time to first token.
fn prefill(claim: &Claim, facts: &Facts, out: &mut JudgedClaims) {
    let rule = AuditRule::PrefillAbovePeak;
    let known = match &facts.model {
        Ok(known) => known,
        Err(reason) => return out.skip(&claim.id, rule, reason),
    };
    let from_ttft = || Some(f64::from(claim.prompt_tokens?) / claim.ttft_s?.low.max(1e-9));
    let Some(rate) = claim.prefill_tokens_per_s.map(|r| r.high).or_else(from_ttft) else {
        return out.skip(&claim.id, rule, "the number of prompt tokens is not stated");
    };
    if claim.cached_prefix {
        return out.skip(&claim.id, rule, "part of the prompt came from a cache");
    }
    let Some(peak) = facts.peak_flops() else { return };
    let p = &known.speed.features().prefill;
    // Without the prompt's length the attention is left out, which only makes the bound milder; so is attention on a
    // latent, which engines expand for prefill or not.
    let latent = known.speed.features().latent();
    let tokens = f64::from(claim.prompt_tokens.filter(|_| !latent).unwrap_or(0));
    let each = 2.0 * (p.dense_weights + p.expert_weights) + tokens * p.full_attention;
    let needed = rate * each;
    if needed <= peak {
        return out.pass(&claim.id, rule);
    }
    let numbers = format!(
        "{} prompt tok/s × {:.2} GFLOP a token = {:.1} TFLOP/s, against a peak of {:.1} TFLOP/s of {}",
        TokensPerSecond(rate),
        each / 1e9,
        needed / 1e12,
        peak / 1e12,
        facts.whose(),
    );
    let cause = "most of the prompt was in a prefix cache, or the prompt is shorter than counted";
    out.find(&claim.id, rule, Severity::Impossible, numbers, cause);
}

fn bandwidth_figure(claim: &Claim, facts: &Facts, out: &mut JudgedClaims) {
    let rule = AuditRule::BandwidthFigure;
    let Some(claimed) = claim.bandwidth_gbs else { return };
    let Ok(machines) = &facts.machines else {
        return out.skip(&claim.id, rule, "the machine is not known");
    };
    if machines.iter().any(|h| (claimed / h.advertised_gbs - 1.0).abs() < 0.02) {
        return out.pass(&claim.id, rule);
    }
    let mut known: Vec<String> =
        machines.iter().map(|h| format!("{} GB/s", h.advertised_gbs)).collect();
    known.dedup();
    let numbers = format!("{claimed} GB/s claimed, {} in the catalog", known.join(" or "));
    let cause = "the figure belongs to another bin: bandwidth goes by chip, GPU cores and memory, not by the chip's \
                 name alone";
    out.find(&claim.id, rule, Severity::Impossible, numbers, cause);
}

fn explanation(claim: &Claim, facts: &Facts, out: &mut JudgedClaims) {
    let rule = AuditRule::Explanation;
    let (Some(limiter), Some(rate)) = (claim.limited_by, claim.decode_tokens_per_s) else { return };
    let known = match &facts.model {
        Ok(known) => known,
        Err(reason) => return out.skip(&claim.id, rule, reason),
    };
    let Some(bus) = facts.bus().filter(|_| rate.low > 0.0) else { return };
    let step = 1.0 / rate.low;
    let (weights, cache) = step_bytes(claim, known);
    let (weights, cache) = (weights / bus, cache / bus);
    let rest = (step - weights - cache).max(0.0);
    let share = match limiter {
        Limiter::Weights => weights,
        Limiter::KvCache => cache,
        Limiter::Launches => rest,
    } / step;
    if share >= 0.4 {
        return out.pass(&claim.id, rule);
    }
    let ms = |s: f64| format!("{:.3} ms", s * 1e3);
    let numbers = format!(
        "of {} a token, weights take {}, the KV cache {}, and {} is left; {} is {:.1} % of it",
        ms(step),
        ms(weights),
        ms(cache),
        ms(rest),
        limiter.name(),
        share * 100.0,
    );
    let cause = match (rest > weights, cache > weights) {
        (true, _) => "a fixed cost for every layer and kernel launch weighs most in small models",
        (false, true) => "at this depth the KV cache is read longer than the weights",
        (false, false) => {
            "the weights are read once for every token, and that takes most of the time"
        }
    };
    out.find(&claim.id, rule, Severity::Misleading, numbers, cause);
}
