//! The answer away from a Mac.

use super::{MACS, Wanted, mac_json, macs_table};
use crate::advise::{Candidate, macs_for};
use crate::cli::predict::request_json;
use crate::cli::words::{format_name, gb, run_text, short};
use crate::cli::{Context, Verdict};
use crate::estimate::{Settings, Subject};
use crate::hardware::SpecError;
use crate::hardware::catalogue::AS_OF;
use crate::ledger::cache::Growth;
use crate::ledger::peak::peak;
use crate::ledger::replay::{ArchClass, Gpu};
use crate::ledger::weights::Weights;
use crate::report::{Answer, Column, Document, Table};
use crate::roofline::Coefficients;
use anyhow::Result;
use rayon::prelude::*;
use serde_json::{Value, json};

/// What the models need, and the Macs that run the most popular of them.
pub(super) fn answer(
    context: &Context,
    wanted: Wanted,
    why: &SpecError,
    settings: &Settings,
) -> Result<(Answer, Verdict)> {
    let coefficients = Coefficients::embedded()?;
    let Some(first) = wanted.candidates.first() else {
        anyhow::bail!("no model of this size is supported by mlx-lm")
    };
    let catalogue = &context.catalogue;
    let (macs, needs) = rayon::join(
        || macs_for(catalogue, coefficients, &first.subject, settings),
        || needs(&wanted.candidates, settings),
    );
    let (macs, needs) = (macs?, needs?);
    let mut d = Document::default();
    d.heading(format!("{}: which Mac?", wanted.title));
    d.text(format!("{why}. So these are the Macs on sale that run it. {}", run_text(settings)));
    d.table(needs_table(&needs));
    d.heading(format!("Macs that run {}, cheapest first", short(&first.subject.id)));
    d.table(macs_table(&macs, MACS));
    let mut notes = wanted.notes;
    if macs.len() > MACS {
        notes.push(format!("the {MACS} cheapest of {}; --mac asks about any other", macs.len()));
    }
    notes.push(format!("list prices in USD, state {}; the smallest memory and SSD of each", AS_OF));
    d.notes(notes.clone());
    let json = context.json(|| {
        Ok(json!({
            "schema": "mlxplan.recommendation/1", "machine": null, "request": request_json(settings),
            "needs": needs.iter().map(Need::json).collect::<Vec<_>>(),
            "macs": macs.iter().map(mac_json).collect::<Vec<_>>(), "notes": notes,
        }))
    })?;
    Ok((Answer::untyped(json, d), Verdict::Ok))
}

/// What a model needs on a Mac with a Max chip.
#[derive(Clone)]
struct Need {
    id: String,
    quant: String,
    weights: u64,
    peak: u64,
    kv_per_token: f64,
    made_for: Option<u64>,
}

/// What every candidate needs. Models that do the same are simulated once.
fn needs(all: &[Candidate], settings: &Settings) -> Result<Vec<Need>> {
    let prints: Vec<Option<u64>> =
        all.par_iter().map(|c| c.subject.graph.fingerprint().ok()).collect();
    let like = |i: usize| prints[..i].iter().position(|p| p.is_some() && *p == prints[i]);
    let own = (0..all.len()).into_par_iter().map(|i| match like(i) {
        Some(_) => Ok(None),
        None => Need::of(&all[i].subject, settings).map(Some),
    });
    let own: Vec<Option<Need>> = own.collect::<Result<_>>()?;
    let need = |(i, c): (usize, &Candidate)| {
        let need = own[like(i).unwrap_or(i)].clone()?;
        let Subject { id, quant, graph, .. } = &c.subject;
        let (id, quant) = (id.clone(), quant.clone());
        Some(Need { id, quant, made_for: graph.max_context(), ..need })
    };
    Ok(all.iter().enumerate().filter_map(need).collect())
}

impl Need {
    fn of(subject: &Subject, settings: &Settings) -> Result<Self> {
        let graph = &subject.graph;
        let gpu = Gpu { class: ArchClass::Max, generation: 16, nax: false };
        let r = settings.request;
        let growth = Growth::of(graph, r.prefill_step, r.batch, r.kv)?;
        let per_token = (growth.bytes(16_384)? as f64 - growth.bytes(8_192)? as f64) / 8_192.0;
        Ok(Self {
            id: subject.id.clone(),
            quant: subject.quant.clone(),
            weights: Weights::of(graph).bytes,
            peak: peak(graph, &r.on(gpu))?.peak_bytes,
            kv_per_token: per_token,
            made_for: graph.max_context(),
        })
    }

    fn json(&self) -> Value {
        json!({
            "model": { "id": self.id, "quant": self.quant }, "weights_bytes": self.weights,
            "peak_bytes": self.peak, "kv_bytes_per_token": self.kv_per_token,
            "model_max_context_tokens": self.made_for,
        })
    }
}

fn needs_table(needs: &[Need]) -> Table {
    let mut table = Table::new(vec![
        Column::text("model"),
        Column::text("format").droppable(2),
        Column::number("weights GB"),
        Column::number("peak GB"),
        Column::number("kB a token").droppable(1),
        Column::number("made for"),
    ]);
    for n in needs {
        table.row([
            short(&n.id).to_owned(),
            format_name(&n.quant),
            gb(n.weights),
            gb(n.peak),
            format!("{:.1}", n.kv_per_token.max(0.0) / 1e3),
            n.made_for.map_or_else(|| "?".to_owned(), |t| t.to_string()),
        ]);
    }
    table
}
