//! Rows of a measurement file as claims.

use super::claim::{Claim, ClaimKind, MemoryMetric, Range};
use crate::validation::Measurement;

/// A row as a claim. Its model and machine are joined by [`crate::validation::join()`].
#[must_use]
pub fn claim(row: &Measurement) -> Claim {
    let flag = |name: &str| row.flags.iter().any(|f| f == name);
    let notes = row.notes.to_lowercase();
    let speculative = ["speculative", "mtp", "distributed"].into_iter().any(flag);
    // "aggregate" sums over sequences; without their number the rate of one is not known.
    let rates = !(flag("aggregate") && row.batch <= 1);
    Claim {
        id: row.id.clone(),
        model: (!row.model_id.is_empty()).then(|| row.model_id.clone()),
        quant: Some(row.quant.clone()),
        engine: Some(row.engine.kind()),
        kind: ClaimKind::Measured,
        prompt_tokens: row.prompt_tokens,
        context_tokens: row.context_tokens,
        generated_tokens: row.gen_tokens,
        batch: Some(row.batch),
        speculative,
        decode_tokens_per_s: row.decode_tok_s.filter(|_| rates).map(Range::from),
        prefill_tokens_per_s: row.prefill_tok_s.map(Range::from),
        ttft_s: row.ttft_s.map(Range::from),
        memory_gb: row.peak_memory_gb.map(Range::from),
        // Figures of whole processes are recorded as such and no fault of the row.
        memory_metric: (notes.contains("phys_footprint") || notes.contains("rss"))
            .then_some(MemoryMetric::Footprint),
        ..Claim::default()
    }
}
