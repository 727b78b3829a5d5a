//! The JSON schemas in `docs/schema` are those of the types, and what commands print is what they say.

use crate::json;
use mlxplan::cli::schemas;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema")
}

#[test]
fn the_files_are_what_the_types_say() {
    let all = schemas::all();
    for (name, schema) in &all {
        let path = folder().join(schemas::file_name(name));
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(stored, schemas::text(schema), "{}: run cargo xtask docs", path.display());
    }
    let files = std::fs::read_dir(folder()).expect("docs/schema").count();
    assert_eq!(files, all.len(), "docs/schema has files of schemas that are gone");
}

#[test]
fn names_are_used_once() {
    let names: Vec<&str> = schemas::all().iter().map(|(name, _)| *name).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
}

/// A command for every schema that can be had without MLX, and a second one where an answer has optional parts.
const COMMANDS: [&str; 26] = [
    "probe --from tests/fixtures/probe/m4pro-20-64gb.txt",
    "probe --from tests/fixtures/probe/vm-github-m1.txt",
    "models qwen3",
    "models --local",
    "models --families",
    "macs",
    "macs --chips",
    "inspect qwen3-30b-a3b-4bit",
    "inspect qwen3-0.6b-4bit --tensors --ops",
    "compare --model qwen3-14b-4bit --mac m3pro-18/36 m4max-40/128 --from m4-10/32",
    "compare --buy --model qwen3-32b-4bit --min-tok-s 20 --usd-per-kwh 0.3 --from m4-10/32",
    "check examples/chat-server.toml",
    "check examples/agents.toml",
    "check examples/too-much.toml",
    "audit examples/claims-r3.toml",
    "audit tests/fixtures/cli/measurements.csv",
    "calibrate --list",
    "doctor",
    "predict --model qwen3-32b-4bit --mac m4max-40/64 --context 32768 --depths 0,4096 --explain",
    "predict --model llama-3.3-70b-4bit --mac m4max-40/64 --context 130000",
    "predict --model qwen3-8b-4bit --mac m4-10/32 --engine llama.cpp",
    "recommend --model 32B-4bit --mac m4max-40/128",
    "recommend --mac m4-10/32",
    "recommend --model 32B-4bit",
    "validate",
    "",
];

#[test]
fn answers_are_what_their_schemas_say() {
    let all = schemas::all();
    for command in COMMANDS {
        let (_, answer) = json(command);
        let name = answer["schema"].as_str().expect("a schema");
        let found = all.iter().find(|(known, _)| *known == name);
        let (_, schema) = found.unwrap_or_else(|| panic!("{command}: {name} is not listed"));
        let mut problems = Vec::new();
        Checker { root: schema.as_value() }.check(schema.as_value(), &answer, "", &mut problems);
        assert!(problems.is_empty(), "{command}:\n{}", problems.join("\n"));
    }
}

/// A validator of what schemars writes, stricter than JSON Schema: a key that is not described is a mistake.
struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.root.pointer(reference.trim_start_matches('#'));
            return match target {
                Some(target) => self.check(target, value, path, problems),
                None => problems.push(format!("{path}: {reference} is not there")),
            };
        }
        if let (Some(choices), Value::Object(own)) = (schema["oneOf"].as_array(), schema) {
            let whole = choices.iter().map(|choice| self.beside(own, choice));
            if own.contains_key("properties") {
                return self.check_one_of(whole.collect(), value, path, problems);
            }
        }
        for kind in ["anyOf", "oneOf"] {
            if let Some(choices) = schema[kind].as_array() {
                let fits = |choice: &&Value| {
                    let mut found = Vec::new();
                    self.check(choice, value, path, &mut found);
                    found.is_empty()
                };
                if !choices.iter().any(|c| fits(&c)) {
                    problems.push(format!("{path}: {value} is none of {kind}"));
                }
            }
        }
        if !schema["const"].is_null() && schema["const"] != *value {
            problems.push(format!("{path}: {value} is not {}", schema["const"]));
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            problems.push(format!("{path}: {value} is not one of {words:?}"));
        }
        if !is_of_type(&schema["type"], value) {
            problems.push(format!("{path}: {value} is no {}", schema["type"]));
        }
        self.check_items(schema, value, path, problems);
        self.check_keys(schema, value, path, problems);
    }

    /// A choice whose keys stand beside those of an object: a flattened enum.
    fn beside(&self, own: &Map<String, Value>, choice: &Value) -> Value {
        let reference = choice["$ref"].as_str().map(|r| r.trim_start_matches('#'));
        let target = reference.and_then(|r| self.root.pointer(r));
        let mut whole = own.clone();
        whole.remove("oneOf");
        let keys = |of: &Value| of["properties"].as_object().cloned().unwrap_or_default();
        if let Some(all) = whole["properties"].as_object_mut() {
            all.extend(target.map(keys).unwrap_or_default());
            all.extend(keys(choice));
        }
        Value::Object(whole)
    }

    fn check_one_of(
        &self,
        choices: Vec<Value>,
        value: &Value,
        path: &str,
        problems: &mut Vec<String>,
    ) {
        let fits = |choice: &Value| {
            let mut found = Vec::new();
            self.check(choice, value, path, &mut found);
            found.is_empty()
        };
        if !choices.iter().any(fits) {
            problems.push(format!("{path}: {value} is none of the choices"));
        }
    }

    fn check_items(&self, schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
        for (i, item) in value.as_array().into_iter().flatten().enumerate() {
            let of = schema["prefixItems"].get(i).unwrap_or(&schema["items"]);
            self.check(of, item, &format!("{path}/{i}"), problems);
        }
    }

    fn check_keys(&self, schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
        let Some(object) = value.as_object() else { return };
        let required = schema["required"].as_array().into_iter().flatten();
        for key in required.filter_map(Value::as_str) {
            if !object.contains_key(key) {
                problems.push(format!("{path}: {key} is missing"));
            }
        }
        let known = schema["properties"].as_object();
        for (key, inner) in object {
            let place = format!("{path}/{key}");
            match known.and_then(|k| k.get(key)) {
                Some(schema) => self.check(schema, inner, &place, problems),
                None if schema["additionalProperties"].is_object() => {
                    self.check(&schema["additionalProperties"], inner, &place, problems);
                }
                None if known.is_some() && !is_open(schema) => {
                    problems.push(format!("{place} is not described"));
                }
                None => {}
            }
        }
    }
}

/// Whether other keys than the described ones may stand there: the object is the answer of another command.
fn is_open(schema: &Value) -> bool {
    let keys = schema["properties"].as_object().map_or(0, serde_json::Map::len);
    keys == 1 && schema["properties"]["schema"]["const"].is_null()
}

fn is_of_type(kind: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    match kind {
        Value::Null => true,
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => false,
    }
}

#[test]
fn the_validator_finds_what_is_wrong() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"],
        "properties": { "a": { "type": ["integer", "null"] }, "b": { "$ref": "#/$defs/Word" } },
        "$defs": { "Word": { "enum": ["x", "y"] } },
    });
    let problems = |value: Value| {
        let mut problems = Vec::new();
        Checker { root: &schema }.check(&schema, &value, "", &mut problems);
        problems.len()
    };
    assert_eq!(problems(serde_json::json!({ "a": 1, "b": "x" })), 0);
    assert_eq!(problems(serde_json::json!({ "a": null })), 0);
    assert_eq!(problems(serde_json::json!({ "b": "z" })), 2);
    assert_eq!(problems(serde_json::json!({ "a": 1.5, "c": 1 })), 2);
}
