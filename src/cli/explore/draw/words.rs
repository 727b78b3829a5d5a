//! Text in cells: cut by columns, not by characters.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

/// Columns that a text takes.
pub(super) fn columns(text: &str) -> usize {
    Span::raw(text).width()
}

/// A text within so many columns, with a sign where it was cut.
pub(super) fn cut(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        out.push(c);
        if columns(&out) + 1 > room {
            out.pop();
            break;
        }
    }
    if room > 0 {
        out.push('…');
    }
    out
}

/// Puts a text into a row, so many columns from its left.
pub(super) fn put(cells: &mut Buffer, row: Rect, left: u16, text: &str, style: Style) {
    let room = row.width.saturating_sub(left);
    cells.set_stringn(row.x + left, row.y, cut(text, room.into()), room.into(), style);
}

/// Puts a text at the right end of a row.
pub(super) fn put_right(cells: &mut Buffer, row: Rect, text: &str, style: Style) {
    let left = usize::from(row.width).saturating_sub(columns(text));
    put(cells, row, left as u16, text, style);
}

#[cfg(test)]
mod tests {
    use super::{columns, cut};

    #[test]
    fn texts_are_cut_by_columns() {
        assert_eq!(cut("qwen3-32b", 9), "qwen3-32b");
        assert_eq!(cut("qwen3-32b", 6), "qwen3…");
        assert_eq!(cut("日本語モデル", 12), "日本語モデル");
        assert_eq!(cut("日本語モデル", 6), "日本…");
        assert_eq!(cut("日本", 1), "…");
        assert_eq!(cut("日本", 0), "");
        for room in 0..20 {
            assert!(columns(&cut("e\u{301}日本 👩‍💻 x", room)) <= room, "{room}");
        }
    }
}
