//! Memory against weights and cache.

use crate::audit::claim::{ClaimedWork, ContextClaim, MemoryMetric};
use crate::audit::{AuditCase, AuditRule, Claim, Facts, JudgedClaims, Severity};
use crate::run::Program;
use crate::units::Bytes;

/// A figure may be rounded, and a runtime may count a little less than the files hold.
const ROUNDING: f64 = 0.985;
/// GiB printed as GB.
const GIB_PER_GB: f64 = 1.073_741_824;
/// Memory this many times above weights and cache, and this many bytes, holds something else.
const FAR_ABOVE: f64 = 1.5;
const OTHER_BYTES: f64 = 6e9;

pub(in crate::audit) fn check(case: &AuditCase, out: &mut JudgedClaims) {
    let claim = &case.claim;
    if claim.workload == ClaimedWork::Training {
        return;
    }
    if claim.memory_gb.is_some() {
        amount(claim, &case.facts, out);
        metric(claim, out);
    }
    if let Some(context) = claim.max_context_tokens {
        context_limit(claim, context, &case.facts, out);
    }
}

fn amount(claim: &Claim, facts: &Facts, out: &mut JudgedClaims) {
    let (below, above) = (AuditRule::MemoryBelowModel, AuditRule::MemoryAboveModel);
    let Some(memory) = claim.memory_gb else { return };
    let known = match &facts.model {
        Ok(known) => known,
        Err(reason) => return out.skip(&claim.id, below, reason),
    };
    let tokens = claim.context().unwrap_or(0).saturating_add(claim.generated_tokens.unwrap_or(0));
    let Some((weights, cache)) = known.bytes(tokens, claim.batch.unwrap_or(1).max(1)) else {
        return out.skip(&claim.id, below, "the cache of this model cannot be sized");
    };
    let needed = weights + cache;
    let (low, high) = (memory.low * 1e9, memory.high * 1e9);
    let against = format!(
        "{} of weights and {} of cache for {tokens} tokens",
        Bytes(weights as u64),
        Bytes(cache as u64)
    );
    if high < ROUNDING * needed {
        let numbers = format!("{} claimed, {against}", Bytes(high as u64));
        // llama.cpp maps the file; what is not touched, or lies in the GPU's wired memory, is not resident.
        let mapped = matches!(claim.engine, Some(Program::LlamaCpp | Program::Ollama))
            || claim.memory_metric == Some(MemoryMetric::Rss);
        let (severity, cause) = if high * GIB_PER_GB >= ROUNDING * needed {
            (Severity::Doubtful, "the figure fits if it is GiB and was called GB")
        } else if mapped {
            let cause = "resident memory leaves out mapped weights that were not touched, and memory that only the \
                         GPU holds; it is not what the model needs";
            (Severity::Misleading, cause)
        } else {
            let cause = "another model or quantization than stated, a context that was never filled, or memory read \
                         before the model was loaded";
            (Severity::Impossible, cause)
        };
        return out.find(&claim.id, below, severity, numbers, cause);
    }
    out.pass(&claim.id, below);
    if low > FAR_ABOVE * needed + OTHER_BYTES {
        let numbers = format!("{} claimed, {against}", Bytes(low as u64));
        let bits = (low - cache).max(0.0) / weights;
        let cause = format!(
            "weights {bits:.1} times as large as the stated quantization makes them (a wider one was run), large \
             prefill chunks, or other programs were counted"
        );
        return out.find(&claim.id, above, Severity::Doubtful, numbers, cause);
    }
    out.pass(&claim.id, above);
}

fn metric(claim: &Claim, out: &mut JudgedClaims) {
    if claim.memory_metric != Some(MemoryMetric::Rss) {
        return;
    }
    let numbers = format!("{} GB of resident memory", claim.memory_gb.map_or(0.0, |m| m.high));
    let cause = "the resident set is not unified-memory use: it leaves out buffers that only the GPU maps and counts \
                 touched pages of the weight file; use the footprint, or MLX's active and peak memory";
    out.find(&claim.id, AuditRule::MemoryMetric, Severity::Misleading, numbers, cause);
}

fn context_limit(claim: &Claim, context: ContextClaim, facts: &Facts, out: &mut JudgedClaims) {
    let rule = AuditRule::ContextLimit;
    let known = match &facts.model {
        Ok(known) => known,
        Err(reason) => return out.skip(&claim.id, rule, reason),
    };
    let trained = known.graph.max_context();
    let Some(memory) = facts.memory() else {
        return out.skip(&claim.id, rule, "the machine's memory is not known");
    };
    let probe = match context {
        ContextClaim::Tokens(n) => n,
        ContextClaim::Unlimited => 16_000_000,
    };
    let beyond = trained.is_some_and(|t| u64::from(probe) > t);
    let needed = known.bytes(probe, 1).map(|(weights, cache)| weights + cache);
    let too_large = needed.is_some_and(|n| n > memory as f64);
    if !beyond && !too_large {
        return out.pass(&claim.id, rule);
    }
    let claimed = match context {
        ContextClaim::Tokens(n) => format!("{n} tokens"),
        ContextClaim::Unlimited => "no limit".to_owned(),
    };
    let mut parts = vec![format!("{claimed} claimed")];
    parts.extend(trained.map(|t| format!("the model was trained for {t} tokens")));
    parts.extend(
        needed
            .filter(|_| too_large)
            .map(|n| format!("{probe} tokens would need {} of {}", Bytes(n as u64), Bytes(memory))),
    );
    let cause = "the engine cut the context off, or the tokens never reached the cache; only its own count of cached \
                 tokens shows that they did";
    let severity = if too_large { Severity::Impossible } else { Severity::Doubtful };
    out.find(&claim.id, rule, severity, parts.join("; "), cause);
}
