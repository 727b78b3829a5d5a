//! JSON as Python writes it: `config.json` files of the Hub may hold `Infinity`, which JSON does not know.

use serde_json::Value;
use std::borrow::Cow;

/// Parses a JSON text in which `Infinity`, `-Infinity` and `NaN` may stand for numbers; they become strings of the
/// same spelling, which [`number`] reads.
///
/// # Errors
/// When the text is not JSON otherwise.
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(&quoted(text))
}

/// The number that a value stands for, infinities included.
#[must_use]
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(s) if s == "Infinity" => Some(f64::INFINITY),
        Value::String(s) if s == "-Infinity" => Some(f64::NEG_INFINITY),
        _ => value.as_f64(),
    }
}

/// The text with quotes around Python's constants outside strings.
#[must_use]
pub fn quoted(text: &str) -> Cow<'_, str> {
    const CONSTANTS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    if !CONSTANTS.iter().any(|c| text.contains(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    let (mut in_string, mut escaped) = (false, false);
    while let Some(c) = rest.chars().next() {
        let constant = CONSTANTS.iter().find(|w| !in_string && rest.starts_with(**w));
        if let Some(word) = constant {
            out.extend(["\"", word, "\""]);
            rest = &rest[word.len()..];
            continue;
        }
        in_string ^= c == '"' && !escaped;
        escaped = in_string && c == '\\' && !escaped;
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_constants_become_readable() {
        let v = parse(r#"{"a": [0.0, Infinity], "b": -Infinity, "c": NaN}"#).unwrap();
        assert_eq!(number(&v["a"][1]), Some(f64::INFINITY));
        assert_eq!(number(&v["b"]), Some(f64::NEG_INFINITY));
        assert_eq!(number(&v["c"]), None);
    }

    #[test]
    fn strings_stay_as_they_are() {
        let v = parse(r#"{"a": "x \" Infinity \\", "b": Infinity, "NaN": "é Infinity"}"#).unwrap();
        assert_eq!(v["a"], "x \" Infinity \\");
        assert_eq!(v["NaN"], "é Infinity");
        assert_eq!(number(&v["b"]), Some(f64::INFINITY));
    }

    #[test]
    fn broken_text_is_refused() {
        assert!(parse(r#"{"a": Infinit}"#).is_err());
        assert!(parse(r#"{"a": InfinityInfinity}"#).is_err());
    }
}
