//! The parts of a run's document that belong to one scenario.

use super::cells::{dash, figure};
use crate::bench::MemoryReading;
use crate::bench::predicted::PredictedFigure;
use crate::bench::record::Record;
use crate::bench::scenario::{Cold, Load, Resume, Soak};
use crate::bench::summary::TrialMetric;
use crate::report::{Column, Document, Table};
use crate::stats::{Slope, Trend};
use crate::units::{Bytes, Seconds, TokensPerSecond};

/// Adds what the record has.
pub(super) fn add(d: &mut Document, record: &Record) {
    if !record.predicted.is_empty() {
        d.heading("Prediction against measurement");
        d.table(predicted(&record.predicted));
    }
    if !record.load.is_empty() {
        d.heading("Users at once");
        d.table(load(&record.load));
    }
    if !record.resume.is_empty() {
        d.heading("Continuing a conversation");
        d.table(resume(&record.resume));
    }
    if !record.cold.is_empty() {
        d.heading("Cold start");
        d.table(cold(&record.cold));
    }
    for s in &record.soak {
        d.heading(format!("Engine {} over {} turns", s.engine, s.turns));
        d.pairs(soak(s));
    }
}

fn predicted(rows: &[PredictedFigure]) -> Table {
    let mut table = Table::new(vec![
        Column::text("engine"),
        Column::text("case"),
        Column::text("figure"),
        Column::number("measured"),
        Column::number("predicted"),
        Column::number("90 % interval"),
        Column::number("error"),
    ]);
    for p in rows {
        let name = match p.metric {
            TrialMetric::DecodeTokensPerS => "decode",
            TrialMetric::TtftS => "TTFT",
            _ => "prefill",
        };
        let [low, high] = p.interval_90;
        let show = |v: f64| match p.metric {
            TrialMetric::TtftS => Seconds(v).to_string(),
            _ => format!("{} tok/s", TokensPerSecond(v)),
        };
        table.row([
            p.engine.clone(),
            p.case.clone(),
            name.to_owned(),
            show(p.measured),
            show(p.predicted),
            match p.metric {
                TrialMetric::TtftS => format!("{}–{}", Seconds(low), Seconds(high)),
                _ => format!("{}–{}", TokensPerSecond(low), TokensPerSecond(high)),
            },
            format!("{:+.0} %", p.error * 100.0),
        ]);
    }
    table
}

/// The metric that says most, with its name.
fn memory(reading: Option<MemoryReading>) -> String {
    let Some(m) = reading else { return dash() };
    match (m.footprint_bytes, m.resident_bytes) {
        (Some(b), _) => format!("{} footprint", Bytes(b)),
        (None, Some(b)) => format!("{} resident", Bytes(b)),
        (None, None) => dash(),
    }
}

fn load(rows: &[Load]) -> Table {
    let mut table = Table::new(vec![
        Column::text("engine"),
        Column::number("users"),
        Column::number("all users, tok/s"),
        Column::number("each user, tok/s"),
        Column::number("TTFT 50 %"),
        Column::number("95 %"),
        Column::number("99 %").droppable(2),
        Column::number("good"),
        Column::number("good requests/s"),
        Column::number("memory before").droppable(4),
        Column::number("highest").droppable(1),
        Column::number("after").droppable(3),
    ]);
    for l in rows {
        let ttft = |i: usize| {
            l.ttft_quantiles_s
                .and_then(|q| q.get(i).copied())
                .map_or_else(dash, |s| Seconds(s).to_string())
        };
        let good = match l.failed {
            0 => format!("{} of {}", l.kept, l.requests),
            n => format!("{} of {}, {n} failed", l.kept, l.requests),
        };
        table.row([
            l.engine.clone(),
            l.users.to_string(),
            l.total_tokens_per_s.map_or_else(dash, |r| TokensPerSecond(r).to_string()),
            figure(l.user_decode_tokens_per_s.as_ref(), |r| TokensPerSecond(r).to_string()),
            ttft(0),
            ttft(2),
            ttft(3),
            good,
            format!("{:.2}", l.goodput_requests_per_s),
            memory(l.memory_before),
            memory(l.memory_highest),
            memory(l.memory_after),
        ]);
    }
    table
}

fn resume(rows: &[Resume]) -> Table {
    let mut table = Table::new(vec![
        Column::text("engine"),
        Column::number("tokens"),
        Column::number("first turn, TTFT"),
        Column::number("second turn, TTFT"),
        Column::number("cached tokens"),
        Column::number("faster"),
        Column::number("saved"),
        Column::number("predicted saving"),
    ]);
    let seconds = |s: f64| Seconds(s).to_string();
    // A difference can be negative.
    let saved = |s: f64| format!("{s:.2} s");
    for r in rows {
        table.row([
            r.engine.clone(),
            r.tokens.to_string(),
            figure(r.first_ttft_s.as_ref(), seconds),
            figure(r.second_ttft_s.as_ref(), seconds),
            r.cached_tokens.map_or_else(dash, |n| format!("{n:.0}")),
            figure(r.speed_up.as_ref(), |v| format!("{v:.2}×")),
            figure(r.saved_s.as_ref(), saved),
            r.predicted_saving_s.map_or_else(dash, saved),
        ]);
    }
    table
}

fn cold(rows: &[Cold]) -> Table {
    let mut table = Table::new(vec![
        Column::text("engine"),
        Column::number("answers after"),
        Column::number("first request, TTFT"),
        Column::number("second request, TTFT"),
        Column::number("load"),
        Column::number("load, engine's own"),
    ]);
    let seconds = |s: f64| Seconds(s).to_string();
    for c in rows {
        table.row([
            c.engine.clone(),
            figure(c.ready_s.as_ref(), seconds),
            figure(c.first_ttft_s.as_ref(), seconds),
            figure(c.second_ttft_s.as_ref(), seconds),
            figure(c.load_s.as_ref(), seconds),
            figure(c.own_load_s.as_ref(), seconds),
        ]);
    }
    table
}

fn soak(s: &Soak) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for g in &s.growth {
        let name = match g.metric {
            TrialMetric::FootprintBytes => "footprint",
            TrialMetric::ResidentBytes => "resident memory",
            _ => "MLX active memory",
        };
        pairs.push((name.to_owned(), leak(&g.slope)));
    }
    if s.growth.is_empty() {
        pairs.push((
            "memory".to_owned(),
            "could not be read: the server's process is not visible".to_owned(),
        ));
    }
    if let Some([first, last]) = s.decode_first_last {
        let change = (last / first - 1.0) * 100.0;
        let text = format!(
            "{} tok/s in the first tenth of the turns, {} in the last ({change:+.1} %); {}",
            TokensPerSecond(first),
            TokensPerSecond(last),
            decline(&s.decode_slope),
        );
        pairs.push(("decode".to_owned(), text));
    }
    if s.failed > 0 {
        pairs.push(("failed turns".to_owned(), s.failed.to_string()));
    }
    pairs
}

fn leak(slope: &Slope) -> String {
    let mb = |b: f64| format!("{:+.3}", b / 1e6);
    let range = slope.interval_95.map(|[low, high]| format!("{}…{} MB a turn", mb(low), mb(high)));
    let over = format!("{} turns after {} to settle", slope.turns, slope.settling_turns);
    match (slope.verdict, range) {
        (Trend::Leak, Some(range)) => format!("leak: {range} ({over})"),
        (Trend::NoLeakSeen, Some(range)) => format!("no leak seen: {range} ({over})"),
        (Trend::Shrinking, Some(range)) => {
            format!("memory was given back: {range} ({over}); a longer run tells about leaks")
        }
        _ => format!("too few turns to say anything about a leak ({over})"),
    }
}

fn decline(slope: &Slope) -> &'static str {
    match slope.verdict {
        Trend::Shrinking => "it declines, as with heat",
        Trend::Leak => "it rises",
        Trend::NoLeakSeen => "no decline seen",
        Trend::TooFewTurns => "too few turns to say whether it declines",
    }
}
