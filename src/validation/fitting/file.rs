//! The text of `coefficients.json`.

use crate::roofline::coefficients::CoefficientsFile;
use serde_json::{Value, json};

/// SHA-256 of a text, in hexadecimal digits.
#[must_use]
pub fn hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `coefficients.json` says of itself.
pub(super) const ABOUT: [&str; 3] = [
    "Written by `cargo xtask fit` from data/measurements.csv; do not edit.",
    "Parameters: src/roofline/decode/parameters.rs and src/roofline/prefill/parameters.rs say what each means.",
    "`sd` and `covariance` are of logarithms; a parameter with sd 0 is not fitted.",
];

/// The text of `coefficients.json`: what holds nothing nested stands on one line.
///
/// # Errors
/// When JSON cannot express a value, which does not happen with finite numbers.
pub fn coefficients_text(file: &CoefficientsFile) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    outline(&serde_json::to_value(file)?, 0, &mut text);
    text.push('\n');
    Ok(text)
}

/// Writes a value over several lines, down to the parts without containers of containers.
fn outline(value: &Value, depth: usize, text: &mut String) {
    let nested = |v: &Value| v.is_array() || v.is_object();
    let (brackets, parts): (_, Vec<(Option<&String>, &Value)>) = match value {
        Value::Array(a) if a.iter().any(nested) => {
            (['[', ']'], a.iter().map(|v| (None, v)).collect())
        }
        Value::Object(o) if o.values().any(nested) => {
            (['{', '}'], o.iter().map(|(k, v)| (Some(k), v)).collect())
        }
        flat => return text.push_str(&flat.to_string()),
    };
    text.push(brackets[0]);
    for (i, (key, part)) in parts.into_iter().enumerate() {
        text.push_str(if i == 0 { "\n" } else { ",\n" });
        text.push_str(&"  ".repeat(depth + 1));
        if let Some(key) = key {
            text.push_str(&format!("{}: ", json!(key)));
        }
        outline(part, depth + 1, text);
    }
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
    text.push(brackets[1]);
}
