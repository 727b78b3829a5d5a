//! `mlxplan macs`: the catalogues of Macs and chips.

use super::args::MacsArgs;
use super::{Context, Verdict};
use crate::hardware::catalogue::{AS_OF, Chip, Mac};
use crate::report::{Answer, Column, Document, Table};
use anyhow::Result;
use serde_json::{Value, json};

pub(super) fn run(context: &Context, args: &MacsArgs) -> Result<(Answer, Verdict)> {
    let answer = if args.chips { chips(context, args)? } else { macs(context, args)? };
    Ok((answer, Verdict::Ok))
}

fn matches(words: &[String], text: &str) -> bool {
    let text = text.to_lowercase();
    words.iter().all(|w| text.contains(&w.to_lowercase()))
}

fn chips(context: &Context, args: &MacsArgs) -> Result<Answer> {
    let chips: Vec<&Chip> = context
        .catalogue
        .chips()?
        .iter()
        .filter(|c| matches(&args.words, &format!("{} {}", c.id, c.name)))
        .collect();
    let mut table = Table::new(vec![
        Column::text("chip"),
        Column::number("GPU cores"),
        Column::number("GB/s"),
        Column::number("GPU MHz").droppable(3),
        Column::text("matrix units").droppable(2),
        Column::text("memory, GB"),
        Column::number("year").droppable(1),
    ]);
    for c in &chips {
        table.row([
            c.id.clone(),
            c.gpu_cores.to_string(),
            bandwidths(c),
            c.gpu_clock_mhz.to_string(),
            (if c.matrix_units { "yes" } else { "no" }).to_owned(),
            list(&c.memory_gib),
            c.year.to_string(),
        ]);
    }
    let json: Vec<Value> = chips.iter().map(|c| chip_json(c)).collect();
    let mut d = Document::default();
    d.table(table);
    d.notes(notes(chips.len(), "chips"));
    Ok(Answer {
        document: d,
        json: json!({ "schema": "mlxplan.chips/1", "as_of": AS_OF, "chips": json }),
    })
}

fn bandwidths(c: &Chip) -> String {
    if c.bandwidth_by_memory.is_empty() {
        return c.bandwidth_gbs.to_string();
    }
    let mut all: Vec<f64> = c.bandwidth_by_memory.values().copied().collect();
    all.dedup();
    all.iter().map(f64::to_string).collect::<Vec<_>>().join("/")
}

fn chip_json(c: &Chip) -> Value {
    json!({
        "id": c.id, "name": c.name, "generation": c.generation, "tier": c.tier, "year": c.year,
        "gpu_cores": c.gpu_cores, "bandwidth_gbs": c.bandwidth_gbs, "bandwidth_by_memory": c.bandwidth_by_memory,
        "bandwidth_bus_gbs": c.bandwidth_bus_gbs, "memory_gib": c.memory_gib, "gpu_clock_mhz": c.gpu_clock_mhz,
        "matrix_units": c.matrix_units, "confidence": c.confidence, "unverified": c.unverified, "sources": c.sources,
    })
}

fn macs(context: &Context, args: &MacsArgs) -> Result<Answer> {
    let chips = context.catalogue.chips()?;
    let chip_of = |m: &Mac| chips.iter().find(|c| c.id == m.chip);
    let text = |m: &Mac| format!("{} {} {} {}", m.id, m.name(), m.chip, m.hw_model.join(" "));
    let macs: Vec<&Mac> =
        context.catalogue.macs()?.iter().filter(|m| matches(&args.words, &text(m))).collect();
    let mut table = Table::new(vec![
        Column::text("Mac"),
        Column::text("chip").droppable(1),
        Column::number("GB/s"),
        Column::text("memory, GB"),
        Column::number("USD now"),
        Column::text("status").droppable(2),
    ]);
    for m in &macs {
        table.row([
            m.id.clone(),
            m.chip.clone(),
            chip_of(m).map(bandwidths).unwrap_or_default(),
            list(&m.memory_options()),
            price_range(m),
            m.status.to_string(),
        ]);
    }
    let json: Vec<Value> = macs.iter().map(|m| mac_json(m)).collect();
    let mut d = Document::default();
    d.table(table);
    d.notes(notes(macs.len(), "Macs"));
    Ok(Answer {
        document: d,
        json: json!({ "schema": "mlxplan.macs/1", "as_of": AS_OF, "macs": json }),
    })
}

fn list(sizes: &[u64]) -> String {
    sizes.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

fn price_range(m: &Mac) -> String {
    let prices: Vec<u32> = m.configs.iter().filter_map(|c| c.usd_now).collect();
    match (prices.iter().min(), prices.iter().max()) {
        (Some(low), Some(high)) if low == high => low.to_string(),
        (Some(low), Some(high)) => format!("{low}–{high}"),
        _ => "?".to_owned(),
    }
}

fn mac_json(m: &Mac) -> Value {
    let configs: Vec<Value> = m
        .configs
        .iter()
        .map(|c| {
            json!({
                "memory_gib": c.memory_gib, "ssd_gb": c.ssd_gb, "usd_launch": c.usd_launch, "usd_now": c.usd_now,
                "price_confidence": c.price_confidence, "status": c.status.unwrap_or(m.status),
            })
        })
        .collect();
    json!({
        "id": m.id, "name": m.name(), "product": m.product, "size_in": m.size_in, "year": m.year,
        "hw_model": m.hw_model, "chip": m.chip, "other_chips": m.other_chips, "fanless": m.fanless,
        "status": m.status, "configs": configs, "confidence": m.confidence,
        "sources": m.sources, "price_sources": m.price_sources, "note": m.note,
    })
}

fn notes(n: usize, what: &str) -> Vec<String> {
    if n == 0 {
        vec![format!("No {what} match; without words, all are listed.")]
    } else {
        vec![format!(
            "{n} {what}; state of public knowledge {AS_OF}. Prices are US list prices; ? = not known."
        )]
    }
}
