//! The arguments of a tool: the flags of its command as a JSON object, `--kv-bits 8` as `"kv_bits": 8`.

use super::argument_schema::ArgumentSchema;
use crate::clean::clean;
use clap::{Arg, ArgAction, ArgMatches, Command};
use regex_lite::{Captures, Regex};
use rmcp::model::JsonObject;
use serde_json::{Number, Value};
use std::any::TypeId;
use std::ffi::OsString;
use std::sync::LazyLock;

/// Characters of a wrong value that an error repeats.
const REPEATED: usize = 60;

/// A command whose arguments come from a JSON object.
pub(super) struct Arguments {
    command: Command,
    /// Words that are always there: `--buy`.
    fixed: &'static [&'static str],
    taken: Vec<Arg>,
    any_of: &'static [&'static str],
}

/// What a value may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ValueKind {
    Switch,
    Whole,
    Number,
    Text,
}

impl Arguments {
    /// The arguments that `augment` gives a command, without those that are `hidden`; one of `any_of` is needed although
    /// the command does without, unless it is empty. All are named as in the object.
    pub(super) fn new(
        name: &'static str,
        augment: fn(Command) -> Command,
        (fixed, hidden, any_of): (&'static [&'static str], &[&str], &'static [&'static str]),
    ) -> Self {
        let bare = Command::new(name).no_binary_name(true);
        let mut command = augment(bare.disable_help_flag(true).disable_version_flag(true));
        command.build();
        let offered = |a: &&Arg| !hidden.contains(&&*key(a)) && !a.is_hide_set();
        let taken = command.get_arguments().filter(offered).cloned().collect();
        Self { command, fixed, taken, any_of }
    }

    /// The JSON schema of the object.
    pub(super) fn schema(&self) -> JsonObject {
        let mut properties = JsonObject::new();
        for arg in &self.taken {
            schema_of(arg).insert_into(&mut properties, &key(arg));
        }
        let needed = |a: &&Arg| a.is_required_set() || self.any_of == [&*key(a)];
        let required: Vec<String> = self.taken.iter().filter(needed).map(key).collect();
        let mut schema = JsonObject::new();
        schema.insert("type".to_owned(), "object".into());
        schema.insert("properties".to_owned(), Value::Object(properties));
        schema.insert("required".to_owned(), required.into());
        schema.insert("additionalProperties".to_owned(), false.into());
        schema
    }

    /// The command's arguments as the object has them.
    ///
    /// # Errors
    /// A key that is not known, a value of another type, or what the command says of its arguments.
    pub(super) fn matches(&self, given: &JsonObject) -> Result<ArgMatches, String> {
        let given: Vec<(&String, &Value)> = given.iter().filter(|(_, v)| !v.is_null()).collect();
        let has = |name: &str| given.iter().any(|(key, _)| *key == name);
        if !self.any_of.is_empty() && !self.any_of.iter().any(|name| has(name)) {
            let (name, needed) = (self.command.get_name(), self.any_of.join(" or "));
            return Err(format!("{name} needs {needed}"));
        }
        let mut words: Vec<OsString> = self.fixed.iter().map(Into::into).collect();
        let mut positional = vec![OsString::from("--")];
        for (name, value) in given {
            let arg = self.taken.iter().find(|a| key(a) == *name);
            let arg = arg.ok_or_else(|| self.unknown(name))?;
            match arg.get_long() {
                None => positional.extend(texts(arg, value)?.into_iter().map(OsString::from)),
                Some(flag) if kind(arg) == ValueKind::Switch => {
                    if switch(name, value)? {
                        words.push(format!("--{flag}").into());
                    }
                }
                // In one word, so that a value is never taken for a flag.
                Some(flag) => {
                    words.extend(texts(arg, value)?.iter().map(|v| format!("--{flag}={v}").into()))
                }
            }
        }
        if positional.len() > 1 {
            words.extend(positional);
        }
        self.command.clone().try_get_matches_from(words).map_err(|e| said(&e))
    }

    fn unknown(&self, name: &str) -> String {
        let keys: Vec<String> = self.taken.iter().map(key).collect();
        let near = keys
            .iter()
            .map(|k| (strsim::jaro_winkler(k, name), k))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let near = near.map_or(String::new(), |(_, k)| format!("; did you mean '{k}'?"));
        format!("unknown argument '{}'{near} Known: {}", short(name), keys.join(", "))
    }
}

/// The key of an argument: its flag without dashes, `kv_bits`.
fn key(arg: &Arg) -> String {
    arg.get_long().unwrap_or(arg.get_id().as_str()).replace('-', "_")
}

fn kind(arg: &Arg) -> ValueKind {
    let parsed = arg.get_value_parser().type_id();
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        ValueKind::Switch
    } else if parsed == TypeId::of::<u32>() || parsed == TypeId::of::<u64>() {
        ValueKind::Whole
    } else if parsed == TypeId::of::<f64>() {
        ValueKind::Number
    } else {
        ValueKind::Text
    }
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// The schema of one argument.
fn schema_of(arg: &Arg) -> ArgumentSchema {
    let kind = kind(arg);
    let name = match kind {
        ValueKind::Switch => "boolean",
        ValueKind::Whole => "integer",
        ValueKind::Number => "number",
        ValueKind::Text => "string",
    };
    let choices = arg.get_possible_values();
    let choices = choices.iter().filter(|_| kind != ValueKind::Switch);
    let one = ArgumentSchema::one(name, choices.map(|v| v.get_name().to_owned()).collect());
    let whole = if is_list(arg) { one.list() } else { one };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let defaults = arg.get_default_values().iter().filter_map(|v| v.to_str());
    let mut defaults = defaults.map(|text| match kind {
        ValueKind::Text => text.into(),
        _ => text.parse().unwrap_or_else(|_| Value::from(text)),
    });
    let default = if is_list(arg) {
        Some(defaults.collect::<Vec<Value>>()).filter(|all| !all.is_empty()).map(Value::from)
    } else {
        defaults.next()
    };
    whole.described(help.replace('\n', " "), default)
}

fn switch(name: &str, value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("{name}: expected true or false, not {}", shown(value)))
}

/// The words that a value is; one that stands alone is a list of one.
fn texts(arg: &Arg, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(all) if is_list(arg) => all.iter().map(|v| text(arg, v)).collect(),
        one => Ok(vec![text(arg, one)?]),
    }
}

fn text(arg: &Arg, value: &Value) -> Result<String, String> {
    let wrong = |what: &str| format!("{}: expected {what}, not {}", key(arg), shown(value));
    match (kind(arg), value) {
        (ValueKind::Whole, Value::Number(n)) => whole(n).ok_or_else(|| wrong("a whole number")),
        (ValueKind::Whole, _) => Err(wrong("a whole number")),
        (ValueKind::Number, Value::Number(n)) => Ok(n.to_string()),
        (ValueKind::Number, _) => Err(wrong("a number")),
        (_, Value::String(s)) => Ok(s.clone()),
        // `"images": 2` says as much as `"images": "2"`.
        (_, Value::Number(n)) => Ok(n.to_string()),
        (_, _) => Err(wrong("a text")),
    }
}

/// A whole number, `4096.0` too.
fn whole(n: &Number) -> Option<String> {
    if n.is_i64() || n.is_u64() {
        return Some(n.to_string());
    }
    let x = n.as_f64()?;
    (x.fract() == 0.0 && x.abs() < 1e15).then(|| format!("{x:.0}"))
}

/// A wrong value, in a few words.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(s) => format!("the text '{}'", short(s)),
        other => other.to_string(),
    }
}

fn short(text: &str) -> String {
    let mut start: String = text.chars().take(REPEATED).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    clean(&start).into_owned()
}

/// What the parser says, in the words of the object: `kv_bits` for `--kv-bits <BITS>`.
fn said(error: &clap::Error) -> String {
    static FLAG: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"--([a-z][a-z0-9-]*)(?:[ =]<[^>]*>)?(?:\.\.\.)?").ok());
    let text = error.render().to_string();
    let text = text.trim_start_matches("error: ");
    let end = ["\n\nUsage:", "\n\nFor more information"].iter().filter_map(|t| text.find(t)).min();
    let text = text.get(..end.unwrap_or(text.len())).unwrap_or(text).trim_end();
    let named =
        |found: &Captures<'_>| found.get(1).map_or(String::new(), |m| m.as_str().replace('-', "_"));
    FLAG.as_ref().map_or_else(|| text.to_owned(), |flag| flag.replace_all(text, named).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::inspect::args::InspectArgs;
    use crate::cli::predict::args::PredictArgs;
    use clap::{Args, FromArgMatches};
    use serde_json::json;

    fn predict() -> Arguments {
        Arguments::new("predict", PredictArgs::augment_args, (&[], &["time_layers", "force"], &[]))
    }

    fn object(value: Value) -> JsonObject {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn an_object_says_what_flags_say() {
        let given = object(json!({
            "model": "qwen3-8b-4bit", "mac": "m4max-40/64", "context": 8192.0, "kv_bits": 8, "depths": [0, 4096],
            "explain": true, "gpu_limit": null, "reserve": 2.5
        }));
        let matches = predict().matches(&given).expect("right");
        let args = PredictArgs::from_arg_matches(&matches).expect("right");
        assert_eq!(
            (args.model.as_str(), args.run.context, args.run.kv_bits),
            ("qwen3-8b-4bit", 8192, Some(8))
        );
        assert_eq!(
            (args.depths, args.explain, args.run.limits.reserve),
            (vec![0, 4096], true, Some(2.5))
        );
    }

    #[test]
    fn a_value_is_never_taken_for_a_flag() {
        let given = object(json!({ "model": "--help" }));
        let matches = predict().matches(&given).expect("a name");
        assert_eq!(PredictArgs::from_arg_matches(&matches).expect("right").model, "--help");
        let inspect = Arguments::new("inspect", InspectArgs::augment_args, (&[], &[], &[]));
        let matches = inspect.matches(&object(json!({ "model": "--tensors" }))).expect("a name");
        let args = InspectArgs::from_arg_matches(&matches).expect("right");
        assert_eq!((args.model.as_str(), args.tensors), ("--tensors", false));
    }

    #[test]
    fn errors_name_the_key_and_what_it_takes() {
        let error = |value: Value| predict().matches(&object(value)).expect_err("wrong");
        let model = "qwen3-8b-4bit";
        for (value, parts) in [
            (json!({}), ["model", "required"]),
            (json!({ "model": [model] }), ["model", "not a list"]),
            (
                json!({ "model": model, "context": "many" }),
                ["context", "whole number, not the text 'many'"],
            ),
            (
                json!({ "model": model, "context": 0 }),
                ["context", "a whole number from 1 to 16777216"],
            ),
            (json!({ "model": model, "context": -1.5 }), ["context", "not -1.5"]),
            (json!({ "model": model, "contxt": 1 }), ["'contxt'", "did you mean 'context'"]),
            (json!({ "model": model, "time_layers": true }), ["'time_layers'", "Known: "]),
            (json!({ "model": model, "explain": "yes" }), ["explain", "true or false"]),
            (
                json!({ "model": model, "kv_bits": 8, "kv_type": "q8_0" }),
                ["kv_bits", "cannot be used with 'kv_type'"],
            ),
            (json!({ "model": model, "nax": "perhaps" }), ["nax", "auto, on, off"]),
        ] {
            let error = error(value);
            assert!(parts.iter().all(|p| error.contains(p)) && !error.contains("--"), "{error}");
        }
    }

    #[test]
    fn the_schema_has_types_choices_and_defaults() {
        let schema = Value::Object(predict().schema());
        let of = |key: &str| &schema["properties"][key];
        assert_eq!(
            (&of("context")["type"], &of("context")["default"]),
            (&json!("integer"), &json!(4096))
        );
        assert_eq!(
            (&of("reserve")["type"], &of("explain")["type"]),
            (&json!("number"), &json!("boolean"))
        );
        assert_eq!(
            (&of("nax")["enum"], &of("depths")["items"]["type"]),
            (&json!(["auto", "on", "off"]), &json!("integer"))
        );
        assert_eq!(schema["required"], json!(["model"]));
        assert!(of("force").is_null() && of("time_layers").is_null());
    }
}
