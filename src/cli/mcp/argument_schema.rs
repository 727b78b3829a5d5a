//! JSON schemas of a tool's arguments.

use rmcp::model::JsonObject;
use serde::Serialize;
use serde_json::Value;

/// The JSON schema of one argument.
#[derive(Serialize)]
pub(super) struct ArgumentSchema {
    #[serde(rename = "type")]
    kind: &'static str,
    /// The values that it may have, where they are counted.
    #[serde(rename = "enum", skip_serializing_if = "Vec::is_empty")]
    choices: Vec<String>,
    /// What a list holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Box<Self>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<Value>,
}

impl ArgumentSchema {
    /// A value of a JSON type, one of `choices` if there are any.
    pub(super) const fn one(kind: &'static str, choices: Vec<String>) -> Self {
        Self { kind, choices, items: None, description: None, default: None }
    }

    /// A list of such values.
    pub(super) fn list(self) -> Self {
        Self { items: Some(Box::new(self)), ..Self::one("array", Vec::new()) }
    }

    /// With what it means, and its value where none is given.
    pub(super) fn described(self, description: String, default: Option<Value>) -> Self {
        Self { description: Some(description), default, ..self }
    }

    /// Adds it to the schemas of other arguments, by its name.
    pub(super) fn insert_into(&self, all: &mut JsonObject, name: &str) {
        // A struct of texts and values always becomes a value.
        all.insert(name.to_owned(), serde_json::to_value(self).unwrap_or_default());
    }
}
