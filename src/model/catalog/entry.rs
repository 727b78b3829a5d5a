//! One full entry of the catalog.

use super::{CatalogLine, ModelsError};
use crate::model::config::Config;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// How far an entry's configuration is to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryConfidence {
    /// At least one value has no public source.
    Low,
    /// Assembled from library defaults, or with an inferred value.
    Medium,
    /// A copy of the published configuration.
    High,
}

impl fmt::Display for EntryConfidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        })
    }
}

/// A model of the catalog with its configuration.
#[derive(Clone, Debug)]
pub struct ModelEntry {
    /// Hugging Face repository of the original checkpoint.
    pub id: String,
    /// Name to show.
    pub name: String,
    /// `model_type` of the configuration.
    pub model_type: String,
    /// Further names that the command line accepts.
    pub aliases: Vec<String>,
    /// Whether mlx-lm implements the `model_type`.
    pub mlx_lm_supported: bool,
    /// License tag of the repository.
    pub licence: Option<String>,
    /// Date of the repository, `YYYY-MM-DD`.
    pub release_date: Option<String>,
    /// Parameters of the published safetensors, which may include parts that mlx-lm drops.
    pub published_params: Option<u64>,
    /// Parameters active per token, as the model's name states them.
    pub active_params: Option<u64>,
    /// Downloads from Hugging Face, a measure of popularity.
    pub downloads: Option<u64>,
    /// Whether lists offer it.
    pub listed: bool,
    /// The keys of `config.json` that determine sizes.
    pub config: Config,
    /// Public origin of the configuration.
    pub sources: Vec<String>,
    /// How far to trust it. A user's entry that does not say is trusted fully.
    pub confidence: EntryConfidence,
}

/// Keys that name the number of experts in `config.json`, over all families of mlx-lm.
const EXPERT_KEYS: [&str; 4] =
    ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"];

impl ModelEntry {
    /// Whether quantized conversions of this model on the hub usually compute in IEEE half precision.
    ///
    /// Until early 2025 `mlx_lm.convert` cast to float16 unless told otherwise (github.com/ml-explore/mlx-examples/pull/186);
    /// since then it keeps the type of the checkpoint. Published speeds on M1 Ultra show the change between the releases
    /// of DeepSeek-R1-Distill (2025-01-20) and Gemma 3 (2025-03-10).
    #[must_use]
    pub fn hub_conversions_are_fp16(&self) -> bool {
        self.release_date.as_deref().is_some_and(|date| date < "2025-02-15")
    }

    /// Whether the model has experts of which each token uses some.
    #[must_use]
    pub fn is_mixture_of_experts(&self) -> bool {
        let has = |c: &Config| {
            EXPERT_KEYS.iter().any(|key| c.opt_dim(key).is_ok_and(|n| n.unwrap_or(0) > 1))
        };
        let text = self.config.opt_object("text_config").ok().flatten();
        has(&self.config) || text.is_some_and(|c| has(&c)) || self.active_params.is_some()
    }

    /// Parses an entry. `place` is where its text begins.
    pub(super) fn parse(text: &str, place: &CatalogLine) -> Result<Self, ModelsError> {
        let keys = Keys::parse(text, place)?;
        let id: String = keys.need("id")?;
        if id.trim().is_empty() || id.len() > 200 || id.chars().any(char::is_control) {
            return Err(keys.wrong("id", "must be a name of 1 to 200 characters"));
        }
        let config: serde_json::Value = keys.need("config")?;
        let config = match config {
            serde_json::Value::Object(values) => Config::new(values),
            _ => return Err(keys.wrong("config", "must be an object, the model's config.json")),
        };
        let stated = config.opt_str("model_type");
        let stated = stated.map_err(|e| keys.wrong("config", e.to_string()))?.map(str::to_owned);
        let model_type = match (keys.get("model_type")?, stated) {
            (Some(own), _) => own,
            (None, Some(stated)) => stated,
            (None, None) => return Err(keys.wrong("config", "lacks the key 'model_type'")),
        };
        let short = id.rsplit_once('/').map_or(id.as_str(), |(_, name)| name);
        Ok(Self {
            name: keys.get("name")?.unwrap_or_else(|| short.to_owned()),
            model_type,
            aliases: keys.get("aliases")?.unwrap_or_default(),
            mlx_lm_supported: keys.get("mlx_lm_supported")?.unwrap_or(true),
            licence: keys.get("licence")?,
            release_date: keys.get("release_date")?,
            published_params: keys.get("published_params")?,
            active_params: keys.get("active_params")?,
            downloads: keys.get("downloads")?,
            listed: keys.get("listed")?.unwrap_or(true),
            sources: match keys.get("sources")? {
                Some(sources) => sources,
                None => vec![place.to_string()],
            },
            confidence: keys.get("confidence")?.unwrap_or(EntryConfidence::High),
            config,
            id,
        })
    }
}

/// Keys that an entry may have.
const KEYS: [&str; 14] = [
    "id",
    "name",
    "model_type",
    "aliases",
    "mlx_lm_supported",
    "licence",
    "release_date",
    "published_params",
    "active_params",
    "downloads",
    "listed",
    "config",
    "sources",
    "confidence",
];

/// An entry's keys with their unparsed values, so that an error can name key and line.
struct Keys<'a> {
    text: &'a str,
    place: &'a CatalogLine,
    values: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Keys<'a> {
    fn parse(text: &'a str, place: &'a CatalogLine) -> Result<Self, ModelsError> {
        let Object(values) = serde_json::from_str(text).map_err(|e| ModelsError::Json {
            place: CatalogLine { file: place.file.clone(), line: place.line + e.line().max(1) - 1 },
            problem: format!("no catalog entry: {e}"),
        })?;
        let keys = Self { text, place, values };
        let mut seen: Vec<&str> = Vec::new();
        for (key, _) in &keys.values {
            if seen.contains(&key.as_ref()) {
                return Err(keys.wrong(key, "occurs twice"));
            }
            if !KEYS.contains(&key.as_ref()) {
                return Err(keys.wrong(key, format!("is unknown; known: {}", KEYS.join(" "))));
            }
            seen.push(key);
        }
        Ok(keys)
    }

    fn raw(&self, key: &str) -> Option<&'a RawValue> {
        self.values.iter().find(|(k, _)| k == key).map(|(_, value)| *value)
    }

    /// A value; `null` and an absent key are `None`.
    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ModelsError> {
        match self.raw(key) {
            None => Ok(None),
            Some(raw) => serde_json::from_str(raw.get()).map_err(|e| {
                let text = e.to_string();
                // The position inside the value would mislead; the line of the key is given instead.
                let problem =
                    text.rsplit_once(" at line ").map_or(text.as_str(), |(front, _)| front);
                self.wrong(key, format!("is wrong: {problem}"))
            }),
        }
    }

    fn need<T: DeserializeOwned>(&self, key: &str) -> Result<T, ModelsError> {
        self.get(key)?.ok_or_else(|| self.wrong(key, "is missing"))
    }

    fn wrong(&self, key: &str, problem: impl Into<String>) -> ModelsError {
        let line = self.raw(key).map_or(0, |raw| line_offset(self.text, raw.get()));
        let place = CatalogLine { file: self.place.file.clone(), line: self.place.line + line };
        let key: String = key.chars().take(60).collect();
        ModelsError::Key { place, key, problem: problem.into() }
    }
}

/// Line breaks in `text` before `part`, which is a slice of it.
pub(super) fn line_offset(text: &str, part: &str) -> usize {
    let distance = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    text.as_bytes().iter().take(distance).filter(|b| **b == b'\n').count()
}

struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object<'de>, M::Error> {
                let mut values = Vec::new();
                while let Some(pair) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                    values.push(pair);
                }
                Ok(Object(values))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}
