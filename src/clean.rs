//! Text of others made fit for a terminal, a spreadsheet or a page.
//!
//! Names and messages come from files, servers and arguments. Control characters in them could move the cursor, forge
//! lines or type commands; marks of writing direction make a text read as another one. They are replaced by a visible
//! sign, so that one sees that there was something.

use std::borrow::Cow;

/// What stands in the place of a character that may not be shown.
const SIGN: char = char::REPLACEMENT_CHARACTER;

/// Whether a character acts on a terminal or on the order of the text instead of being seen: C0 and C1 controls, marks
/// of writing direction, line separators and invisible tags. Line breaks and tabs are layout and stay.
#[must_use]
pub fn acts(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{e0000}'..='\u{e007f}' => true,
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' => true,
        c => c.is_control(),
    }
}

/// A text in which nothing acts any more.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if acts(c) { SIGN } else { c }).collect())
}

/// JSON with its own escapes in the place of such characters, which can only stand within its texts.
#[must_use]
pub fn clean_json(json: &str) -> Cow<'_, str> {
    if !json.contains(acts) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if acts(c) {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|u| out.push_str(&format!("\\u{u:04x}")));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// A cell that a spreadsheet would run as a formula, marked as a text. Numbers with a sign stay numbers.
#[must_use]
pub fn no_formula(cell: &str) -> Cow<'_, str> {
    let number = |rest: &str| {
        let digits = rest.trim_end_matches([' ', '%']);
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ','))
    };
    let runs = match cell.chars().next() {
        Some('=' | '@' | '\t' | '\r') => true,
        Some('+' | '-') => {
            let rest = cell.get(1..).unwrap_or_default();
            cell.trim_end_matches([' ', '%']).parse::<f64>().is_err() && !number(rest)
        }
        _ => false,
    };
    if runs { Cow::Owned(format!("'{cell}")) } else { Cow::Borrowed(cell) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_and_letters_stay() {
        assert_eq!(
            clean("a\u{1b}[31mb\u{9b}2J\u{202e}c\u{7f}"),
            "a\u{fffd}[31mb\u{fffd}2J\u{fffd}c\u{fffd}"
        );
        let plain = "Qwen3-32B × 4 bit, 日本 e\u{301} 👩‍💻\n\tnext";
        assert!(matches!(clean(plain), Cow::Borrowed(_)));
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({ "id": "a\u{9b}2J\u{202e}\u{1b}\u{e0041}" });
        let text = value.to_string();
        let safe = clean_json(&text);
        assert!(!safe.contains(acts), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }

    #[test]
    fn formulas_are_texts_and_numbers_are_not() {
        for formula in ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "-A1", "\tx", "+"] {
            assert_eq!(no_formula(formula), format!("'{formula}"));
        }
        for plain in ["", "-1.5", "+12 %", "-1,024", "-3e-4", "a=b", "–", "+0.5%"] {
            assert_eq!(no_formula(plain), plain);
        }
    }
}
