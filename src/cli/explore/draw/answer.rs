//! The answer: whether it fits, memory, speeds, the longest context, and curves where there is room.

use super::palette::Palette;
use super::words::put;
use super::{bar, curve};
use crate::cli::explore::pages::wrapped;
use crate::cli::explore::state::{ExploreState, ShownAnswer};
use crate::cli::shared::words::{contexts_text, predicted_engine_text, rates, short, times};
use crate::estimate::Prediction;
use crate::estimate::memory::{Fit, Limit, Memory};
use crate::estimate::speculation::{DraftAnswer, Speculation};
use crate::units::{Bytes, Seconds, TokensPerSecond};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Columns of a label.
const LABEL: u16 = 13;
/// Rows below which a curve says nothing.
const CURVE: u16 = 5;
/// Rows of an answer below which its curve counts more than the prefill speed.
const TIGHT: u16 = 14;
/// Rows of an answer from which there is room for more than the figures that were asked for.
const ROOMY: u16 = 26;

/// Draws the answer, or why there is none.
pub(super) fn draw(state: &ExploreState, palette: Palette, area: Rect, cells: &mut Buffer) {
    if let Some(why) = state.failed.as_ref().filter(|_| !state.computing) {
        return failure(why, palette, area, cells);
    }
    let Some(answer) = &state.answer else { return };
    let style = if answer.number == state.number { palette.strong() } else { palette.faint() };
    let used = figures(&answer.prediction, style, palette, area, cells);
    let rest = Rect { y: area.y + used, height: area.height - used, ..area };
    if rest.height >= CURVE {
        curves(answer, palette, rest, cells);
    }
}

fn failure(why: &str, palette: Palette, area: Rect, cells: &mut Buffer) {
    put(cells, area, 1, "No answer:", palette.bad());
    let lines = wrapped(why, area.width.saturating_sub(2));
    for (line, y) in lines.iter().zip(2..area.height) {
        put(cells, Rect { y: area.y + y, height: 1, ..area }, 1, line, Style::new());
    }
}

/// Draws the figures; returns the rows that they took.
fn figures(p: &Prediction, style: Style, palette: Palette, area: Rect, cells: &mut Buffer) -> u16 {
    let mut y = 0;
    if let Some(memory) = &p.memory {
        let row = Rect { y: area.y, height: 1, ..area };
        put(cells, row, 1, "fits", palette.label());
        put(
            cells,
            row,
            1 + LABEL,
            memory.judgment.verdict.to_string().as_str(),
            verdict(memory, palette),
        );
        put(cells, row, 1 + LABEL + 10, &need_text(memory), style);
        let inner = Rect { x: area.x + 1, y: area.y + 1, width: area.width - 2, height: 1 };
        bar::draw(p, (memory, &p.machine), palette, inner, cells);
        y = 3;
    }
    for (label, text) in lines(p, area.height) {
        let row = Rect { y: area.y + y, height: 1, ..area };
        put(cells, row, 1, label, palette.label());
        put(cells, Rect { width: row.width - 1, ..row }, 1 + LABEL, &text, style);
        y += 1;
    }
    y
}

/// The figures in words: those that were asked for, and more where there is room.
fn lines(p: &Prediction, rows: u16) -> Vec<(&'static str, String)> {
    let (d, f) = (&p.decode, &p.prefill);
    let users = p.run.work.batch;
    let of = if users > 1 { format!(" of all {users}") } else { String::new() };
    let rate = TokensPerSecond(d.tokens_per_s);
    let mut all = vec![
        (
            "decode",
            format!(
                "{rate} tok/s{of}, 80 % {}, 90 % {}",
                rates(d.interval_80),
                rates(d.interval_90)
            ),
        ),
        (
            "first token",
            format!("after {}, 90 % {}", Seconds(f.ttft_s), times(p.ttft_interval_90_s())),
        ),
    ];
    if rows >= TIGHT {
        let (rate, interval) = (TokensPerSecond(f.tokens_per_s), rates(f.interval_90));
        all.push(("prefill", format!("{rate} tok/s, 90 % {interval}")));
    }
    all.extend(p.speculation.as_ref().map(|s| ("drafts", drafts_text(s))));
    all.extend(p.context.map(|c| ("max context", contexts_text(c))));
    if rows >= ROOMY {
        all.push((
            "a token",
            format!(
                "{}, bound by {}: {} read",
                Seconds(d.seconds_per_token),
                d.bound.name(),
                Bytes(d.bytes_per_token)
            ),
        ));
        if let Some(memory) = &p.memory {
            let [low, high] = memory.peak_interval_90;
            all.push(("peak", format!("{}, 90 % {low}–{high}", Bytes(memory.peak.peak_bytes))));
            let [low, high] = memory.process.footprint_bytes.map(Bytes);
            all.push(("footprint", format!("{low}–{high}, as macOS shows the process")));
        }
        all.push(("engine", predicted_engine_text(p)));
        all.push(("model", format!("{} {}", p.model.id, p.model.quant)));
        all.push(("machine", p.machine.name.clone()));
    }
    all
}

/// What may draft for the model, and how much faster it is: the fastest of them.
fn drafts_text(s: &Speculation) -> String {
    let speed = |d: &&DraftAnswer| d.speedup.unwrap_or(0.0);
    let Some(best) = s.drafts.iter().max_by(|a, b| speed(a).total_cmp(&speed(b))) else {
        return s.notes.first().cloned().unwrap_or_default();
    };
    let name = short(&best.model);
    match (best.speedup, best.interval_90) {
        (Some(times), Some([low, high])) => {
            format!("{name}: {}, {times:.2} times as fast, 90 % {low:.2}–{high:.2}", best.verdict)
        }
        _ => format!("{name}: {}: {}", best.verdict, best.reason),
    }
}

fn verdict(memory: &Memory, palette: Palette) -> Style {
    match memory.judgment.verdict {
        Fit::Yes => palette.good(),
        Fit::Tight | Fit::Uncertain => palette.doubtful(),
        Fit::No => palette.bad(),
    }
}

/// The limit that is nearest, or exceeded most: what is needed, what is allowed.
fn need_text(memory: &Memory) -> String {
    let share = |l: &Limit| l.need_bytes.0 as f64 / l.limit_bytes.0.max(1) as f64;
    let worst = memory.judgment.verdict;
    let decisive = memory.judgment.limits.iter().filter(|l| l.verdict == worst);
    let nearest = decisive.max_by(|a, b| share(a).total_cmp(&share(b)));
    nearest.map_or_else(String::new, |l| {
        format!("{} of {}: {}", l.need_bytes, l.limit_bytes, l.kind.name())
    })
}

/// Draws the speed over the context, and memory beside it where there is room for both.
fn curves(answer: &ShownAnswer, palette: Palette, area: Rect, cells: &mut Buffer) {
    const BOTH: u16 = 76;
    if area.width < BOTH {
        return curve::speed(answer, palette, area, cells);
    }
    let half = area.width / 2;
    curve::speed(answer, palette, Rect { width: half, ..area }, cells);
    let right = Rect { x: area.x + half, width: area.width - half, ..area };
    curve::memory(answer, palette, right, cells);
}
