//! Whether an answer is what its schema says.

use mlxplan::cli::schemas;
use serde_json::{Map, Value};

/// What is wrong with an answer by the schema that it names.
pub fn problems(answer: &Value) -> Vec<String> {
    let name = answer["schema"].as_str().expect("a schema");
    let all = schemas::all();
    let (_, schema) = all.iter().find(|(known, _)| *known == name).expect("a listed schema");
    Checker { root: schema.as_value() }.problems(answer)
}

/// A validator of what schemars writes, stricter than JSON Schema: a key that is not described is a mistake.
pub struct Checker<'a> {
    /// The schema.
    pub root: &'a Value,
}

impl Checker<'_> {
    /// What is wrong with a value.
    pub fn problems(&self, value: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        self.check(self.root, value, "", &mut problems);
        problems
    }

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
