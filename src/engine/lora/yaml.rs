//! YAML as `mlx_lm.lora` loads it: PyYAML's safe loader, with numbers such as `1e-5` read as numbers.

use serde_json::{Map, Number, Value};
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::{Marker, TScalarStyle};

/// Deepest nesting that is read; configurations have two levels.
const MAX_DEPTH: usize = 32;

/// A value that is being read, outside in.
enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

/// The first document of a text as JSON. Aliases, which can stand for a billion values, are refused.
///
/// # Errors
/// In words, with the line.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    loop {
        let (event, mark) = parser.next_token().map_err(|e| e.to_string())?;
        let value = match event {
            Event::Scalar(text, style, _, tag) => {
                let plain = style == TScalarStyle::Plain && tag.is_none();
                if plain { resolved(&text) } else { Value::String(text) }
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                deep(&open, mark)?;
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                deep(&open, mark)?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Value::Array(list),
                Some(Open::Map(map, _)) => Value::Object(map),
                None => continue,
            },
            Event::Alias(_) => return Err(at(mark, "aliases (*name) are not read")),
            Event::StreamEnd => return Ok(Value::Null),
            Event::Nothing | Event::StreamStart | Event::DocumentStart | Event::DocumentEnd => {
                continue;
            }
        };
        match open.last_mut() {
            None => return Ok(value),
            Some(Open::List(list)) => list.push(value),
            Some(Open::Map(map, key)) => match key.take() {
                Some(name) => {
                    map.insert(name, value);
                }
                None => *key = Some(name_of(&value).ok_or_else(|| at(mark, "a key is no word"))?),
            },
        }
    }
}

fn at(mark: Marker, problem: &str) -> String {
    format!("line {}: {problem}", mark.line())
}

fn deep(open: &[Open], mark: Marker) -> Result<(), String> {
    let within = open.len() <= MAX_DEPTH;
    within.then_some(()).ok_or_else(|| at(mark, "nested too deeply"))
}

fn name_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Null => Some(value.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// A plain word as YAML 1.1 has it.
fn resolved(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return true.into();
        }
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return false.into();
        }
        _ => {}
    }
    let numeric = |b: u8| b.is_ascii_digit() || b"+-._eE".contains(&b);
    let starts = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    if starts && text.bytes().all(numeric) && text.bytes().any(|b| b.is_ascii_digit()) {
        let digits = text.replace('_', "");
        if let Ok(n) = digits.parse::<i64>() {
            return n.into();
        }
        let number = digits.parse::<f64>().ok().and_then(Number::from_f64);
        if let Some(number) = number {
            return Value::Number(number);
        }
    }
    Value::String(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn words_are_what_pyyaml_makes_of_them() {
        let text =
            "a: 1e-5\nb: 2.0\nc: yes\nd: '1'\ne: ~\nf: [x, 2]\ng: {h: off}\ni: 1_000\nj: 1.2.3\n";
        let expected = json!({ "a": 1e-5, "b": 2.0, "c": true, "d": "1", "e": null, "f": ["x", 2], "g": { "h": false },
            "i": 1000, "j": "1.2.3" });
        assert_eq!(parse(text), Ok(expected));
        assert_eq!(parse("# nothing\n"), Ok(json!(null)));
    }

    #[test]
    fn bombs_are_refused() {
        let error = parse("a: &a [x]\nb: [*a, *a]\n").expect_err("an alias");
        assert!(error.contains("line 2: aliases"), "{error}");
        let error = parse(&"[".repeat(100_000)).expect_err("deep");
        assert!(
            error.contains("nested too deeply") || error.contains("recursion limit"),
            "{error}"
        );
        assert!(parse("a: [1").is_err());
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer(text in "[ -~\n]{0,200}") {
            let _ = parse(&text);
        }
    }
}
