//! `predict --turn` and `predict --session`: a turn of a conversation, or a whole one, for people.

use super::args::PredictArgs;
use super::{session_charts, three};
use crate::advise::session::{
    Conversation, SessionEnd, SessionEnergy, SessionPlan, SessionSpec, TurnRow,
};
use crate::chart::Chart;
use crate::cli::shared::exit::ExitStatus;
use crate::cli::shared::opening::About;
use crate::cli::shared::words::{limit_texts, predicted_engine_text, status};
use crate::estimate::{Estimator, OpenedModel, TimeRange, TurnTimes};
use crate::files;
use crate::hardware::machine::Machine;
use crate::report::{Answer, Column, Document, Present, Table};
use crate::roofline::kept::KeptPlace;
use crate::units::{Bytes, Seconds, TokensPerSecond};
use anyhow::{Context as _, Result};
use std::path::Path;

/// Most bytes of a file that describes a session.
const LONGEST_FILE: u64 = 1 << 20;
/// Most rows of a table for people; JSON has all of them.
const ROWS: usize = 12;

/// What was asked, if it is a turn or a session.
pub(super) fn asked(args: &PredictArgs) -> Result<Option<Conversation>> {
    if let Some(turn) = args.turn {
        return Ok(Some(Conversation::Turn(turn)));
    }
    let Some(text) = &args.session else { return Ok(None) };
    let session = if text.contains('=') && !Path::new(text).exists() {
        text.parse()?
    } else {
        SessionSpec::read(
            text,
            &files::text(Path::new(text), LONGEST_FILE)
                .with_context(|| format!("--session {text}"))?,
        )?
    };
    Ok(Some(Conversation::Session(session)))
}

/// The answer and its exit status.
pub(super) fn run(
    (estimator, model): (&Estimator<'_>, &OpenedModel),
    machine: &Machine,
    asked: &Conversation,
) -> Result<(Answer, ExitStatus)> {
    let plan = SessionPlan::of(estimator, machine, asked).about(model)?;
    let status = match plan.ends {
        Some(_) => ExitStatus::No,
        None => status(plan.last.memory.as_ref()),
    };
    Ok((Answer::of(plan), status))
}

impl Present for SessionPlan {
    const SCHEMA: &'static str = "mlxplan.session/1";

    fn document(&self) -> Document {
        let mut d = Document::default();
        d.heading(format!(
            "{}  {}  on  {}",
            self.model.id, self.model.quant, self.last.machine.name
        ));
        match (&self.session, self.turns.as_slice()) {
            (None, [turn]) => one_turn(&mut d, self, turn),
            _ => session(&mut d, self),
        }
        let mut notes: Vec<String> = self.warnings.iter().map(ToString::to_string).collect();
        notes.extend(self.notes.iter().cloned());
        d.notes(notes);
        if !self.commands.is_empty() {
            d.text("To start the engine with room for the kept caches:");
            d.code(self.commands.join("\n"));
        }
        d.not_modeled(&self.not_modeled);
        d
    }

    fn charts(&self) -> Vec<Chart> {
        session_charts::charts(self)
    }
}

/// A time with its interval.
fn time(t: TimeRange) -> String {
    let [low, high] = t.interval_90_s.map(Seconds);
    if t.interval_90_s[0] == t.interval_90_s[1] {
        return Seconds(t.seconds).to_string();
    }
    format!("{}, 90 % {low}–{high}", Seconds(t.seconds))
}

fn one_turn(d: &mut Document, plan: &SessionPlan, row: &TurnRow) {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, text: String| pairs.push((name.to_owned(), text));
    add(
        "turn",
        format!(
            "{}-token prompt, {} of it kept, {} tokens generated",
            row.depth_tokens, row.cached_tokens, row.output_tokens
        ),
    );
    add("engine", predicted_engine_text(&plan.last));
    add("first token", format!("after {}", warm(row)));
    add(
        "without it",
        format!("after {}", time(range(row.ttft_cold_s, row.ttft_cold_interval_90_s))),
    );
    add("output", rate(row));
    parts(&mut add, plan, row);
    add("whole turn", time(range(row.seconds, row.seconds_interval_90)));
    if row.cached_tokens > 0 {
        let cold = range(row.seconds_cold, row.seconds_cold_interval_90);
        let saved = 100.0 * (1.0 - row.seconds / row.seconds_cold);
        add("without it", format!("{}: the kept cache saves {saved:.0} %", time(cold)));
    }
    memory(&mut add, plan, row);
    ending(&mut add, plan);
    d.pairs(pairs);
}

/// The time to first token with the kept cache, in words.
fn warm(row: &TurnRow) -> String {
    let read = row.depth_tokens - row.cached_tokens;
    let text = time(range(row.ttft_warm_s, row.ttft_warm_interval_90_s));
    format!("{text}; {read} tokens are read")
}

const fn range(seconds: f64, interval_90_s: [f64; 2]) -> TimeRange {
    TimeRange { seconds, interval_90_s }
}

fn rate(row: &TurnRow) -> String {
    let [low, high] = row.decode_interval_90.map(TokensPerSecond);
    format!("{} tok/s at that depth, 90 % {low}–{high}", TokensPerSecond(row.decode_tokens_per_s))
}

/// Where the time of a turn goes.
fn parts(add: &mut impl FnMut(&str, String), plan: &SessionPlan, row: &TurnRow) {
    let TurnTimes { server, kept, prefill, output, tools, .. } = row.parts;
    if server.seconds > 0.0 {
        add("  server", format!("{} of {}", time(server), plan.engine.program));
    }
    if row.cached_tokens > 0 {
        let place = match plan.kept_in {
            KeptPlace::Memory => "copied in memory",
            KeptPlace::File => "loaded from a file",
            KeptPlace::Blocks => "loaded in blocks from the SSD",
            KeptPlace::Slot => "still in the slot of this sequence",
        };
        add("  kept cache", format!("{}, {place}", time(kept)));
    }
    add("  prefill", time(prefill));
    add("  output", time(output));
    if tools.seconds > 0.0 {
        add("  tools", format!("{}, as said", Seconds(tools.seconds)));
    }
}

/// Memory and disk of the kept caches, and how many sessions fit.
fn memory(add: &mut impl FnMut(&str, String), plan: &SessionPlan, row: &TurnRow) {
    let total = row.depth_tokens.saturating_add(row.output_tokens);
    add(
        "cache",
        format!(
            "{} after {total} tokens, in memory and as a file; saved in {}, loaded in {}",
            Bytes(row.cache_bytes),
            Seconds(plan.files.save.seconds),
            Seconds(plan.files.load.seconds)
        ),
    );
    let Some(m) = &plan.last.memory else { return };
    let [low, high] = m.peak_interval_90;
    add(
        "peak memory",
        format!("{}, 90 % {low}–{high}; fits: {}", Bytes(m.peak.peak_bytes), m.judgment.verdict),
    );
    limit_texts(&m.judgment.limits).for_each(|text| add("", text));
    let s = plan.sessions;
    let fit = if s.safe == s.at_most {
        format!("{} such sessions fit at once", s.safe)
    } else {
        format!("{} such sessions are safe at once, at most {} fit", s.safe, s.at_most)
    };
    add("sessions", format!("{fit}; each keeps {} while it waits", Bytes(s.each_bytes)));
}

/// Where the session ends, and the context to declare.
fn ending(add: &mut impl FnMut(&str, String), plan: &SessionPlan) {
    let unsafe_text = |end: SessionEnd| {
        end.unsafe_from
            .map_or_else(String::new, |turn| format!("; from turn {turn} on memory is not safe"))
    };
    match (plan.ends, plan.would_end) {
        (Some(end), _) => {
            let text = format!("at turn {}: {}{}", end.turn, end.reason.words(), unsafe_text(end));
            add("ends", text);
        }
        (None, Some(end)) => {
            let text = format!(
                "not before turn {}, by {}{}",
                end.turn,
                end.reason.words(),
                unsafe_text(end)
            );
            add("would end", text);
        }
        (None, None) => {}
    }
    let needed = match plan.needed_context_tokens {
        0 => "no turn can be done".to_owned(),
        tokens => format!("{tokens} tokens are needed"),
    };
    add(
        "context",
        format!("{needed}; declare {} to the agent, which is safe", plan.declared_context_tokens),
    );
    if let Some(energy) = &plan.energy {
        add("energy", energy_text(energy));
    }
}

fn energy_text(e: &SessionEnergy) -> String {
    let three = |all: [f64; 3]| {
        let [low, middle, high] = all.map(three);
        format!("{middle} ({low}–{high})")
    };
    format!(
        "{} Wh; {:.0} hours a day of it {} kWh, {} USD at {} USD/kWh: an assumption, {} W while it generates",
        three(e.watt_hours),
        e.hours_per_day,
        three(e.kwh_per_day),
        three(e.usd_per_day),
        e.usd_per_kwh,
        three(e.watts)
    )
}

fn session(d: &mut Document, plan: &SessionPlan) {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, text: String| pairs.push((name.to_owned(), text));
    if let Some(s) = &plan.session {
        let thinking = if s.thinking > 0 {
            format!(" ({} of them thinking that the template removes)", s.thinking)
        } else {
            String::new()
        };
        add(
            "session",
            format!(
                "{} turns: {} tokens before the first, then {} of the user, {} generated{thinking}, {} of tools a turn",
                s.turns, s.system, s.prompt, s.output, s.tool
            ),
        );
    }
    add("engine", predicted_engine_text(&plan.last));
    add("whole", time(plan.total));
    add("", format!("without kept caches {}", time(plan.total_without_cache)));
    if let Some(last) = plan.turns.last() {
        memory(&mut add, plan, last);
    }
    ending(&mut add, plan);
    d.pairs(pairs);
    d.main_table(table(&plan.turns));
}

/// The turns that are shown: the first ones, the last one, and some between.
fn shown(turns: &[TurnRow]) -> Vec<&TurnRow> {
    let n = turns.len();
    if n <= ROWS {
        return turns.iter().collect();
    }
    let mut all: Vec<usize> = (0..ROWS).map(|i| i * (n - 1) / (ROWS - 1)).collect();
    all[1] = 1;
    all.dedup();
    all.into_iter().map(|i| &turns[i]).collect()
}

fn table(turns: &[TurnRow]) -> Table {
    let mut table = Table::new(vec![
        Column::number("turn"),
        Column::number("depth"),
        Column::number("read"),
        Column::number("cold s"),
        Column::number("warm s"),
        Column::number("90 %").droppable(2),
        Column::number("tok/s"),
        Column::number("turn s"),
        Column::number("cache GB").droppable(1),
        Column::number("peak GB"),
        Column::number("minutes"),
    ]);
    let s = |x: f64| if x < 9.95 { format!("{x:.2}") } else { format!("{x:.0}") };
    let gb = |bytes: u64| format!("{:.1}", Bytes(bytes).gb());
    for t in shown(turns) {
        let [low, high] = t.ttft_warm_interval_90_s.map(s);
        table.row([
            t.turn.to_string(),
            t.depth_tokens.to_string(),
            (t.depth_tokens - t.cached_tokens).to_string(),
            s(t.ttft_cold_s),
            s(t.ttft_warm_s),
            format!("{low}–{high}"),
            TokensPerSecond(t.decode_tokens_per_s).to_string(),
            s(t.seconds),
            gb(t.cache_bytes),
            gb(t.peak_bytes),
            format!("{:.1}", t.elapsed_s / 60.0),
        ]);
    }
    table
}
