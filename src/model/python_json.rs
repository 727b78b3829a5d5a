//! JSON as Python writes it: `config.json` files of the Hub may hold `Infinity`, which JSON does not know.

use serde::de::Error;
use serde_json::Value;
use std::borrow::Cow;

/// Most values of a text. A parsed value takes some hundred bytes, whatever little of the text it is; the longest
/// configurations on the hub, with a format for each of their experts, have some 300 000.
const MOST_VALUES: usize = 500_000;

/// Parses a JSON text in which `Infinity`, `-Infinity` and `NaN` may stand for numbers; they become strings of the
/// same spelling, which [`number`] reads.
///
/// # Errors
/// When the text is not JSON otherwise, or holds more than [`MOST_VALUES`] values.
pub fn parse(text: &str) -> Result<Value, serde_json::Error> {
    if values(text) > MOST_VALUES {
        return Err(serde_json::Error::custom(format!(
            "it holds more than {MOST_VALUES} values, as no model's does"
        )));
    }
    serde_json::from_str(&quoted(text))
}

/// How many values a JSON text holds at most: one for every comma and bracket outside strings.
fn values(text: &str) -> usize {
    let (mut in_string, mut escaped, mut count) = (false, false, 1);
    for byte in text.bytes() {
        in_string ^= byte == b'"' && !escaped;
        escaped = in_string && byte == b'\\' && !escaped;
        count += usize::from(!in_string && matches!(byte, b',' | b'[' | b'{'));
    }
    count
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

    /// Empty lists take most memory for their length.
    #[test]
    fn texts_of_too_many_values_are_refused_before_they_take_memory() {
        let text = |n: usize| format!("[{}[]]", "[],".repeat(n - 1));
        assert!(parse(&text(200_000)).is_ok());
        let error = parse(&text(300_000)).unwrap_err().to_string();
        assert!(error.contains("500000 values"), "{error}");
        assert_eq!(values(r#"{"a,[{\",": [1, 2]}"#), 4);
    }

    #[test]
    fn broken_text_is_refused() {
        assert!(parse(r#"{"a": Infinit}"#).is_err());
        assert!(parse(r#"{"a": InfinityInfinity}"#).is_err());
    }
}
