//! The answer away from a Mac.

use super::Wanted;
use super::macs::{MacAnswer, macs_table};
use crate::advise::{Candidate, macs_for};
use crate::cli::shared::context::Context;
use crate::cli::shared::exit::ExitStatus;
use crate::cli::shared::keys::ModelKey;
use crate::cli::shared::words::{format_name, gb, run_text, short};
use crate::estimate::{Basis, Estimator, OpenedModel, Run, RunKeys};
use crate::hardware::catalog::AS_OF;
use crate::hardware::machine::Machine;
use crate::hardware::{SpecError, spec};
use crate::ledger::cache::CacheGrowth;
use crate::report::{Answer, Column, Document, Present, Table};
use crate::roofline::Coefficients;
use anyhow::Result;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

/// What the models need, and the Macs that run the most popular of them.
pub(super) fn answer(
    context: &Context,
    wanted: Wanted,
    why: &SpecError,
    run: &Run,
) -> Result<(Answer, ExitStatus)> {
    let coefficients = Coefficients::embedded()?;
    let Some(first) = wanted.candidates.first() else {
        anyhow::bail!("no model of this size is supported by mlx-lm")
    };
    let catalog = &context.catalogs.macs;
    let reference = spec::resolve(REFERENCE, catalog)?;
    let (macs, needs) = rayon::join(
        || macs_for(catalog, coefficients, first, run),
        || needs(&wanted.candidates, run, &reference),
    );
    let (macs, needs) = (macs?, needs?);
    let mut notes = wanted.notes;
    if macs.len() > MACS {
        notes.push(format!("the {MACS} cheapest of {}; --mac asks about any other", macs.len()));
    }
    notes.push(format!("list prices in USD, state {AS_OF}; the smallest memory and SSD of each"));
    let answer = WhichMac {
        request: RunKeys::of(run),
        needs: needs.iter().map(NeedAnswer::from).collect(),
        macs: macs.iter().map(MacAnswer::from).collect(),
        notes,
        title: format!("{}: which Mac?", wanted.title),
        why: why.to_string(),
        run: run_text(run, macs.iter().map(|m| &m.machine)),
    };
    Ok((Answer::of(answer), ExitStatus::Ok))
}

/// The Mac by which is said what a model needs, whatever else it is asked about.
const REFERENCE: &str = "m4max-40/128";
/// Macs listed at most.
const MACS: usize = 12;

/// What models need, and the Macs that run the most popular of them.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct WhichMac {
    /// The run.
    request: RunKeys,
    /// What the models need, the most popular first.
    needs: Vec<NeedAnswer>,
    /// The Macs, the cheapest first.
    macs: Vec<MacAnswer>,
    /// How models and Macs were found.
    notes: Vec<String>,
    #[serde(skip)]
    title: String,
    /// Why this machine is not the one that is planned for.
    #[serde(skip)]
    why: String,
    /// The run in words.
    #[serde(skip)]
    run: String,
}

/// What a model needs.
#[derive(Debug, Serialize, JsonSchema)]
struct NeedAnswer {
    model: ModelKey,
    weights_bytes: u64,
    peak_bytes: u64,
    kv_bytes_per_token: f64,
    model_max_context_tokens: Option<u64>,
}

impl From<&Need> for NeedAnswer {
    fn from(n: &Need) -> Self {
        Self {
            model: ModelKey { id: n.id.clone(), quant: n.quant.clone() },
            weights_bytes: n.weights,
            peak_bytes: n.peak,
            kv_bytes_per_token: n.kv_per_token,
            model_max_context_tokens: n.made_for,
        }
    }
}

impl Present for WhichMac {
    const SCHEMA: &'static str = "mlxplan.which_mac/1";
    const NOT_MODELED: &'static [&'static str] = &[
        "street and refurbished prices",
        "quality of the models",
        "other processes, heat and power modes",
    ];

    fn document(&self) -> Document {
        let mut d = Document::default();
        d.heading(self.title.clone());
        d.text(format!("{}. So these are the Macs on sale that run it. {}", self.why, self.run));
        d.table(needs_table(&self.needs));
        let first = self.needs.first().map(|n| short(&n.model.id)).unwrap_or_default();
        d.heading(format!("Macs that run {first}, cheapest first"));
        d.table(macs_table(self.macs.get(..MACS).unwrap_or(&self.macs)));
        d.notes(self.notes.clone());
        d
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
fn needs(all: &[Candidate], run: &Run, mac: &Machine) -> Result<Vec<Need>> {
    let prints: Vec<Option<u64>> =
        all.par_iter().map(|c| c.model.graph.fingerprint().ok()).collect();
    let like = |i: usize| prints[..i].iter().position(|p| p.is_some() && *p == prints[i]);
    let own = (0..all.len()).into_par_iter().map(|i| match like(i) {
        Some(_) => Ok(None),
        None => Need::of(&all[i].model, run, mac).map(Some),
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
    fn of(model: &OpenedModel, run: &Run, mac: &Machine) -> Result<Self> {
        let graph = &model.graph;
        let estimator = Estimator::new(Coefficients::embedded()?, model, *run, Basis::Spec);
        let growth =
            CacheGrowth::of(graph, run.engine.prefill_step, run.work.batch, run.engine.kv)?;
        let per_token = (growth.bytes(16_384)? as f64 - growth.bytes(8_192)? as f64) / 8_192.0;
        Ok(Self {
            id: model.id.clone(),
            quant: estimator.quant(),
            weights: estimator.weights().bytes,
            peak: estimator.memory(mac)?.peak.peak_bytes,
            kv_per_token: per_token,
            made_for: graph.max_context(),
        })
    }
}

fn needs_table(needs: &[NeedAnswer]) -> Table {
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
            short(&n.model.id).to_owned(),
            format_name(&n.model.quant),
            gb(n.weights_bytes),
            gb(n.peak_bytes),
            format!("{:.1}", n.kv_bytes_per_token.max(0.0) / 1e3),
            n.model_max_context_tokens.map_or_else(|| "?".to_owned(), |t| t.to_string()),
        ]);
    }
    table
}
