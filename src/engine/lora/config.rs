//! The configuration file of `mlx_lm.lora` (`-c config.yaml`): what a flag does not say, it says.

use super::yaml;
use crate::files;
use crate::graph::training::{FineTuneType, Optimizer};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Keys of `mlx_lm.lora` that change neither memory nor time, or that the planner does not follow
/// (`mlx_lm/lora.py`, `CONFIG_DEFAULTS`; mlx-lm 0.32.2).
const OTHER_KEYS: [&str; 18] = [
    "train",
    "optimizer_config",
    "seed",
    "val_batches",
    "learning_rate",
    "steps_per_report",
    "steps_per_eval",
    "resume_adapter_file",
    "adapter_path",
    "save_every",
    "test",
    "test_batches",
    "config",
    "clear_cache_threshold",
    "lr_schedule",
    "report_to",
    "project_name",
    "trust_remote_code",
];

/// Why a configuration file says nothing.
#[derive(Debug, thiserror::Error)]
pub enum LoraConfigError {
    /// It cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key has a value that mlx_lm.lora cannot use.
    #[error("{path}: {key}: {reason}")]
    Key {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// What the file says; `None` for what it leaves to flags and defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoraConfig {
    /// The base.
    pub model: Option<String>,
    /// What is trained.
    pub fine_tune_type: Option<FineTuneType>,
    /// The optimizer.
    pub optimizer: Option<Optimizer>,
    /// A folder, or a name of the hub.
    pub data: Option<String>,
    /// Blocks that are trained, counted from the last; 0 or less for all.
    pub num_layers: Option<i64>,
    /// Samples in a batch.
    pub batch_size: Option<u32>,
    /// Iterations.
    pub iters: Option<u32>,
    /// Longest sample, in tokens.
    pub max_seq_length: Option<u32>,
    /// Whether blocks are run again in the backward pass.
    pub grad_checkpoint: Option<bool>,
    /// Batches of an update.
    pub grad_accumulation_steps: Option<u32>,
    /// Whether prompts are left out of the loss.
    pub mask_prompt: Option<bool>,
    /// The adapters.
    pub lora_parameters: Option<LoraParameters>,
    /// Whether data of the hub are named, which then are trained on.
    pub hf_dataset: bool,
    /// Names of the fields of a sample that are not the usual ones.
    pub features: SampleFields,
    /// Keys that mlx_lm.lora does not know, and silently ignores.
    pub unknown: Vec<String>,
}

/// The adapters as the file has them.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraParameters {
    /// Rank.
    pub rank: u32,
    /// Factor on what adapters add.
    pub scale: f64,
    /// Share of activations that is dropped.
    pub dropout: f64,
    /// Paths of the modules that get adapters; `None` for every matrix.
    pub keys: Option<Vec<String>>,
}

/// Fields of a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleFields {
    /// That of a prompt.
    pub prompt: String,
    /// That of its answer.
    pub completion: String,
    /// That of a plain text.
    pub text: String,
    /// That of messages.
    pub chat: String,
}

impl Default for SampleFields {
    fn default() -> Self {
        let [prompt, completion, text, chat] =
            ["prompt", "completion", "text", "messages"].map(str::to_owned);
        Self { prompt, completion, text, chat }
    }
}

/// A file's mapping, and where it is.
struct Keys<'a> {
    path: &'a Path,
    map: &'a Map<String, Value>,
}

impl Keys<'_> {
    fn wrong(&self, key: &'static str, reason: impl Into<String>) -> LoraConfigError {
        LoraConfigError::Key { path: self.path.to_owned(), key, reason: reason.into() }
    }

    /// A value; what is null is left to flags and defaults.
    fn value(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    fn text(&self, key: &'static str) -> Result<Option<String>, LoraConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| self.wrong(key, format!("{value} is no text")))?;
        Ok(Some(text.to_owned()))
    }

    fn flag(&self, key: &'static str) -> Result<Option<bool>, LoraConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let flag = value.as_bool();
        flag.map(Some).ok_or_else(|| self.wrong(key, format!("{value} is neither true nor false")))
    }

    fn count(&self, key: &'static str, most: u32) -> Result<Option<u32>, LoraConfigError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let count = value.as_u64().and_then(|n| u32::try_from(n).ok());
        let good = count.filter(|n| (1..=most).contains(n));
        good.map(Some)
            .ok_or_else(|| self.wrong(key, format!("{value} is no whole number from 1 to {most}")))
    }

    fn number(&self, key: &'static str) -> Result<f64, LoraConfigError> {
        let value = self.value(key).ok_or_else(|| {
            let hint = if key == "scale" && self.map.contains_key("alpha") {
                " (it has alpha, which is scale here)"
            } else {
                ""
            };
            let stops = "is missing in lora_parameters, and mlx_lm.lora stops without it";
            self.wrong(key, format!("{stops}{hint}"))
        })?;
        let number = value.as_f64().filter(|n| n.is_finite());
        number.ok_or_else(|| self.wrong(key, format!("{value} is no number")))
    }
}

/// A name out of a list, as serde knows it.
fn named<T: serde::de::DeserializeOwned>(
    keys: &Keys<'_>,
    key: &'static str,
    lower: bool,
    choices: &str,
) -> Result<Option<T>, LoraConfigError> {
    let Some(text) = keys.text(key)? else { return Ok(None) };
    let name = if lower { text.to_ascii_lowercase() } else { text.clone() };
    let found = serde_json::from_value(Value::String(name)).ok();
    found.map(Some).ok_or_else(|| keys.wrong(key, format!("'{text}' is none of {choices}")))
}

impl LoraConfig {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// When it is no such file, or holds a value that mlx_lm.lora cannot use.
    pub fn read(path: &Path) -> Result<Self, LoraConfigError> {
        let wrong = |reason: String| LoraConfigError::File { path: path.to_owned(), reason };
        let text = files::text(path, MAX_BYTES).map_err(|e| wrong(e.to_string()))?;
        let value = yaml::parse(&text).map_err(wrong)?;
        let Value::Object(map) = &value else {
            let example = "iters: 600";
            return Err(wrong(format!("it holds no keys with values, such as `{example}`")));
        };
        Self::of(&Keys { path, map })
    }

    fn of(keys: &Keys<'_>) -> Result<Self, LoraConfigError> {
        let num_layers = match keys.value("num_layers") {
            None => None,
            Some(v) => Some(
                v.as_i64().ok_or_else(|| keys.wrong("num_layers", format!("{v} is no number")))?,
            ),
        };
        let lora_parameters = match keys.value("lora_parameters") {
            None => None,
            Some(Value::Object(map)) => Some(LoraParameters::of(&Keys { path: keys.path, map })?),
            Some(v) => return Err(keys.wrong("lora_parameters", format!("{v} is no mapping"))),
        };
        let usual = SampleFields::default();
        let features = SampleFields {
            prompt: keys.text("prompt_feature")?.unwrap_or(usual.prompt),
            completion: keys.text("completion_feature")?.unwrap_or(usual.completion),
            text: keys.text("text_feature")?.unwrap_or(usual.text),
            chat: keys.text("chat_feature")?.unwrap_or(usual.chat),
        };
        let config = Self {
            model: keys.text("model")?,
            fine_tune_type: named(keys, "fine_tune_type", false, "lora, dora, full")?,
            optimizer: named(keys, "optimizer", true, "adam, adamw, muon, sgd, adafactor")?,
            data: keys.text("data")?,
            num_layers,
            batch_size: keys.count("batch_size", 512)?,
            iters: keys.count("iters", u32::MAX)?,
            max_seq_length: keys.count("max_seq_length", 131_072)?,
            grad_checkpoint: keys.flag("grad_checkpoint")?,
            grad_accumulation_steps: keys.count("grad_accumulation_steps", 4096)?,
            mask_prompt: keys.flag("mask_prompt")?,
            lora_parameters,
            hf_dataset: keys.value("hf_dataset").is_some(),
            features,
            unknown: Vec::new(),
        };
        const READ: [&str; 17] = [
            "model",
            "fine_tune_type",
            "optimizer",
            "data",
            "num_layers",
            "batch_size",
            "iters",
            "max_seq_length",
            "grad_checkpoint",
            "grad_accumulation_steps",
            "mask_prompt",
            "lora_parameters",
            "hf_dataset",
            "prompt_feature",
            "completion_feature",
            "text_feature",
            "chat_feature",
        ];
        let known =
            |key: &&String| READ.contains(&key.as_str()) || OTHER_KEYS.contains(&key.as_str());
        let unknown = keys.map.keys().filter(|key| !known(key)).cloned().collect();
        Ok(Self { unknown, ..config })
    }
}

impl LoraParameters {
    fn of(keys: &Keys<'_>) -> Result<Self, LoraConfigError> {
        let scale = keys.number("scale")?;
        let rank = keys.number("rank")?;
        if rank.fract() != 0.0 || !(1.0..=4096.0).contains(&rank) {
            return Err(keys.wrong("rank", format!("{rank} is no whole number from 1 to 4096")));
        }
        let dropout = keys.number("dropout")?;
        if !(0.0..1.0).contains(&dropout) {
            return Err(keys.wrong("dropout", format!("{dropout} is no share from 0 to below 1")));
        }
        let paths = match keys.value("keys") {
            None => None,
            Some(Value::Array(list)) => {
                let texts = list.iter().map(|v| v.as_str().map(str::to_owned));
                let texts: Option<Vec<String>> = texts.collect();
                Some(texts.ok_or_else(|| keys.wrong("keys", "is a list of paths"))?)
            }
            Some(v) => return Err(keys.wrong("keys", format!("{v} is no list of paths"))),
        };
        Ok(Self { rank: rank as u32, scale, dropout, keys: paths })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<LoraConfig, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, text).expect("written");
        LoraConfig::read(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn a_file_is_read_as_mlx_lm_reads_it() {
        let text = "model: \"mlx-community/Qwen3-4B-4bit\"\ntrain: true\nfine_tune_type: dora\noptimizer: AdamW\n\
                    batch_size: 2\nnum_layers: -1\nlearning_rate: 1e-5\nseed: ~\nlora_parameters:\n  keys: [\"self_attn.q_proj\"]\n  \
                    rank: 16\n  scale: 20.0\n  dropout: 0.05\nbatchsize: 8\n";
        let c = read(text).expect("a configuration");
        assert_eq!(c.model.as_deref(), Some("mlx-community/Qwen3-4B-4bit"));
        assert_eq!(
            (c.fine_tune_type, c.optimizer),
            (Some(FineTuneType::Dora), Some(Optimizer::AdamW))
        );
        assert_eq!((c.batch_size, c.num_layers, c.iters), (Some(2), Some(-1), None));
        let lora = c.lora_parameters.expect("adapters");
        assert_eq!((lora.rank, lora.dropout), (16, 0.05));
        assert_eq!(lora.keys, Some(vec!["self_attn.q_proj".to_owned()]));
        assert_eq!(c.unknown, ["batchsize"]);
    }

    #[test]
    fn what_stops_mlx_lm_is_an_error_with_its_key() {
        for (text, part) in [
            ("iters: many", "iters: \"many\" is no whole number"),
            ("fine_tune_type: LoRA", "'LoRA' is none of lora"),
            ("lora_parameters: {rank: 8, alpha: 16, dropout: 0}", "alpha, which is scale here"),
            ("lora_parameters: {rank: 8, scale: 20}", "dropout: is missing in lora_parameters"),
            ("- a\n- b", "it holds no keys"),
            ("a: [", "line"),
        ] {
            let error = read(text).expect_err("refused");
            assert!(error.contains(part) && error.contains("config.yaml"), "{text}: {error}");
        }
    }
}
