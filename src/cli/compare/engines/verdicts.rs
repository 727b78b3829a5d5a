//! What a variation comes to, in words.

use super::VariantRow;
use crate::estimate::memory::{ContextBound, Fit};
use crate::model::quality::is_below_four_bits;
use crate::units::{Bytes, Seconds, TokensPerSecond};

/// A loss in percent that is worth memory.
const SMALL_LOSS: f64 = 1.0;
/// Times longer that a context must become to be worth a loss.
const LONGER: f64 = 1.25;
/// Share of a time that is no difference.
const SAME: f64 = 0.02;

/// The answer for what was varied.
pub(super) fn of(varied: &str, rows: &[VariantRow]) -> Vec<String> {
    let running: Vec<&VariantRow> = rows.iter().filter(|r| r.reason.is_none()).collect();
    match varied {
        "kv" => caches(&running),
        "quant" => formats(&running),
        "chunk" => chunks(&running),
        _ => engines(&running),
    }
}

fn fits(row: &VariantRow) -> bool {
    row.fits.is_none_or(|fit| fit <= Fit::Tight)
}

/// Whether quantized caches are worth it.
fn caches(rows: &[&VariantRow]) -> Vec<String> {
    let Some((base, others)) = rows.split_first() else { return Vec::new() };
    ["8", "4"].into_iter().filter_map(|bits| cache(base, others, bits)).collect()
}

fn cache(base: &VariantRow, others: &[&VariantRow], bits: &str) -> Option<String> {
    let of_bits = |r: &&&VariantRow| r.name.trim_start_matches('q').starts_with(bits);
    let best = others.iter().filter(of_bits).min_by_key(|r| r.peak_bytes)?;
    let loss = best.published_loss.as_ref();
    let saved = base.peak_bytes? as f64 - best.peak_bytes? as f64;
    let memory = if saved >= 0.0 {
        format!("{} less at the peak", Bytes(saved as u64))
    } else {
        format!("{} more at the peak", Bytes(-saved as u64))
    };
    let speed = best.tokens_per_s? / base.tokens_per_s?;
    let (from, to) = (base.max_context_tokens?, best.max_context_tokens?);
    let longer = f64::from(to) / f64::from(from.max(1));
    let bound = base.bound == Some(ContextBound::Memory);
    let ruinous = loss.is_some_and(|l| l.is_ruinous());
    let small = loss.is_some_and(|l| l.worst() <= SMALL_LOSS);
    let verdict = if ruinous {
        "Not worth it: published cases collapse"
    } else if loss.is_none() {
        "Not known: what it loses is not published for models of this size; try it on prompts of your own"
    } else if !fits(base) && fits(best) {
        "Worth it: with it the run fits"
    } else if bound && longer >= LONGER && small {
        "Worth it where prompts grow long: memory is what ends the context"
    } else if saved <= 0.0 {
        "Not worth it: it saves nothing here"
    } else if fits(base) {
        "Not needed: the run fits without it"
    } else {
        "Not enough: the run does not fit with it either"
    };
    let loses = loss.map_or_else(String::new, |l| format!(", loses {}", l.text()));
    Some(format!(
        "Is a cache of {bits} bits worth it? {verdict}. It takes {memory}; safe context {from} to {to}; tokens per second \
         {speed:.2} times, first token {} instead of {}{loses}.",
        Seconds(best.ttft_s?),
        Seconds(base.ttft_s?)
    ))
}

fn formats(rows: &[&VariantRow]) -> Vec<String> {
    let Some(best) = rows.iter().find(|r| fits(r)) else {
        return vec!["No format of it fits.".to_owned()];
    };
    let loses = |r: &VariantRow| {
        r.published_loss.as_ref().map_or_else(
            || "at a loss that nobody published at this size".to_owned(),
            |l| format!("losing {}", l.text()),
        )
    };
    let mut text = vec![format!("{} loses least of what fits, {}.", best.name, loses(best))];
    let faster = rows.iter().rev().find(|r| {
        let known = r.published_loss.as_ref().is_some_and(|l| !l.is_ruinous());
        fits(r) && known && !is_below_four_bits(&r.name) && r.name != best.name
    });
    if let Some(fast) = faster
        && let (Some(a), Some(b)) = (fast.tokens_per_s, best.tokens_per_s)
        && a > b
    {
        text.push(format!(
            "{} is {:.2} times as fast ({} tok/s), {}.",
            fast.name,
            a / b,
            TokensPerSecond(a),
            loses(fast)
        ));
    }
    text
}

fn chunks(rows: &[&VariantRow]) -> Vec<String> {
    let time = |r: &&&VariantRow| r.ttft_s.unwrap_or(f64::INFINITY);
    let fitting = || rows.iter().filter(|r| fits(r));
    let Some(soonest) = fitting().min_by(|a, b| time(a).total_cmp(&time(b))) else {
        return vec!["With no chunk does it fit.".to_owned()];
    };
    let as_soon = |r: &&&VariantRow| time(r) <= time(&soonest) * (1.0 + SAME);
    let Some(chosen) = fitting().filter(as_soon).min_by_key(|r| r.peak_bytes) else {
        return Vec::new();
    };
    let least = rows.iter().min_by_key(|r| r.peak_bytes);
    let mut text = vec![format!(
        "Chunks of {}: the first token comes after {}, as soon as with any that fits, at a peak of {}.",
        chosen.name,
        Seconds(time(&chosen)),
        Bytes(chosen.peak_bytes.unwrap_or(0))
    )];
    if let Some(least) = least.filter(|l| l.name != chosen.name)
        && let (Some(less), Some(more)) = (least.peak_bytes, chosen.peak_bytes)
    {
        text.push(format!(
            "The least memory takes {}: {} less, the first token after {}.",
            least.name,
            Bytes(more.saturating_sub(less)),
            Seconds(time(&least))
        ));
    }
    text
}

fn engines(rows: &[&VariantRow]) -> Vec<String> {
    let rate = |r: &&&VariantRow| r.tokens_per_s.unwrap_or(0.0);
    let Some(fastest) = rows.iter().filter(|r| fits(r)).max_by(|a, b| rate(a).total_cmp(&rate(b)))
    else {
        return vec!["It fits through none of them.".to_owned()];
    };
    let low = fastest.interval_90.map_or(0.0, |i| i[0]);
    let near: Vec<&str> = rows
        .iter()
        .filter(|r| r.name != fastest.name && r.interval_90.is_some_and(|i| i[1] >= low))
        .map(|r| r.name.as_str())
        .collect();
    let doubt = if rows.len() == 1 {
        "the only one of them that runs it".to_owned()
    } else if near.is_empty() {
        "surely ahead of the others".to_owned()
    } else {
        format!("though its interval overlaps with {}: no sure order", near.join(", "))
    };
    vec![format!(
        "The fastest by expectation is {} with {} tok/s, {doubt}.",
        fastest.name,
        TokensPerSecond(rate(&fastest))
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::compare::engines::VariantRow;
    use crate::model::quality::PublishedLoss;

    fn row(
        name: &str,
        fits: Fit,
        (peak, context): (u64, u32),
        loss: Option<PublishedLoss>,
    ) -> VariantRow {
        let mut row = VariantRow::named(name);
        row.fits = Some(fits);
        row.peak_bytes = Some(peak);
        row.max_context_tokens = Some(context);
        row.tokens_per_s = Some(20.0);
        row.interval_90 = Some([18.0, 22.0]);
        row.ttft_s = Some(3.0);
        row.published_loss = loss;
        row.bound = Some(ContextBound::Memory);
        row
    }

    #[test]
    fn a_cache_that_collapses_is_not_worth_it_and_one_that_makes_it_fit_is() {
        let loss = |bits| PublishedLoss::of_cache("some/7B", 7_000_000_000, bits);
        let rows = [
            row("16 bit", Fit::No, (20_000_000_000, 8_000), loss("16")),
            row("8 bit", Fit::Yes, (14_000_000_000, 20_000), loss("8")),
            row("4 bit", Fit::Yes, (11_000_000_000, 40_000), loss("4")),
        ];
        let text = of("kv", &rows);
        assert!(
            text[0].starts_with("Is a cache of 8 bits worth it? Worth it: with it the run fits"),
            "{text:?}"
        );
        assert!(text[1].contains("Not worth it: published cases collapse"), "{text:?}");
    }

    #[test]
    fn what_is_not_quantized_loses_nothing_in_words() {
        let original = Some(PublishedLoss::original());
        let text = of("quant", &[row("bf16", Fit::Yes, (1, 1), original)]);
        assert_eq!(text, ["bf16 loses least of what fits, losing nothing."]);
    }

    #[test]
    fn one_engine_is_ahead_of_nobody() {
        let text = of("engine", &[row("a", Fit::Yes, (1, 1), None)]);
        assert!(text[0].ends_with("the only one of them that runs it."), "{text:?}");
    }

    #[test]
    fn engines_whose_intervals_overlap_have_no_sure_order() {
        let rows = [row("a", Fit::Yes, (1, 1), None), row("b", Fit::Yes, (1, 1), None)];
        assert!(of("engine", &rows)[0].contains("no sure order"));
    }
}
