//! The screen as cells: a function of the state and nothing else.

mod answer;
mod bar;
mod curve;
mod overlay;
mod palette;
mod plain;
mod settings;
mod words;

pub(super) use palette::Palette;

use super::state::{ExploreState, Overlay};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Widget, Wrap};
use settings::ROWS;
use words::{put, put_right};

/// Least columns and rows that the screen needs.
const LEAST: (u16, u16) = (60, 20);

/// Draws the screen.
pub(super) fn draw(state: &ExploreState, palette: Palette, area: Rect, cells: &mut Buffer) {
    if area.width < LEAST.0 || area.height < LEAST.1 {
        too_small(area, cells);
    } else {
        screen(state, palette, area, cells);
    }
    if palette.ascii {
        plain::to_ascii(cells);
    }
}

fn too_small(area: Rect, cells: &mut Buffer) {
    let text = format!(
        "mlxplan explore needs {} columns and {} rows; these are {} and {}. Enlarge the window, or press q to leave.",
        LEAST.0, LEAST.1, area.width, area.height
    );
    Paragraph::new(text).wrap(Wrap { trim: true }).render(area, cells);
}

fn screen(state: &ExploreState, palette: Palette, area: Rect, cells: &mut Buffer) {
    let row = |y: u16| Rect { y: area.y + y, height: 1, ..area };
    title(palette, row(0), cells);
    settings::draw(state, palette, Rect { y: area.y + 1, height: ROWS, ..area }, cells);
    let rule = 1 + ROWS;
    heading(state, palette, row(rule), cells);
    let below = rule + 1;
    let body = Rect { y: area.y + below, height: area.height - below - 2, ..area };
    answer::draw(state, palette, body, cells);
    told(state, palette, row(area.height - 2), cells);
    keys(palette, row(area.height - 1), cells);
    match &state.over {
        Overlay::None | Overlay::Number(_) => {}
        Overlay::Picker(picker) => overlay::picker(picker, palette, area, cells),
        Overlay::Text(text) => overlay::text(state, text, palette, area, cells),
    }
}

fn title(palette: Palette, row: Rect, cells: &mut Buffer) {
    cells.set_style(row, palette.title());
    put(cells, row, 1, "mlxplan explore", palette.title());
    put_right(cells, row, "? help   q quit ", palette.title());
}

/// The rule above the answer: which question it is of.
fn heading(state: &ExploreState, palette: Palette, row: Rect, cells: &mut Buffer) {
    put(cells, row, 0, &"─".repeat(usize::from(row.width)), palette.faint());
    let current = state.answer.as_ref().filter(|a| a.number == state.number);
    let text = match (state.computing, current) {
        (true, None) if state.answer.is_some() => " computing… below is the answer before ",
        (true, _) => " computing… ",
        (false, Some(_)) => " predicted ",
        (false, None) => return,
    };
    let style = if state.computing { palette.warning() } else { palette.faint() };
    put(cells, row, 2, text, style);
    if let Some(answer) = current {
        let basis = format!(" {} ", answer.prediction.fidelity.name());
        put_right(cells, Rect { width: row.width - 2, ..row }, &basis, palette.faint());
    }
}

/// What was done last, or the first doubt.
fn told(state: &ExploreState, palette: Palette, row: Rect, cells: &mut Buffer) {
    if let Overlay::Number(line) = &state.over {
        let text = format!(
            "{}: {}▏ Enter takes it, Esc does not",
            settings::plain_label(state.at),
            line.text()
        );
        return put(cells, row, 1, &text, palette.chosen());
    }
    if let Some(text) = &state.told {
        return put(cells, row, 1, text, palette.told());
    }
    let Some(answer) = &state.answer else { return };
    let doubts = &answer.prediction.warnings;
    if let Some(first) = doubts.first() {
        let more = match doubts.len() - 1 {
            0 => String::new(),
            n => format!(" (i: {n} more)"),
        };
        let text = format!("! {first}");
        let room = row.width.saturating_sub(2 + more.len() as u16);
        put(cells, Rect { width: room + 1, ..row }, 1, &text, palette.warning());
        put_right(cells, row, &format!("{more} "), palette.warning());
    }
}

fn keys(palette: Palette, row: Rect, cells: &mut Buffer) {
    cells.set_style(row, palette.faint());
    let long = " a Mac  m model  arrows change  c command  r report  i all of it  ? help  q quit";
    let short = " a Mac  m model  arrows  c command  r report  i all  ? help";
    let text = if usize::from(row.width) > long.len() { long } else { short };
    Line::styled(text, palette.faint()).render(row, cells);
}

#[cfg(test)]
mod tests;
