//! Speculative decoding for people.

use super::words::{format_name, gb, short};
use crate::chart::{Axis, Chart, ChartShape, Corner, Mark};
use crate::estimate::speculation::{AtAcceptance, DraftAnswer, DraftVerdict, Speculation};
use crate::report::{Column, Document, Present, Table};
use crate::units::{Seconds, TokensPerSecond};

impl Present for Speculation {
    const SCHEMA: &'static str = "mlxplan.speculation/1";
    const NOT_MODELED: &'static [&'static str] =
        &["acceptance that changes along an answer", "other processes, heat and power modes"];

    fn document(&self) -> Document {
        let mut d = Document::default();
        d.heading(format!(
            "Drafts for {} {}  on  {}",
            short(&self.model),
            format_name(&self.quant),
            self.machine
        ));
        d.text(format!(
            "With {}, a prompt of {} tokens and {} generated: {} tok/s without drafts.",
            self.engine,
            self.context_tokens,
            self.generate_tokens,
            TokensPerSecond(self.plain_tokens_per_s)
        ));
        add(&mut d, self);
        d
    }

    fn charts(&self) -> Vec<Chart> {
        vec![by_acceptance_chart(self)]
    }
}

/// Times as fast at the acceptances that were looked at, of each draft.
fn by_acceptance_chart(s: &Speculation) -> Chart {
    let curve = |draft: &DraftAnswer| Mark {
        name: name(draft),
        shape: ChartShape::Dotted {
            points: draft.at.iter().map(|at| (at.acceptance, at.speedup)).collect(),
            band: draft
                .at
                .iter()
                .map(|at| (at.acceptance, at.interval_90[0], at.interval_90[1]))
                .collect(),
        },
    };
    let mut marks: Vec<Mark> = s.drafts.iter().filter(|d| d.at.len() > 1).map(curve).collect();
    if !marks.is_empty() {
        marks.push(Mark { name: "without drafts".to_owned(), shape: ChartShape::Level(1.0) });
    }
    Chart {
        title: format!("Drafts for {} on {}", short(&s.model), s.machine),
        description: "Predicted speed-up by the probability that a draft is right, with bands that hold 90 % of \
                      measurements. Below 1 drafts are slower"
            .to_owned(),
        x: Axis::close("acceptance"),
        y: Axis::linear("times as fast"),
        legend: Corner::UpperLeft,
        marks,
    }
}

/// Appends what drafts do: a table of them, of one the figures at each acceptance, reasons and doubts.
pub(in crate::cli) fn add(d: &mut Document, s: &Speculation) {
    if s.is_possible() {
        let Speculation { acceptance: a, .. } = s;
        let assumed = if a.assumed { ", which is an assumption" } else { "" };
        d.text(match a.high > a.low {
            true => format!(
                "Times as fast for an acceptance of {:.2} to {:.2}{assumed}:",
                a.low, a.high
            ),
            false => format!("Times as fast for an acceptance of {:.2}:", a.low),
        });
        d.table(summary(s));
    }
    if let [only] = &s.drafts[..]
        && !only.at.is_empty()
    {
        d.pairs(details(only));
        d.table(by_acceptance(only, s.acceptance.assumed));
    }
    let mut notes: Vec<String> =
        s.drafts.iter().map(|draft| format!("{}: {}", name(draft), sentence(draft))).collect();
    for draft in &s.drafts {
        for doubt in &draft.doubts {
            let text = doubt.to_string();
            if !notes.contains(&text) {
                notes.push(text);
            }
        }
    }
    notes.extend(s.notes.iter().cloned());
    notes.extend(fastest(s).and_then(|draft| draft.command.clone()).map(|c| format!("run: {c}")));
    d.notes(notes);
}

/// The draft that is the fastest at the acceptance in the middle.
fn fastest(s: &Speculation) -> Option<&DraftAnswer> {
    let speed = |draft: &DraftAnswer| draft.speedup.unwrap_or(0.0);
    s.drafts.iter().reduce(|best, next| if speed(next) > speed(best) { next } else { best })
}

fn name(draft: &DraftAnswer) -> String {
    match &draft.quant {
        Some(quant) => format!("{} {}", short(&draft.model), format_name(quant)),
        None => "own heads (MTP)".to_owned(),
    }
}

fn sentence(draft: &DraftAnswer) -> String {
    match draft.verdict {
        DraftVerdict::Impossible => format!("no: {}", draft.reason),
        verdict => format!("{verdict}: {}{}", draft.reason, faster_number(draft)),
    }
}

/// What another number of drafts a round would do, where it is faster.
fn faster_number(draft: &DraftAnswer) -> String {
    match (draft.best_draft_tokens, draft.best_speedup, draft.acceptance) {
        (Some(best), Some(speedup), Some(a)) if draft.draft_tokens != Some(best) => {
            format!("; --draft-tokens {best} would be {} at {a:.2}", times(speedup))
        }
        _ => String::new(),
    }
}

fn times(x: f64) -> String {
    format!("{x:.2}×")
}

fn unknown<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), text)
}

/// The drafts, one a line: drafts a round, the speed-up at both ends of the acceptance, and from which on they pay.
fn summary(s: &Speculation) -> Table {
    let mut columns = vec![
        Column::text("draft"),
        Column::text("verdict"),
        Column::number("drafts"),
        Column::number(&format!("at {:.2}", s.acceptance.low)),
    ];
    let range = s.acceptance.high > s.acceptance.low;
    if range {
        columns.push(Column::number(&format!("at {:.2}", s.acceptance.high)));
    }
    columns.extend([
        Column::number("90 %"),
        Column::number("from"),
        Column::number("best").droppable(2),
        Column::number("draft GB").droppable(3),
        Column::number("peak GB").droppable(1),
        Column::text("fits"),
    ]);
    let mut table = Table::new(columns);
    for draft in &s.drafts {
        let end = |at: Option<&AtAcceptance>| unknown(at, |at| times(at.speedup));
        let mut cells = vec![
            name(draft),
            draft.verdict.to_string(),
            unknown(draft.draft_tokens, |n| n.to_string()),
            end(draft.at.first()),
        ];
        if range {
            cells.push(end(draft.at.last()));
        }
        cells.extend([
            unknown(draft.interval_90, |[low, high]| format!("{low:.2}–{high:.2}")),
            match (draft.break_even_acceptance, draft.verdict) {
                (Some(a), _) => format!("{a:.2}"),
                (None, DraftVerdict::Impossible) => "–".to_owned(),
                (None, _) => "never".to_owned(),
            },
            unknown(draft.best_draft_tokens, |n| n.to_string()),
            unknown(draft.draft_bytes, gb),
            unknown(draft.peak_bytes, gb),
            unknown(draft.fits, |fits| fits.to_string()),
        ]);
        table.row(cells);
    }
    table
}

/// What a round of one draft consists of.
fn details(draft: &DraftAnswer) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    if let (Some(one), Some(verify), Some(n)) = (draft.draft_s, draft.verify_s, draft.draft_tokens)
    {
        pairs.push((
            "a round".to_owned(),
            format!(
                "{n} × {} to draft, {} to verify {} rows",
                Seconds(one),
                Seconds(verify),
                n + 1
            ),
        ));
    }
    if let Some(ttft) = draft.ttft_s {
        let both = if draft.quant.is_some() { ": both models read the prompt" } else { "" };
        pairs.push(("first token".to_owned(), format!("after {}{both}", Seconds(ttft))));
    }
    pairs
}

fn by_acceptance(draft: &DraftAnswer, assumed: bool) -> Table {
    let title = if assumed { "acceptance, assumed" } else { "acceptance" };
    let mut table = Table::new(vec![
        Column::number(title),
        Column::text("text").droppable(3),
        Column::number("drafts used").droppable(2),
        Column::number("tokens a round"),
        Column::number("speed-up"),
        Column::number("90 %"),
        Column::number("tok/s"),
        Column::number("best drafts").droppable(1),
    ]);
    for at in &draft.at {
        table.row([
            format!("{:.2}", at.acceptance),
            at.task.unwrap_or("as given").to_owned(),
            format!("{:.0} %", 100.0 * at.accepted_share),
            format!("{:.2}", at.tokens_per_round),
            times(at.speedup),
            format!("{:.2}–{:.2}", at.interval_90[0], at.interval_90[1]),
            TokensPerSecond(at.tokens_per_s).to_string(),
            format!("{} ({})", at.best_draft_tokens, times(at.best_speedup)),
        ]);
    }
    table
}
