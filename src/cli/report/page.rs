//! The page of a report.

use super::args::Plot;
use super::{Case, cluster, drafts, plots, training};
use crate::advise::money::Economics;
use crate::advise::offer_for;
use crate::advise::purchase::{Needs, purchase};
use crate::chart::Chart;
use crate::cli::shared::context::Context;
use crate::cli::shared::progress::Progress;
use crate::cli::shared::words::{format_name, percent, run_text, short};
use crate::estimate::memory::MaxContext;
use crate::estimate::{Estimator, Figures};
use crate::hardware::catalog::AS_OF;
use crate::hardware::machine::Machine;
use crate::report::{Page, PageCell, PageColumn, PagePart, Sortable};
use crate::roofline::Coefficients;
use crate::units::{Seconds, TokensPerSecond};
use anyhow::Result;

pub(super) fn render(
    context: &Context,
    case: &Case,
    (progress, command): (&Progress, &str),
) -> Result<String> {
    let estimators = case.estimators(Coefficients::embedded()?);
    let models: Vec<String> = case
        .subjects
        .iter()
        .map(|s| format!("{} {}", short(&s.id), format_name(&s.quant)))
        .collect();
    let mut parts = vec![PagePart::Heading("Side by side".to_owned())];
    progress.say("side by side");
    let (table, mut notes) = side_by_side(context, case, &estimators)?;
    parts.push(PagePart::Table(table));
    parts.push(PagePart::Notes(std::mem::take(&mut notes)));
    progress.say("speed by context");
    parts.push(PagePart::Heading("Speed".to_owned()));
    parts.push(PagePart::Figure(plots::chart(context, case, Plot::Context)?));
    parts.push(PagePart::Figure(plots::chart(context, case, Plot::Roofline)?));
    if let Some(chart) = drafts::speedup_by_acceptance(context, case)? {
        parts.push(PagePart::Figure(chart));
    }
    if let Some(chart) = cluster::speed_by_macs(case)? {
        parts.push(PagePart::Figure(chart));
    }
    progress.say("memory by context");
    parts.push(PagePart::Heading("Memory".to_owned()));
    parts.push(PagePart::Figure(plots::chart(context, case, Plot::Memory)?));
    if let Some(chart) = training::peak_by_length(case)? {
        parts.push(PagePart::Heading("Fine-tuning".to_owned()));
        parts.push(PagePart::Figure(chart));
    }
    progress.say("every Mac on sale");
    parts.push(PagePart::Heading("What to buy".to_owned()));
    parts.push(PagePart::Table(choices(context, &estimators)?));
    parts.push(PagePart::Figure(plots::chart(context, case, Plot::Price)?));
    parts.push(PagePart::Text(format!(
        "US list prices, state {AS_OF}; ? where none is known. Each Mac with its smallest storage."
    )));
    parts.push(PagePart::Heading("How good the predictions are".to_owned()));
    let measured = Chart {
        description: "Predicted against measured decode speed of published runs, each predicted by a fit that has not \
                      seen any row of its owner; `mlxplan validate` has the figures"
            .to_owned(),
        ..plots::measured(context)?
    };
    parts.push(PagePart::Figure(measured));
    let page = Page {
        title: format!("{} on Apple Silicon", models.join(", ")),
        lead: run_text(&case.run, &case.machines),
        parts,
        command: command.to_owned(),
    };
    Ok(page.render()?)
}

fn side_by_side(
    context: &Context,
    case: &Case,
    estimators: &[Estimator<'_>],
) -> Result<(Sortable, Vec<String>)> {
    let columns = [
        "model",
        "format",
        "Mac",
        "USD now",
        "GB/s",
        "GPU limit, GB",
        "fits",
        "peak, GB",
        "tok/s",
        "tok/s, 90 %",
        "TTFT, s",
        "TTFT, 90 %",
        "max context",
    ];
    let mut table = Sortable {
        caption: "Predictions, with intervals that hold 90 % of measurements".to_owned(),
        columns: columns.map(PageColumn::from).to_vec(),
        rows: Vec::new(),
    };
    let mut notes: Vec<String> = Vec::new();
    for (estimator, subject) in estimators.iter().zip(&case.subjects) {
        for machine in &case.machines {
            let figures = estimator.on(machine)?;
            let usd = offer_for(&context.catalogs.macs, machine)?.and_then(|o| o.usd_now);
            let mut row = vec![
                PageCell::text(short(&subject.id)),
                PageCell::text(format_name(&subject.quant)),
            ];
            row.extend(cells(&figures, machine, usd, estimator.max_context(machine)?, estimator));
            table.rows.push(row);
            let doubts = figures.decode.warnings.iter().chain(&figures.prefill.warnings);
            for text in doubts.map(|t| format!("{}: {t}", machine.id)) {
                if !notes.contains(&text) {
                    notes.push(text);
                }
            }
        }
        notes.extend(subject.warnings.iter().map(|w| format!("{}: {w}", short(&subject.id))));
    }
    Ok((table, notes))
}

/// Advertised bandwidth, as a range where the bin is not known.
fn bandwidth(machine: &Machine) -> PageCell {
    let mut all: Vec<f64> =
        machine.possible_bins().iter().map(|b| b.bandwidth.value.gbs()).collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    let text: Vec<String> = all.iter().map(|gbs| format!("{gbs:.0}")).collect();
    PageCell::number(text.join(" or "), machine.bandwidth.value.gbs())
}

fn cells(
    f: &Figures,
    machine: &Machine,
    usd: Option<u32>,
    context: MaxContext,
    estimator: &Estimator<'_>,
) -> Vec<PageCell> {
    let r = estimator.run().work;
    let ends = f.decode.interval_90.map(TokensPerSecond);
    let [soon, late] = f.prefill.ttft_at(f.prefill.interval_90, &r).map(Seconds);
    let gb = |bytes: f64| PageCell::number(format!("{:.1}", bytes / 1e9), bytes);
    vec![
        PageCell::text(&*machine.id),
        PageCell::known(usd.map(f64::from), |x| format!("{x:.0}")),
        bandwidth(machine),
        gb(machine.gpu_limit.bytes.0 as f64),
        PageCell::text(f.memory.judgment.verdict.to_string()),
        gb(f.memory.peak.peak_bytes as f64),
        PageCell::number(TokensPerSecond(f.decode.tokens_per_s).to_string(), f.decode.tokens_per_s),
        PageCell::number(format!("{}–{}", ends[0], ends[1]), f.decode.interval_90[0]),
        PageCell::number(Seconds(f.prefill.ttft_s).to_string(), f.prefill.ttft_s),
        PageCell::number(format!("{soon}–{late}"), soon.0),
        PageCell::number(context.tokens.to_string(), f64::from(context.tokens)),
    ]
}

fn choices(context: &Context, estimators: &[Estimator<'_>]) -> Result<Sortable> {
    let found =
        purchase(&context.catalogs.macs, estimators, &Needs::default(), &Economics::default())?;
    let columns = [
        "Mac",
        "chip",
        "memory, GB",
        "USD",
        "fits",
        "probability",
        "tok/s",
        "TTFT, s",
        "USD per tok/s",
        "front",
    ];
    let row = |c: &crate::advise::purchase::Choice| {
        let ttft = c.runs.iter().map(|r| r.figures.prefill.ttft_s).fold(0.0, f64::max);
        vec![
            PageCell::text(&*c.offer.name),
            PageCell::text(c.machine.chip.clone().unwrap_or_default()),
            PageCell::number(c.offer.memory_gib.to_string(), c.offer.memory_gib as f64),
            PageCell::known(c.offer.usd_now.map(f64::from), |x| format!("{x:.0}")),
            PageCell::text(c.outcome.name()),
            PageCell::number(percent(c.probability), c.probability),
            PageCell::number(TokensPerSecond(c.tok_s).to_string(), c.tok_s),
            PageCell::number(Seconds(ttft).to_string(), ttft),
            PageCell::known(c.costs.usd_per_tok_s, |x| format!("{x:.0}")),
            PageCell::text(if c.pareto { "yes" } else { "" }),
        ]
    };
    Ok(Sortable {
        caption: "Macs on sale on which every model fits; tok/s and TTFT of the slowest".to_owned(),
        columns: columns.map(PageColumn::from).to_vec(),
        rows: found.choices.iter().map(row).collect(),
    })
}
