//! Metadata values of a GGUF file.

use std::collections::BTreeMap;

/// A metadata value. Integers and floating-point numbers of all widths share a variant.
#[derive(Clone, Debug, PartialEq)]
pub enum GgufValue {
    /// An unsigned integer.
    Unsigned(u64),
    /// A signed integer.
    Signed(i64),
    /// A floating-point number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// An array. Long ones (vocabularies) keep their length only.
    Array {
        /// Number of items.
        length: u64,
        /// The items, or nothing when there were more than [`super::KEPT_ITEMS`].
        items: Vec<GgufValue>,
    },
}

impl GgufValue {
    /// The value as a whole number of at least zero.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(n) => Some(*n),
            Self::Signed(n) => u64::try_from(*n).ok(),
            Self::Bool(_) | Self::Float(_) | Self::Text(_) | Self::Array { .. } => None,
        }
    }
}

/// All metadata of a file, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(pub(super) BTreeMap<String, GgufValue>);

impl Metadata {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&GgufValue> {
        self.0.get(key)
    }

    /// All keys and values, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &GgufValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(GgufValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A whole number of at least zero. An array with the same number for every layer counts as that number.
    #[must_use]
    pub fn whole(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            GgufValue::Array { items, .. } => {
                let first = items.first()?.as_u64()?;
                items.iter().all(|item| item.as_u64() == Some(first)).then_some(first)
            }
            other => other.as_u64(),
        }
    }

    /// A number.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<f64> {
        match self.get(key)? {
            GgufValue::Float(x) => Some(*x),
            GgufValue::Unsigned(n) => Some(*n as f64),
            GgufValue::Signed(n) => Some(*n as f64),
            GgufValue::Bool(_) | GgufValue::Text(_) | GgufValue::Array { .. } => None,
        }
    }

    /// The length of an array.
    #[must_use]
    pub fn array_length(&self, key: &str) -> Option<u64> {
        match self.get(key) {
            Some(GgufValue::Array { length, .. }) => Some(*length),
            _ => None,
        }
    }
}
