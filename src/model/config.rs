//! A model's `config.json`, read key by key with errors that name the key.

use super::python_json as json;
use serde_json::{Map, Value};
use thiserror::Error;

/// A problem with a model configuration. The text names the key and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The text is no JSON object.
    #[error("not a model configuration: {0}")]
    NotJson(String),
    /// A key that the model family cannot do without is absent.
    #[error("the configuration of this '{model_type}' model lacks the key '{key}'")]
    Missing {
        /// The configuration's `model_type`.
        model_type: String,
        /// Path of the key, for example `text_config.hidden_size`.
        key: String,
    },
    /// A key holds something of the wrong kind or out of range.
    #[error("configuration key '{key}': expected {expected}, found {found}")]
    Invalid {
        /// Path of the key.
        key: String,
        /// What is accepted.
        expected: String,
        /// What the file holds, shortened.
        found: String,
    },
    /// `model_type` is none that mlxplan knows.
    #[error("{0}")]
    UnknownFamily(String),
    /// The values do not fit together, or mlx-lm refuses them.
    #[error("{0}")]
    Unsupported(String),
}

/// A view of a JSON object with typed access. Nested objects keep their path for error messages.
#[derive(Clone, Debug)]
pub struct Config {
    values: Map<String, Value>,
    path: String,
}

/// No dimension of a real model comes near this; larger values are refused before any arithmetic.
const MAX_DIMENSION: u64 = 1 << 31;

impl Config {
    /// Parses the text of a `config.json`. Python's `Infinity` and `NaN` count as absent.
    ///
    /// # Errors
    /// When the text is not a JSON object.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        match json::parse(text) {
            Ok(Value::Object(values)) => Ok(Self::new(values)),
            Ok(other) => Err(ConfigError::NotJson(format!(
                "expected a JSON object, found {}",
                describe(&other)
            ))),
            Err(e) => Err(ConfigError::NotJson(e.to_string())),
        }
    }

    /// Wraps an object that is already parsed.
    #[must_use]
    pub fn new(values: Map<String, Value>) -> Self {
        Self { values, path: String::new() }
    }

    /// The object itself.
    #[must_use]
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// The `model_type`, or an error that says the key is absent.
    ///
    /// # Errors
    /// When the key is missing or no string.
    pub fn model_type(&self) -> Result<&str, ConfigError> {
        self.opt_str("model_type")?.ok_or_else(|| self.missing("model_type"))
    }

    fn key_path(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    fn missing(&self, key: &str) -> ConfigError {
        let model_type = self.values.get("model_type").and_then(Value::as_str).unwrap_or("?");
        ConfigError::Missing { model_type: model_type.to_owned(), key: self.key_path(key) }
    }

    /// An error about the value of `key`.
    #[must_use]
    pub fn invalid(&self, key: &str, expected: impl Into<String>) -> ConfigError {
        let found = self.values.get(key).map_or_else(|| "nothing".to_owned(), describe);
        ConfigError::Invalid { key: self.key_path(key), expected: expected.into(), found }
    }

    /// Whether the key is present, even as `null`.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Checks that keys are present, even as `null`.
    ///
    /// # Errors
    /// When one is missing.
    pub fn require(&self, keys: &[&str]) -> Result<(), ConfigError> {
        match keys.iter().find(|key| !self.has(key)) {
            None => Ok(()),
            Some(key) => Err(self.missing(key)),
        }
    }

    /// The raw value; `null` counts as absent.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|v| !v.is_null())
    }

    /// A nested object, or `None` when absent.
    ///
    /// # Errors
    /// When the value is no object.
    pub fn opt_object(&self, key: &str) -> Result<Option<Self>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => {
                Ok(Some(Self { values: map.clone(), path: format!("{}{key}.", self.path) }))
            }
            Some(_) => Err(self.invalid(key, "an object")),
        }
    }

    /// A list of objects, or `None` when absent.
    ///
    /// # Errors
    /// When the value is no list of objects.
    pub fn opt_objects(&self, key: &str) -> Result<Option<Vec<Self>>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let wrong = || self.invalid(key, "a list of objects");
        let items = value.as_array().ok_or_else(wrong)?;
        items
            .iter()
            .enumerate()
            .map(|(i, v)| {
                let values = v.as_object().ok_or_else(wrong)?.clone();
                Ok(Self { values, path: format!("{}{key}[{i}].", self.path) })
            })
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A required nested object.
    ///
    /// # Errors
    /// When it is absent or no object.
    pub fn object(&self, key: &str) -> Result<Self, ConfigError> {
        self.opt_object(key)?.ok_or_else(|| self.missing(key))
    }

    /// A dimension (a whole number below 2^31), or `None` when absent.
    ///
    /// # Errors
    /// When the value is no such number.
    pub fn opt_dim(&self, key: &str) -> Result<Option<u64>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let whole = value
            .as_u64()
            .or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0).map(|f| f as u64));
        match whole {
            Some(n) if n < MAX_DIMENSION => Ok(Some(n)),
            _ => Err(self.invalid(key, "a whole number from 0 to 2147483647")),
        }
    }

    /// A required dimension.
    ///
    /// # Errors
    /// When it is absent or out of range.
    pub fn dim(&self, key: &str) -> Result<u64, ConfigError> {
        self.opt_dim(key)?.ok_or_else(|| self.missing(key))
    }

    /// A required dimension that may not be zero.
    ///
    /// # Errors
    /// When it is absent, zero or out of range.
    pub fn positive(&self, key: &str) -> Result<u64, ConfigError> {
        match self.dim(key)? {
            0 => Err(self.invalid(key, "a whole number of at least 1")),
            n => Ok(n),
        }
    }

    /// A dimension with the family's default.
    ///
    /// # Errors
    /// When it is present and out of range.
    pub fn dim_or(&self, key: &str, default: u64) -> Result<u64, ConfigError> {
        Ok(self.opt_dim(key)?.unwrap_or(default))
    }

    /// A dimension with the family's default that may not be zero.
    ///
    /// # Errors
    /// When it is zero or out of range.
    pub fn positive_or(&self, key: &str, default: u64) -> Result<u64, ConfigError> {
        if self.opt_dim(key)?.is_some() { self.positive(key) } else { Ok(default) }
    }

    /// A number, or `None` when absent.
    ///
    /// # Errors
    /// When the value is no number.
    pub fn opt_number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => json::number(v).map(Some).ok_or_else(|| self.invalid(key, "a number")),
        }
    }

    /// A list of numbers, or `None` when absent.
    ///
    /// # Errors
    /// When the value is no list of numbers.
    pub fn opt_numbers(&self, key: &str) -> Result<Option<Vec<f64>>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let wrong = || self.invalid(key, "a list of numbers");
        let items = value.as_array().ok_or_else(wrong)?;
        items.iter().map(|v| json::number(v).ok_or_else(wrong)).collect::<Result<_, _>>().map(Some)
    }

    /// A required number.
    ///
    /// # Errors
    /// When it is absent or no number.
    pub fn number(&self, key: &str) -> Result<f64, ConfigError> {
        self.opt_number(key)?.ok_or_else(|| self.missing(key))
    }

    /// A number with the family's default.
    ///
    /// # Errors
    /// When the value is no number.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64, ConfigError> {
        Ok(self.opt_number(key)?.unwrap_or(default))
    }

    /// A truth value, or `None` when absent.
    ///
    /// # Errors
    /// When the value is neither `true` nor `false`.
    pub fn opt_bool(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => v.as_bool().map(Some).ok_or_else(|| self.invalid(key, "true or false")),
        }
    }

    /// A truth value with the family's default.
    ///
    /// # Errors
    /// When the value is neither `true` nor `false`.
    pub fn bool_or(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        Ok(self.opt_bool(key)?.unwrap_or(default))
    }

    /// A required truth value.
    ///
    /// # Errors
    /// When it is absent or no truth value.
    pub fn bool(&self, key: &str) -> Result<bool, ConfigError> {
        self.opt_bool(key)?.ok_or_else(|| self.missing(key))
    }

    /// A string, or `None` when absent.
    ///
    /// # Errors
    /// When the value is no string.
    pub fn opt_str(&self, key: &str) -> Result<Option<&str>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => v.as_str().map(Some).ok_or_else(|| self.invalid(key, "a string")),
        }
    }

    /// A list of dimensions, or `None` when absent.
    ///
    /// # Errors
    /// When the value is no list of whole numbers.
    pub fn opt_dims(&self, key: &str) -> Result<Option<Vec<u64>>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let wrong = || self.invalid(key, "a list of whole numbers");
        let items = value.as_array().ok_or_else(wrong)?;
        items
            .iter()
            .map(|v| v.as_u64().filter(|n| *n < MAX_DIMENSION).ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A list of strings, or `None` when absent.
    ///
    /// # Errors
    /// When the value is no list of strings.
    pub fn opt_strings(&self, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let wrong = || self.invalid(key, "a list of strings");
        let items = value.as_array().ok_or_else(wrong)?;
        items
            .iter()
            .map(|v| v.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A copy in which `key` has the given value.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.values.insert(key.to_owned(), value.into());
        self
    }

    /// A configuration without keys, at the same place.
    #[must_use]
    pub fn emptied(mut self) -> Self {
        self.values.clear();
        self
    }

    /// A copy in which the keys that are absent have the given values. A key that is there as `null` stays `null`.
    #[must_use]
    pub fn with_defaults(mut self, defaults: &[(&str, Value)]) -> Self {
        for (key, value) in defaults {
            if !self.has(key) {
                self.values.insert((*key).to_owned(), value.clone());
            }
        }
        self
    }

    /// As [`Config::with_defaults`], for a constant table of sizes.
    #[must_use]
    pub fn with_sizes(mut self, sizes: &[(&str, u64)]) -> Self {
        for &(key, size) in sizes {
            if !self.has(key) {
                self = self.with(key, size);
            }
        }
        self
    }
}

fn describe(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 60 {
        format!("{}…", text.chars().take(57).collect::<String>())
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text).expect("valid JSON")
    }

    #[test]
    fn errors_name_the_key_and_its_path() {
        let c = config(r#"{"model_type":"llama","text_config":{"hidden_size":"wide","n":-1}}"#);
        assert_eq!(
            c.dim("vocab_size").unwrap_err().to_string(),
            "the configuration of this 'llama' model lacks the key 'vocab_size'"
        );
        let text = c.opt_object("text_config").unwrap().unwrap();
        assert_eq!(
            text.dim("hidden_size").unwrap_err().to_string(),
            "configuration key 'text_config.hidden_size': expected a whole number from 0 to 2147483647, \
             found \"wide\""
        );
        assert!(text.dim("n").is_err());
    }

    #[test]
    fn null_is_absent_but_known_to_be_there() {
        let c = config(r#"{"q_lora_rank":null}"#);
        assert_eq!(c.opt_dim("q_lora_rank"), Ok(None));
        assert!(c.has("q_lora_rank"));
        assert!(!c.has("kv_lora_rank"));
    }

    #[test]
    fn configurations_that_python_wrote_parse() {
        let c = config(r#"{"model_type":"mamba2","limit":Infinity,"limits":[0.0,Infinity],"n":1}"#);
        assert_eq!(c.opt_number("limit"), Ok(Some(f64::INFINITY)));
        assert_eq!(c.dim("n"), Ok(1));
    }

    #[test]
    fn huge_and_fractional_dimensions_are_refused() {
        let c = config(r#"{"a":4294967296,"b":1.5,"c":4096.0,"d":1e300}"#);
        assert!(c.dim("a").is_err());
        assert!(c.dim("b").is_err());
        assert!(c.dim("d").is_err());
        assert_eq!(c.dim("c"), Ok(4096));
    }
}
