//! Which Mac to buy.

use super::{Asked, context_text, doubts, faster, faster_text, figures_json, new_models_text};
use crate::advise::money::Economics;
use crate::advise::purchase::{Choice, ModelOnMac, Needs, Purchase, purchase};
use crate::cli::plan_args::{CompareArgs, Stock};
use crate::cli::words::{percent, rates, run_text, short, usd};
use crate::cli::{Context, Verdict};
use crate::estimate::{Figures, Outcome, RunKeys};
use crate::hardware::catalogue::AS_OF;
use crate::hardware::machine::Machine;
use crate::report::{Answer, Column, Document, Table};
use crate::roofline::Coefficients;
use crate::units::{Seconds, TokensPerSecond};
use anyhow::Result;
use serde_json::{Value, json};

pub(super) fn run(
    context: &Context,
    args: &CompareArgs,
    asked: &Asked,
) -> Result<(Answer, Verdict)> {
    let needs = Needs {
        min_tok_s: args.needs.min_tok_s,
        max_ttft_s: args.needs.max_ttft,
        budget_usd: args.needs.budget,
        any_status: args.needs.stock == Stock::Any,
    };
    let money = Economics {
        years: args.money.years,
        usd_per_kwh: args.money.usd_per_kwh,
        tokens_per_day: args.money.tokens_per_day,
        api_usd_per_million_tokens: args.money.api_usd_per_mtok,
    };
    let estimators = asked.estimators(Coefficients::embedded()?);
    let before = asked.before(&estimators)?;
    let found = purchase(&context.catalogue, &estimators, &needs, &money)?;
    let best = found.smallest().or(found.choices.first());
    let new = match best {
        Some(best) => asked.new_models(context, &best.machine)?,
        None => Vec::new(),
    };
    let mut notes = notes(asked, &found, &money);
    if let Some(best) = best.filter(|_| !new.is_empty()) {
        notes.push(new_models_text(&new, &best.machine));
    }
    let place = |c: &Choice| json!({ "mac": c.offer.mac, "memory_gib": c.offer.memory_gib });
    let json = json!({
        "schema": "mlxplan.comparison/1", "kind": "purchase", "models": asked.models_json(),
        "request": RunKeys::of(&asked.run), "needs": needs, "economics": money,
        "from": asked.from.as_ref().map(Machine::summary),
        "choices": found.choices.iter().map(|c| choice_json(c, asked, before.as_deref())).collect::<Vec<_>>(),
        "smallest": found.smallest().map(place), "step_up": found.step_up().map(place),
        "considered": found.considered, "failed": found.failed, "over_budget": found.over_budget,
        "new_models": new, "prices_as_of": AS_OF, "notes": notes,
    });
    let mut d = Document::default();
    let models: Vec<String> =
        asked.subjects.iter().map(|s| format!("{} {}", short(&s.id), s.quant)).collect();
    d.heading(format!("Which Mac for {}?", models.join(" and ")));
    d.text(format!("{} {}", run_text(&asked.run), needs_text(&needs, asked.run.work.batch)));
    if found.choices.is_empty() {
        d.text(nothing_text(&found));
    } else {
        d.pairs(summary(&found, before.as_deref()));
        d.main_table(table(&found, before.as_deref(), args.needs.limit as usize));
    }
    d.notes(notes);
    let verdict = match found.outcome() {
        Outcome::Pass => Verdict::Ok,
        Outcome::Uncertain => Verdict::Uncertain,
        Outcome::Fail => Verdict::No,
    };
    Ok((Answer::untyped(json, d), verdict))
}

fn needs_text(needs: &Needs, users: u32) -> String {
    let mut parts = vec!["Everything must fit".to_owned()];
    if let Some(x) = needs.min_tok_s {
        let each = if users > 1 { " for each user" } else { "" };
        parts.push(format!("at least {x} tok/s{each}"));
    }
    parts.extend(needs.max_ttft_s.map(|x| format!("the first token within {x} s")));
    parts.extend(needs.budget_usd.map(|x| format!("at most {x} USD")));
    format!("{}.", parts.join(", "))
}

fn nothing_text(found: &Purchase) -> String {
    let mut text = format!(
        "None of {} configurations meets the needs: {} fail",
        found.considered, found.failed
    );
    if found.over_budget > 0 {
        text += &format!(", {} cost too much", found.over_budget);
    }
    text + "."
}

fn name(c: &Choice) -> String {
    format!("{} {} GB", c.offer.name, c.offer.memory_gib)
}

fn slowest(c: &Choice) -> Option<&ModelOnMac> {
    let rate = |r: &&ModelOnMac| r.figures.decode.tokens_per_s;
    c.runs.iter().min_by(|a, b| rate(a).total_cmp(&rate(b)))
}

fn summary(found: &Purchase, before: Option<&[Figures]>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let line = |c: &Choice| {
        let interval = slowest(c).map(|r| rates(r.figures.decode.interval_90)).unwrap_or_default();
        format!(
            "{} ({}), {} USD: {} tok/s (90 % {interval})",
            name(c),
            c.machine.id,
            usd(c.offer.usd_now),
            TokensPerSecond(c.tok_s)
        )
    };
    match found.smallest() {
        Some(c) => {
            pairs.push(("smallest that works".to_owned(), line(c)));
            if let Some(f) = before.and_then(|b| Some(faster(b.first()?, &c.runs.first()?.figures)))
            {
                pairs.push((
                    String::new(),
                    format!(
                        "{} as fast as the present Mac, first token {:.1}x as soon",
                        faster_text(&f),
                        f.ttft
                    ),
                ));
            }
            if let Some(up) = found.step_up() {
                let more = up.offer.usd_now.zip(c.offer.usd_now).map_or(0, |(a, b)| a - b);
                pairs.push((
                    "one step up".to_owned(),
                    format!(
                        "{}; {more} USD more buy {:.0} % more tokens per second",
                        line(up),
                        100.0 * (up.tok_s / c.tok_s - 1.0)
                    ),
                ));
            }
        }
        None => pairs.push((
            "smallest that works".to_owned(),
            "none with a known price surely does".to_owned(),
        )),
    }
    pairs
}

fn table(found: &Purchase, before: Option<&[Figures]>, most: usize) -> Table {
    let mut columns = vec![
        Column::text("Mac"),
        Column::number("GB"),
        Column::number("USD"),
        Column::number("meets"),
        Column::text(""),
        Column::number("tok/s"),
        Column::number("90 %").droppable(2),
        Column::number("TTFT").droppable(1),
        Column::number("context").droppable(3),
        Column::number("USD per tok/s").droppable(4),
        Column::number("USD per Mtok").droppable(5),
    ];
    let api = found.choices.iter().any(|c| c.costs.break_even_days.is_some());
    if api {
        columns.push(Column::number("break-even days").droppable(3));
    }
    if before.is_some() {
        columns.push(Column::number("decode, times").droppable(6));
    }
    let mut table = Table::new(columns);
    let money = |x: Option<f64>| x.map_or_else(|| "?".to_owned(), |x| format!("{x:.2}"));
    for c in found.choices.iter().take(most) {
        let slow = slowest(c);
        let ttft = c.runs.iter().map(|r| r.figures.prefill.ttft_s).fold(0.0, f64::max);
        let context = c.runs.iter().filter_map(|r| r.max_context).min_by_key(|x| x.tokens);
        let mut row = vec![
            c.offer.mac.clone(),
            c.offer.memory_gib.to_string(),
            usd(c.offer.usd_now),
            percent(c.probability),
            mark(c, found),
            TokensPerSecond(c.tok_s).to_string(),
            slow.map(|r| rates(r.figures.decode.interval_90)).unwrap_or_default(),
            Seconds(ttft).to_string(),
            context.map(context_text).unwrap_or_default(),
            money(c.costs.usd_per_tok_s),
            money(c.costs.usd_per_million_tokens_with_energy.or(c.costs.usd_per_million_tokens)),
        ];
        if api {
            row.push(c.costs.break_even_days.map_or_else(|| "?".to_owned(), |d| format!("{d:.0}")));
        }
        if let Some(old) = before {
            let pair = old.first().zip(c.runs.first());
            row.push(pair.map(|(o, r)| faster_text(&faster(o, &r.figures))).unwrap_or_default());
        }
        table.row(row);
    }
    table
}

fn mark(c: &Choice, found: &Purchase) -> String {
    let is = |other: Option<&Choice>| {
        other
            .is_some_and(|o| o.offer.mac == c.offer.mac && o.offer.memory_gib == c.offer.memory_gib)
    };
    if is(found.smallest()) {
        "smallest"
    } else if c.pareto {
        "front"
    } else if c.outcome == Outcome::Uncertain {
        "uncertain"
    } else {
        ""
    }
    .to_owned()
}

fn notes(asked: &Asked, found: &Purchase, money: &Economics) -> Vec<String> {
    let mut notes = asked.notes.clone();
    if asked.subjects.len() > 1 {
        notes.push("each model by itself, not all at once; tok/s is of the slowest; `mlxplan check` plans models together".to_owned());
    }
    notes.push(format!(
        "{} configurations looked at: {} fail a need, {} cost more than the budget; each with its smallest storage",
        found.considered, found.failed, found.over_budget
    ));
    notes.push("meets: probability that memory, tok/s and TTFT meet the needs, from the prediction intervals, as if their errors were independent; front: no other is faster for the same money".to_owned());
    let load = match money.tokens_per_day {
        Some(n) => format!("{n} tokens a day"),
        None => "day and night at full speed".to_owned(),
    };
    let energy = match money.usd_per_kwh {
        Some(_)
            if found
                .choices
                .iter()
                .any(|c| c.costs.gpu_energy_usd_per_million_tokens.is_some()) =>
        {
            "with the electricity of the GPU alone where its watts were measured, without elsewhere"
        }
        Some(_) => "without electricity: the watts of these chips were not measured",
        None => "without electricity",
    };
    notes.push(format!(
        "USD per Mtok: price over {} years, {load}, per million generated tokens, {energy}",
        money.years
    ));
    if money.api_usd_per_million_tokens.is_some() {
        notes.push("break-even: against the API's price of generated tokens alone".to_owned());
    }
    if found.choices.iter().any(|c| c.costs.busy_share.is_some_and(|b| b > 1.0)) {
        notes
            .push("some are too slow for the tokens a day (busy_share above 1 in JSON)".to_owned());
    }
    notes.push(format!("US list prices, state {AS_OF}, ? where none is known; prices.toml in --data-dir overrides them"));
    notes.extend(doubts(found.choices.iter().flat_map(|c| &c.runs).map(|r| &r.figures)));
    notes
}

fn choice_json(c: &Choice, asked: &Asked, before: Option<&[Figures]>) -> Value {
    let runs: Vec<Value> = c
        .runs
        .iter()
        .zip(&asked.subjects)
        .enumerate()
        .map(|(i, (run, subject))| {
            let mut json = figures_json(&run.figures, asked, run.max_context);
            json["model"] = json!({ "id": subject.id, "quant": subject.quant });
            json["probabilities"] = json!(run.chances);
            let old = before.and_then(|b| b.get(i));
            json["faster_than_from"] = json!(old.map(|old| faster(old, &run.figures)));
            json
        })
        .collect();
    json!({
        "offer": c.offer, "machine": c.machine.summary(), "probability": c.probability, "outcome": c.outcome,
        "pareto": c.pareto, "tokens_per_s": c.tok_s, "decode_gpu_w": c.machine.decode_gpu_w, "costs": c.costs,
        "runs": runs,
    })
}
