//! What to start with when no model was named: the table, the lines that start them, and the reasons.

use super::cells::{context_cell, memory_text};
use crate::advise::picks::Pick;
use crate::advise::start::has_start_line;
use crate::advise::use_case::UseCase;
use crate::cli::shared::words::{format_name, gb, short};
use crate::estimate::Prediction;
use crate::model::quality::loss_cell;
use crate::report::{Column, Document, Table};
use crate::run::{FormatOrigin, Program};
use crate::units::{Seconds, TokensPerSecond};
use schemars::JsonSchema;
use serde::Serialize;

/// How picks are found.
pub(super) const NOTE: &str = "of each size class the four most downloaded models were looked at: those come first that are fast enough \
     for the task, then the more downloaded (tenfold weighs as much as two years of age, or ten percent of loss); each in \
     the format that loses least and fits, of those that repositories hold; --model names any other";

/// Why a model was picked, and how to start it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct PickKeys {
    /// The model.
    model: String,
    /// The repository that holds it in this format, where one is known.
    repository: Option<String>,
    /// The line that starts the program with it; `null` where no such line is known.
    start: Option<String>,
    /// Day on which the model was published.
    released: Option<String>,
    /// Downloads of the original in 30 days, when they were counted (September to October 2026).
    downloads_30_days: u64,
    /// Whether it is as fast as the task wants.
    fast_enough: bool,
    /// Whether it is the one to start with: the largest that is fast enough.
    first_choice: bool,
    /// Why it was picked.
    reason: String,
    #[serde(skip)]
    program: Program,
}

impl PickKeys {
    pub(super) fn of(pick: &Pick, task: Option<UseCase>, first: Option<&str>) -> Self {
        let p = &pick.prediction;
        let mut reasons = vec![format!("{} downloads in 30 days", count(pick.downloads))];
        reasons.extend(pick.released.as_ref().map(|day| format!("published {day}")));
        let format = format_name(&p.model.quant);
        let fast = task.is_some() && pick.fast_enough;
        reasons.push(match &pick.repository {
            _ if p.run.engine.program.runs_gguf() => {
                format!("{format} is what the program takes")
            }
            _ if p.run.file.origin == FormatOrigin::Native => {
                format!("{format} is what it was published in")
            }
            Some(_) if fast => format!("{format} loses least of what fits and is fast enough"),
            Some(_) => format!("{format} loses least of what fits"),
            None => {
                format!("no repository in an MLX format is known, so it is converted to {format}")
            }
        });
        if let Some(task) = task {
            let least = task.least_tok_s();
            let verdict = if pick.fast_enough { "at least" } else { "slower than" };
            reasons.push(format!("{verdict} {least} tok/s, which {task} wants"));
        }
        Self {
            model: p.model.id.clone(),
            repository: pick.repository.clone(),
            start: pick.start.clone(),
            released: pick.released.clone(),
            downloads_30_days: pick.downloads,
            fast_enough: pick.fast_enough,
            first_choice: first == Some(p.model.id.as_str()),
            reason: reasons.join("; "),
            program: p.run.engine.program,
        }
    }
}

/// A count, short.
fn count(n: u64) -> String {
    match n {
        1_000_000.. => format!("{:.1} M", n as f64 / 1e6),
        1_000.. => format!("{} k", n / 1_000),
        n => n.to_string(),
    }
}

/// Appends the table, the lines and the reasons.
pub(super) fn add(d: &mut Document, rows: &[&Prediction], picks: &[PickKeys]) {
    let mut table = Table::new(vec![
        Column::text("model"),
        Column::text("published").droppable(5),
        Column::text("format"),
        Column::number("loss"),
        Column::number("fits"),
        Column::number("tok/s"),
        Column::number("90 %").droppable(3),
        Column::number("TTFT").droppable(2),
        Column::number("peak GB").droppable(1),
        Column::number("context").droppable(4),
    ]);
    for (p, pick) in rows.iter().zip(picks) {
        let [low, high] = p.decode.interval_90.map(TokensPerSecond);
        let month = pick.released.as_deref().and_then(|day| day.get(..7)).unwrap_or("?");
        table.row([
            short(&p.model.id).to_owned(),
            month.to_owned(),
            format_name(&p.model.quant),
            loss_cell(p.loss().as_ref()),
            memory_text(p, |m| m.judgment.verdict.to_string()),
            TokensPerSecond(p.decode.tokens_per_s).to_string(),
            format!("{low}–{high}"),
            Seconds(p.prefill.ttft_s).to_string(),
            memory_text(p, |m| gb(m.peak.peak_bytes)),
            context_cell(p.context.map(|c| c.safe)),
        ]);
    }
    d.main_table(table);
    if let Some(first) = picks.iter().find(|p| p.first_choice) {
        d.text(format!(
            "First choice: {}, the largest that {}.",
            short(&first.model),
            if first.fast_enough { "fits and is fast enough" } else { "fits" }
        ));
    }
    let lines: Vec<&str> = picks.iter().rev().filter_map(|p| p.start.as_deref()).collect();
    let program = picks.first().map(|p| p.program).unwrap_or_default();
    if !lines.is_empty() {
        d.text(format!("Start with, the largest first ({program}):"));
        d.code(lines.join("\n"));
    }
    let mut notes: Vec<String> =
        picks.iter().rev().map(|p| format!("{}: {}", short(&p.model), p.reason)).collect();
    let without: Vec<&str> =
        picks.iter().filter(|p| p.start.is_none()).map(|p| short(&p.model)).collect();
    if !has_start_line(program) {
        notes.push(format!("how {program} is started with a model is not known here"));
    } else if !without.is_empty() {
        notes.push(format!("no repository of GGUF files is known here of {}", without.join(", ")));
    }
    d.notes(notes);
}
