//! What lies over the screen: lists to choose from, and texts.

use super::palette::Palette;
use super::words::{columns, put, put_right};
use crate::cli::explore::knob::Knob;
use crate::cli::explore::pages::AROUND;
use crate::cli::explore::picker::Picker;
use crate::cli::explore::state::{ExploreState, ScrolledText, TextPage};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::{Block, Clear, Widget};

/// Draws an empty frame with a title; returns what is inside.
fn frame(title: &str, palette: Palette, area: Rect, cells: &mut Buffer) -> Rect {
    Clear.render(area, cells);
    let block = Block::bordered().border_style(palette.faint());
    let inside = block.inner(area);
    block.render(area, cells);
    put(cells, Rect { width: area.width - 2, height: 1, ..area }, 2, title, palette.strong());
    inside
}

/// A list to choose from.
pub(super) fn picker(picker: &Picker, palette: Palette, area: Rect, cells: &mut Buffer) {
    let outer =
        Rect { x: area.x + 1, y: area.y + 1, width: area.width - 2, height: area.height - 2 };
    let (title, other) = match picker.knob {
        Knob::Mac => (" Which Mac? Type words of its name ", "the models"),
        _ => (" Which model? Type words of its name ", "the Macs"),
    };
    let inside = frame(title, palette, outer, cells);
    put(
        cells,
        inside,
        1,
        &format!("{}▏", visible_end(picker.line.text(), inside.width - 4)),
        Style::new(),
    );
    let list = Rect { y: inside.y + 1, height: inside.height - 2, ..inside };
    let shown = usize::from(list.height);
    let first = picker.at.saturating_sub(shown.saturating_sub(1));
    let typed = picker.rows.iter().skip(first).take(shown).map(|r| columns(&r.typed)).max();
    let typed = typed.unwrap_or(0).min(usize::from(inside.width) / 2) as u16;
    for ((i, row), y) in picker.rows.iter().enumerate().skip(first).zip(0..list.height) {
        let place = Rect { y: list.y + y, height: 1, ..list };
        let style = if i == picker.at { palette.chosen() } else { Style::new() };
        if i == picker.at {
            cells.set_style(place, style);
        }
        put(cells, Rect { width: typed + 1, ..place }, 1, &row.typed, style);
        let name = if i == picker.at { style } else { palette.faint() };
        put(cells, place, typed + 3, &row.name, name);
    }
    let end = Rect { y: inside.bottom() - 1, height: 1, ..inside };
    let keys = format!("Enter takes it   up down choose   Tab: {other}   Esc closes");
    put(cells, end, 1, &keys, palette.faint());
    put_right(cells, end, &format!(" {} found ", picker.rows.len()), palette.faint());
}

/// The end of a text that is too long: where one types.
fn visible_end(text: &str, room: u16) -> String {
    let mut rest = text;
    while columns(rest) > usize::from(room) {
        let mut chars = rest.chars();
        chars.next();
        rest = chars.as_str();
    }
    rest.to_owned()
}

/// A text that scrolls.
pub(super) fn text(
    state: &ExploreState,
    text: &ScrolledText,
    palette: Palette,
    area: Rect,
    cells: &mut Buffer,
) {
    let lines = state.page(text.page);
    let most = area.height - AROUND.1;
    let height = (lines.len() as u16).clamp(1, most);
    let width = state.text_width().min(area.width - AROUND.0);
    let outer = Rect {
        x: area.x + (area.width - width - 4) / 2,
        y: area.y + (area.height - height - 2) / 2,
        width: width + 4,
        height: height + 2,
    };
    let title = match text.page {
        TextPage::Help => " Keys ",
        TextPage::Details => " mlxplan predict ",
        TextPage::Command => " Copied, where the terminal allows it ",
    };
    let inside = frame(title, palette, outer, cells);
    let gone = usize::from(text.gone).min(lines.len().saturating_sub(usize::from(height)));
    for (line, y) in lines.iter().skip(gone).zip(0..height) {
        let row = Rect { y: inside.y + y, height: 1, ..inside };
        put(cells, row, 1, line, Style::new());
    }
    let more = lines.len() > usize::from(height);
    let keys = if more { " up down scroll, any other key closes " } else { " any key closes " };
    let row = Rect { y: outer.bottom() - 1, height: 1, ..outer };
    put_right(cells, Rect { width: outer.width - 2, ..row }, keys, palette.faint());
}
