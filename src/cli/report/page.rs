//! The page of a report.

use super::args::Plot;
use super::{Case, plots};
use crate::advise::money::Economics;
use crate::advise::offer_for;
use crate::advise::purchase::{Needs, purchase};
use crate::cli::shared::context::Context;
use crate::cli::shared::progress::Progress;
use crate::cli::shared::words::{format_name, percent, run_text, short};
use crate::estimate::memory::MaxContext;
use crate::estimate::{Estimator, Figures};
use crate::hardware::catalogue::AS_OF;
use crate::hardware::machine::Machine;
use crate::report::{Cell, Page, Part, Sortable};
use crate::roofline::Coefficients;
use crate::units::{Seconds, TokensPerSecond};
use anyhow::Result;

pub(super) fn render(context: &Context, case: &Case, progress: &Progress) -> Result<String> {
    let estimators = case.estimators(Coefficients::embedded()?);
    let models: Vec<String> = case
        .subjects
        .iter()
        .map(|s| format!("{} {}", short(&s.id), format_name(&s.quant)))
        .collect();
    let mut parts = vec![Part::Heading("Side by side".to_owned())];
    progress.say("side by side");
    let (table, mut notes) = side_by_side(context, case, &estimators)?;
    parts.push(Part::Table(table));
    parts.push(Part::Notes(std::mem::take(&mut notes)));
    progress.say("speed by context");
    parts.push(Part::Heading("Speed".to_owned()));
    parts.push(Part::Figure(plots::chart(context, case, Plot::Context)?));
    parts.push(Part::Figure(plots::chart(context, case, Plot::Roofline)?));
    progress.say("memory by context");
    parts.push(Part::Heading("Memory".to_owned()));
    parts.push(Part::Figure(plots::chart(context, case, Plot::Memory)?));
    progress.say("every Mac on sale");
    parts.push(Part::Heading("What to buy".to_owned()));
    parts.push(Part::Table(choices(context, &estimators)?));
    parts.push(Part::Figure(plots::chart(context, case, Plot::Price)?));
    parts.push(Part::Text(format!(
        "US list prices, state {AS_OF}; ? where none is known. Each Mac with its smallest storage."
    )));
    parts.push(Part::Heading("How good the predictions are".to_owned()));
    parts.push(Part::Svg {
        svg: plots::measured(context)?.svg().map_err(anyhow::Error::msg)?,
        description: "Predicted against measured decode speed of published runs, each predicted by a fit that has not \
                      seen any row of its owner; `mlxplan validate` has the figures"
            .to_owned(),
    });
    let page = Page {
        title: format!("{} on Apple Silicon", models.join(", ")),
        lead: run_text(&case.run),
        parts,
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
        columns: columns.map(str::to_owned).to_vec(),
        rows: Vec::new(),
    };
    let mut notes: Vec<String> = Vec::new();
    for (estimator, subject) in estimators.iter().zip(&case.subjects) {
        for machine in &case.machines {
            let figures = estimator.on(machine)?;
            let usd = offer_for(&context.catalogues.macs, machine)?.and_then(|o| o.usd_now);
            let mut row =
                vec![Cell::text(short(&subject.id)), Cell::text(format_name(&subject.quant))];
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

fn cells(
    f: &Figures,
    machine: &Machine,
    usd: Option<u32>,
    context: MaxContext,
    estimator: &Estimator<'_>,
) -> Vec<Cell> {
    let r = estimator.run().work;
    let ends = f.decode.interval_90.map(TokensPerSecond);
    let [soon, late] =
        f.prefill.ttft_at(f.prefill.interval_90, r.context_tokens, r.batch).map(Seconds);
    let gb = |bytes: f64| Cell::number(format!("{:.1}", bytes / 1e9), bytes);
    vec![
        Cell::text(&*machine.id),
        Cell::known(usd.map(f64::from), |x| format!("{x:.0}")),
        Cell::number(
            format!("{:.0}", machine.bandwidth.value.gbs()),
            machine.bandwidth.value.gbs(),
        ),
        gb(machine.gpu_limit.bytes.0 as f64),
        Cell::text(f.memory.judgement.verdict.to_string()),
        gb(f.memory.peak.peak_bytes as f64),
        Cell::number(TokensPerSecond(f.decode.tokens_per_s).to_string(), f.decode.tokens_per_s),
        Cell::number(format!("{}–{}", ends[0], ends[1]), f.decode.interval_90[0]),
        Cell::number(Seconds(f.prefill.ttft_s).to_string(), f.prefill.ttft_s),
        Cell::number(format!("{soon}–{late}"), soon.0),
        Cell::number(context.tokens.to_string(), f64::from(context.tokens)),
    ]
}

fn choices(context: &Context, estimators: &[Estimator<'_>]) -> Result<Sortable> {
    let found =
        purchase(&context.catalogues.macs, estimators, &Needs::default(), &Economics::default())?;
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
            Cell::text(&*c.offer.name),
            Cell::text(c.machine.chip.clone().unwrap_or_default()),
            Cell::number(c.offer.memory_gib.to_string(), c.offer.memory_gib as f64),
            Cell::known(c.offer.usd_now.map(f64::from), |x| format!("{x:.0}")),
            Cell::text(c.outcome.name()),
            Cell::number(percent(c.probability), c.probability),
            Cell::number(TokensPerSecond(c.tok_s).to_string(), c.tok_s),
            Cell::number(Seconds(ttft).to_string(), ttft),
            Cell::known(c.costs.usd_per_tok_s, |x| format!("{x:.0}")),
            Cell::text(if c.pareto { "yes" } else { "" }),
        ]
    };
    Ok(Sortable {
        caption: "Macs on sale on which every model fits; tok/s and TTFT of the slowest".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: found.choices.iter().map(row).collect(),
    })
}
