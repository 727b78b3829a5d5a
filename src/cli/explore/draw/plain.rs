//! The screen where only ASCII can be shown.

use ratatui::buffer::Buffer;

/// Replaces every symbol by one of ASCII that stands for it.
pub(super) fn to_ascii(cells: &mut Buffer) {
    for cell in &mut cells.content {
        let symbol = cell.symbol();
        if !symbol.is_ascii() {
            cell.set_symbol(ascii(symbol));
        }
    }
}

fn ascii(symbol: &str) -> &'static str {
    match symbol.chars().next().unwrap_or(' ') {
        '─' | '–' | '—' | '━' | '·' => "-",
        '│' | '┃' | '▏' | '┊' => "|",
        '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┼' | '╭' | '╮' | '╰' | '╯' => {
            "+"
        }
        '█' => "#",
        '▓' => "%",
        '▒' => "=",
        '░' => ".",
        '…' => "~",
        '‹' => "<",
        '›' => ">",
        'µ' => "u",
        '×' => "x",
        '≤' => "<",
        '\u{2800}' => " ",
        '\u{2801}'..='\u{28ff}' | '•' => "*",
        _ => "?",
    }
}
