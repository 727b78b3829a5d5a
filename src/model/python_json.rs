//! JSON as Python writes it.
//!
//! Python's `json` module writes `Infinity`, `-Infinity` and `NaN`, which JSON (RFC 8259) does not have, and such
//! `config.json` files are on the hub: the time-step limits of Mamba-2 hybrids (`"time_step_limit": [0.0, Infinity]`).

use std::borrow::Cow;

const TOKENS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// The text with Python's non-finite numbers replaced by `null`, where it has any outside of strings.
#[must_use]
pub fn without_non_finite(text: &str) -> Cow<'_, str> {
    if !text.contains("Infinity") && !text.contains("NaN") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_string = false;
    while let Some(c) = rest.chars().next() {
        let token = TOKENS.iter().find(|t| !in_string && rest.starts_with(**t));
        // Behind a backslash the next character belongs to the same escape.
        let escape = rest.chars().nth(1).filter(|_| in_string && c == '\\');
        let taken = match (token, escape) {
            (Some(token), _) => {
                out.push_str("null");
                token.len()
            }
            (None, Some(next)) => {
                out.extend([c, next]);
                c.len_utf8() + next.len_utf8()
            }
            (None, None) => {
                in_string ^= c == '"';
                out.push(c);
                c.len_utf8()
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_are_replaced() {
        for (text, expected) in [
            ("{\"a\":[0.0,Infinity]}", "{\"a\":[0.0,null]}"),
            ("[-Infinity, NaN]", "[null, null]"),
            (r#"{"NaN":"Infinity \" NaN","b":NaN}"#, r#"{"NaN":"Infinity \" NaN","b":null}"#),
            (r#"["\\",NaN]"#, r#"["\\",null]"#),
            ("ä Infinity", "ä null"),
            ("\"open Infinity \\", "\"open Infinity \\"),
        ] {
            assert_eq!(without_non_finite(text), expected);
        }
        assert!(matches!(without_non_finite("{}"), Cow::Borrowed(_)));
    }
}
