//! Models side by side on several Macs.

use super::{Asked, context_text, doubts, faster, faster_text, figures_json, mac, new_models_text};
use crate::advise::upgrade::{Faster, NewModel};
use crate::advise::{Formats, Largest, Offer, largest, offer_for};
use crate::cli::plan_args::CompareArgs;
use crate::cli::words::{rates, run_text, short, times, usd};
use crate::cli::{Context, Verdict};
use crate::estimate::memory::{Fit, Fits, MaxContext};
use crate::estimate::{Estimator, Figures, RunKeys};
use crate::hardware::catalogue::AS_OF;
use crate::hardware::machine::Machine;
use crate::model::Scheme;
use crate::report::{Answer, Column, Document, Table};
use crate::roofline::Coefficients;
use crate::units::{Seconds, TokensPerSecond};
use anyhow::Result;
use rayon::prelude::*;
use serde_json::{Value, json};

/// One model on one Mac.
struct Pair<'a> {
    model: usize,
    mac: &'a Target,
    figures: Figures,
    context: MaxContext,
    largest: Largest,
    faster: Option<Faster>,
}

/// A Mac with its price.
struct Target {
    machine: Machine,
    offer: Option<Offer>,
}

pub(super) fn run(
    context: &Context,
    args: &CompareArgs,
    asked: &Asked,
) -> Result<(Answer, Verdict)> {
    let coefficients = Coefficients::embedded()?;
    let targets = targets(context, args)?;
    let estimators = asked.estimators(coefficients);
    let before = asked.before(&estimators)?;
    let formats: Vec<Formats> = asked.subjects.par_iter().map(Formats::of).collect();
    let ladders: Vec<Vec<(Scheme, Estimator<'_>)>> =
        formats.iter().map(|f| f.estimators(coefficients, asked.run)).collect();
    let cells: Vec<(usize, &Target)> =
        (0..estimators.len()).flat_map(|m| targets.iter().map(move |t| (m, t))).collect();
    let pairs: Vec<Pair<'_>> = cells
        .into_par_iter()
        .filter_map(|(model, mac)| Some((model, mac, estimators.get(model)?, ladders.get(model)?)))
        .map(|(model, mac, estimator, ladder)| {
            let figures = estimator.on(&mac.machine)?;
            let old = before.as_ref().and_then(|b| b.get(model));
            Ok(Pair {
                model,
                mac,
                context: estimator.max_context(&mac.machine)?,
                largest: largest(ladder, &mac.machine)?,
                faster: old.map(|old| faster(old, &figures)),
                figures,
            })
        })
        .collect::<Result<_>>()?;
    let new: Vec<(&Target, Vec<NewModel>)> = targets
        .iter()
        .map(|t| Ok((t, asked.new_models(context, &t.machine)?)))
        .collect::<Result<_>>()?;
    let notes = notes(asked, &pairs, &new);
    let json = json!({
        "schema": "mlxplan.comparison/1", "kind": "side_by_side", "models": asked.models_json(),
        "request": RunKeys::of(&asked.run),
        "from": asked.from.as_ref().map(Machine::summary),
        "rows": pairs.iter().map(|p| pair_json(p, asked)).collect::<Vec<_>>(),
        "new_models": new.iter().map(|(t, found)| json!({ "machine": t.machine.id, "models": found })).collect::<Vec<_>>(),
        "prices_as_of": AS_OF, "notes": notes,
    });
    let mut d = Document::default();
    let title: Vec<String> =
        asked.subjects.iter().map(|s| format!("{} {}", short(&s.id), s.quant)).collect();
    let macs = match targets.as_slice() {
        [one] => one.machine.id.clone(),
        several => format!("{} Macs", several.len()),
    };
    d.heading(format!("{} on {macs}", title.join(", ")));
    d.text(run_text(&asked.run));
    d.main_table(table(&pairs, asked));
    d.notes(notes);
    let worst = pairs.iter().map(|p| match p.figures.memory.judgement.verdict {
        Fit::No => Verdict::No,
        Fit::Uncertain => Verdict::Uncertain,
        _ => Verdict::Ok,
    });
    // As `recommend`: there is an answer as soon as something fits.
    let best = worst.min_by_key(|v| match v {
        Verdict::Ok => 0,
        Verdict::Uncertain => 1,
        Verdict::No | Verdict::Interrupted => 2,
    });
    Ok((Answer::untyped(json, d), best.unwrap_or(Verdict::Ok)))
}

fn targets(context: &Context, args: &CompareArgs) -> Result<Vec<Target>> {
    let target = |spec: &String| {
        let machine = mac(context, spec)?;
        Ok(Target { offer: offer_for(&context.catalogue, &machine)?, machine })
    };
    args.mac.iter().map(target).collect()
}

fn largest_text(largest: Largest) -> String {
    match largest {
        Largest::Fits(scheme) => scheme.suffix(),
        Largest::None => "none".to_owned(),
        Largest::Unknown => "?".to_owned(),
    }
}

fn table(pairs: &[Pair<'_>], asked: &Asked) -> Table {
    let several = asked.subjects.len() > 1;
    let mut columns = Vec::new();
    if several {
        columns.push(Column::text("model"));
    }
    columns.extend([
        Column::text("Mac"),
        Column::number("USD now").droppable(3),
        Column::number("GB/s").droppable(3),
        Column::number("limit GB").droppable(5),
        Column::text("fits"),
        Column::number("peak GB").droppable(2),
        Column::number("tok/s"),
        Column::number("90 %"),
        Column::number("TTFT"),
        Column::number("TTFT 90 %").droppable(4),
        Column::number("context").droppable(1),
        Column::text("largest that fits").droppable(3),
    ]);
    let powered = pairs.iter().any(|p| p.mac.machine.decode_gpu_w.is_some());
    if powered {
        columns.push(Column::number("GPU watts").droppable(6));
    }
    if asked.from.is_some() {
        columns.push(Column::number("decode, times"));
    }
    let r = asked.run.work;
    let mut table = Table::new(columns);
    for p in pairs {
        let (f, machine) = (&p.figures, &p.mac.machine);
        let mut row = Vec::new();
        if several {
            row.push(
                asked.subjects.get(p.model).map(|s| short(&s.id).to_owned()).unwrap_or_default(),
            );
        }
        let ttft = f.prefill.ttft_at(f.prefill.interval_90, r.context_tokens, r.batch);
        row.extend([
            machine.id.clone(),
            usd(p.mac.offer.as_ref().and_then(|o| o.usd_now)),
            format!("{:.0}", machine.bandwidth.value.gbs()),
            format!("{:.1}", machine.gpu_limit.bytes.gb()),
            f.memory.judgement.verdict.to_string(),
            format!("{:.1}", f.memory.peak.peak_bytes as f64 / 1e9),
            TokensPerSecond(f.decode.tokens_per_s).to_string(),
            rates(f.decode.interval_90),
            Seconds(f.prefill.ttft_s).to_string(),
            times(ttft),
            context_text(p.context),
            largest_text(p.largest),
        ]);
        if powered {
            let watts = machine.decode_gpu_w.as_ref();
            row.push(watts.map_or_else(|| "?".to_owned(), |w| format!("{w:.0}")));
        }
        row.extend(p.faster.as_ref().map(faster_text));
        table.row(row);
    }
    table.bars(pairs.iter().map(|p| Some(p.figures.decode.tokens_per_s)).collect(), 4);
    table
}

fn notes(asked: &Asked, pairs: &[Pair<'_>], new: &[(&Target, Vec<NewModel>)]) -> Vec<String> {
    let mut notes = asked.notes.clone();
    if pairs.iter().any(|p| p.figures.memory.judgement.fits == Fits::No) {
        notes.push(
            "the speed of what does not fit is what it would be with enough memory".to_owned(),
        );
    }
    notes.push("context: the longest that fits; * ended by memory, others by the model".to_owned());
    let mut products: Vec<String> = Vec::new();
    for p in pairs {
        if let Some(o) = p.mac.offer.as_ref().filter(|_| p.model == 0) {
            let confidence =
                o.price_confidence.map(|c| format!(", confidence {c}")).unwrap_or_default();
            let launch = o.usd_launch.map(|l| format!(", {l} at launch")).unwrap_or_default();
            let now = o.usd_now.map_or("price now unknown".to_owned(), |n| format!("{n} USD"));
            products.push(format!(
                "{}: {}, {} GB storage, {}, {now}{launch}{confidence}",
                p.mac.machine.id, o.name, o.ssd_gb, o.status
            ));
        }
    }
    notes.extend(products);
    notes.push(format!("US list prices, state {AS_OF}; prices.toml in --data-dir overrides them"));
    if asked.from.is_some() {
        notes.push("times: predicted rate over the present Mac's, with the 90 % interval of the ratio as if both errors were independent".to_owned());
    }
    notes.extend(
        new.iter().filter(|(_, m)| !m.is_empty()).map(|(t, m)| new_models_text(m, &t.machine)),
    );
    notes.extend(doubts(pairs.iter().map(|p| &p.figures)));
    notes
}

fn pair_json(p: &Pair<'_>, asked: &Asked) -> Value {
    let subject = asked.subjects.get(p.model);
    let mut json = figures_json(&p.figures, asked, Some(p.context));
    json["model"] = json!({ "id": subject.map(|s| &s.id), "quant": subject.map(|s| &s.quant) });
    json["machine"] = json!(p.mac.machine.summary());
    json["price"] = json!(p.mac.offer);
    json["decode_gpu_w"] = json!(p.mac.machine.decode_gpu_w);
    json["largest_quant_that_fits"] = match p.largest {
        Largest::Fits(scheme) => json!(scheme.to_string()),
        Largest::None => json!("none"),
        Largest::Unknown => Value::Null,
    };
    json["faster_than_from"] = json!(p.faster);
    json
}
