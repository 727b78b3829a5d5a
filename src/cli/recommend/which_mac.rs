//! The answer away from a Mac.

use super::{MACS, MacAnswer, Wanted, format_name, gb, macs_table, run_text, short};
use crate::advise::{Candidate, macs_for};
use crate::cli::{Context, Verdict};
use crate::estimate::{OpenedModel, Run, RunAnswer};
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
use serde::Serialize;

/// What the models need, and the Macs that run the most popular of them.
pub(super) fn answer(
    context: &Context,
    wanted: Wanted,
    why: &SpecError,
    run: &Run,
) -> Result<(Answer, Verdict)> {
    let coefficients = Coefficients::embedded()?;
    let Some(first) = wanted.candidates.first() else {
        anyhow::bail!("no model of this size is supported by mlx-lm")
    };
    let catalogue = &context.catalogue;
    let (macs, needs) = rayon::join(
        || macs_for(catalogue, coefficients, &first.model, run),
        || needs(&wanted.candidates, run),
    );
    let (macs, needs) = (macs?, needs?);
    let mut d = Document::default();
    d.heading(format!("{}: which Mac?", wanted.title));
    d.text(format!("{why}. So these are the Macs on sale that run it. {}", run_text(run)));
    d.table(needs_table(&needs));
    d.heading(format!("Macs that run {}, cheapest first", short(&first.model.id)));
    d.table(macs_table(&macs, MACS));
    let mut notes = wanted.notes;
    if macs.len() > MACS {
        notes.push(format!("the {MACS} cheapest of {}; --mac asks about any other", macs.len()));
    }
    notes.push(format!("list prices in USD, state {}; the smallest memory and SSD of each", AS_OF));
    d.notes(notes.clone());
    let which = WhichMac {
        schema: "mlxplan.which_mac/1",
        request: RunAnswer::of(run, None),
        needs: needs.iter().map(NeedAnswer::from).collect(),
        macs: macs.iter().map(MacAnswer::from).collect(),
        notes,
    };
    let json = context.json(|| Ok(serde_json::to_value(&which)?))?;
    Ok((Answer { json, document: d }, Verdict::Ok))
}

/// `mlxplan.which_mac/1`: what models need, and the Macs that run the most popular of them.
#[derive(Debug, Serialize)]
struct WhichMac {
    schema: &'static str,
    request: RunAnswer,
    needs: Vec<NeedAnswer>,
    macs: Vec<MacAnswer>,
    notes: Vec<String>,
}

/// What a model needs.
#[derive(Debug, Serialize)]
struct NeedAnswer {
    model: NamedFormat,
    weights_bytes: u64,
    peak_bytes: u64,
    kv_bytes_per_token: f64,
    model_max_context_tokens: Option<u64>,
}

#[derive(Debug, Serialize)]
struct NamedFormat {
    id: String,
    quant: String,
}

impl From<&Need> for NeedAnswer {
    fn from(n: &Need) -> Self {
        Self {
            model: NamedFormat { id: n.id.clone(), quant: n.quant.clone() },
            weights_bytes: n.weights,
            peak_bytes: n.peak,
            kv_bytes_per_token: n.kv_per_token,
            model_max_context_tokens: n.made_for,
        }
    }
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
fn needs(all: &[Candidate], run: &Run) -> Result<Vec<Need>> {
    let prints: Vec<Option<u64>> =
        all.par_iter().map(|c| c.model.graph.fingerprint().ok()).collect();
    let like = |i: usize| prints[..i].iter().position(|p| p.is_some() && *p == prints[i]);
    let own = (0..all.len()).into_par_iter().map(|i| match like(i) {
        Some(_) => Ok(None),
        None => Need::of(&all[i].model, run).map(Some),
    });
    let own: Vec<Option<Need>> = own.collect::<Result<_>>()?;
    let need = |(i, c): (usize, &Candidate)| {
        let need = own[like(i).unwrap_or(i)].clone()?;
        let OpenedModel { id, quant, graph, .. } = &c.model;
        let (id, quant) = (id.clone(), quant.clone());
        Some(Need { id, quant, made_for: graph.max_context(), ..need })
    };
    Ok(all.iter().enumerate().filter_map(need).collect())
}

impl Need {
    fn of(model: &OpenedModel, run: &Run) -> Result<Self> {
        let graph = &model.graph;
        let gpu = Gpu { class: ArchClass::Max, generation: 16, nax: false };
        let growth = Growth::of(graph, run.engine.prefill_step, run.work.batch, run.engine.kv)?;
        let per_token = (growth.bytes(16_384)? as f64 - growth.bytes(8_192)? as f64) / 8_192.0;
        Ok(Self {
            id: model.id.clone(),
            quant: model.quant.clone(),
            weights: Weights::of(graph).bytes,
            peak: peak(graph, run, gpu)?.peak_bytes,
            kv_per_token: per_token,
            made_for: graph.max_context(),
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
