//! The settings: two in a row, each with the letter that is its key.

use super::palette::Palette;
use super::words::put;
use crate::cli::explore::knob::Knob;
use crate::cli::explore::state::ExploreState;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

/// Settings in a row.
const ACROSS: u16 = 2;
/// Rows of settings.
pub(super) const ROWS: u16 = (Knob::ALL.len() as u16).div_ceil(ACROSS);
/// Columns of a label.
const LABEL: u16 = 9;

/// Draws the settings.
pub(super) fn draw(state: &ExploreState, palette: Palette, area: Rect, cells: &mut Buffer) {
    let width = area.width / ACROSS;
    for (i, knob) in Knob::ALL.into_iter().enumerate() {
        let i = i as u16;
        let place =
            Rect { x: area.x + i % ACROSS * width, y: area.y + i / ACROSS, width, height: 1 };
        one(state, knob, palette, place, cells);
    }
}

fn one(state: &ExploreState, knob: Knob, palette: Palette, place: Rect, cells: &mut Buffer) {
    for (i, c) in knob.label().chars().enumerate() {
        let style = if c.is_ascii_uppercase() { key(palette) } else { palette.label() };
        put(cells, place, 1 + i as u16, c.encode_utf8(&mut [0; 4]), style);
    }
    let value = state.inquiry.shown(knob, state.facts.as_ref());
    let style = if knob == state.at { palette.chosen() } else { palette.strong() };
    let value = if knob.is_picked() { value } else { format!("‹{value}›") };
    let room =
        Rect { x: place.x + 1 + LABEL, width: place.width.saturating_sub(2 + LABEL), ..place };
    put(cells, room, 0, &value, style);
}

/// The letter of a label that is its key.
fn key(palette: Palette) -> Style {
    palette.label().add_modifier(Modifier::UNDERLINED | Modifier::BOLD)
}

/// A label in small letters.
pub(super) fn plain_label(knob: Knob) -> String {
    knob.label().to_lowercase()
}
