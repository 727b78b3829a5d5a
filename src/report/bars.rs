//! Bars beside the rows of a table.

use super::document::Bars;

/// Columns of the terminal that bars take at least and at most.
pub(super) const LEAST: usize = 8;
const MOST: usize = 24;
/// Eighths of a column, from one to seven.
const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// The bars in at most `room` columns, all of them to one scale that starts at 0.
pub(super) fn draw(bars: &Bars, room: usize, ascii: bool) -> Vec<String> {
    let usable = |v: &Option<f64>| v.filter(|v| v.is_finite() && *v > 0.0);
    let highest = bars.values.iter().filter_map(usable).fold(0.0, f64::max);
    let width = room.min(MOST);
    let bar = |value: &Option<f64>| match usable(value) {
        Some(value) => one(value / highest * width as f64, ascii),
        None => String::new(),
    };
    bars.values.iter().map(bar).collect()
}

/// A bar of so many columns.
fn one(columns: f64, ascii: bool) -> String {
    if ascii {
        return "#".repeat(columns.round().max(1.0) as usize);
    }
    let eighths = (columns * 8.0).round().max(1.0) as usize;
    let rest = (eighths % 8).checked_sub(1).and_then(|i| EIGHTHS.get(i));
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(rest);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values() {
        let bars =
            Bars { values: vec![Some(10.0), Some(5.0), Some(0.1), None, Some(0.0)], droppable: 1 };
        assert_eq!(draw(&bars, 8, false), ["████████", "████", "▏", "", ""]);
        assert_eq!(draw(&bars, 8, true), ["########", "####", "#", "", ""]);
        assert_eq!(draw(&bars, 99, false)[0].chars().count(), MOST);
        assert_eq!(draw(&Bars { values: vec![None], droppable: 1 }, 8, false), [""]);
    }
}
