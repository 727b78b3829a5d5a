//! Claims and the files that hold them.
//!
//! ```toml
//! title = "A report"
//!
//! [defaults]
//! machine = "m4max-40/128"
//! engine = "mlx"
//!
//! [[claim]]
//! id = "qwen-7b"
//! model = "Qwen/Qwen2.5-7B-Instruct"
//! quant = "4bit"
//! decode_tokens_per_s = 94
//! ```

pub use super::range::Range;
use super::training_claim::TrainingClaim;
use crate::run::Program;
use serde::{Deserialize, Deserializer};
use std::collections::HashSet;
use thiserror::Error;

/// Claims in a file at most.
const MAX_CLAIMS: usize = 100_000;

/// How a figure came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimKind {
    /// A run was timed.
    #[default]
    Measured,
    /// Somebody expects it.
    Expected,
    /// A program without the model produced it.
    Simulated,
}

impl ClaimKind {
    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Expected => "expected",
            Self::Simulated => "simulated",
        }
    }
}

/// What ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimedWork {
    /// Text was generated.
    #[default]
    Generation,
    /// Weights were trained.
    Training,
}

/// What a memory figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryMetric {
    /// MLX's peak of active memory.
    MlxPeak,
    /// The process's physical footprint on macOS.
    Footprint,
    /// The process's resident set.
    Rss,
}

/// What is said to limit a decode speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limiter {
    /// Reading the weights.
    Weights,
    /// Reading keys and values.
    KvCache,
    /// Fixed costs of launching kernels.
    Launches,
}

impl Limiter {
    /// Name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weights => "reading the weights",
            Self::KvCache => "reading the KV cache",
            Self::Launches => "fixed cost of kernel launches",
        }
    }
}

/// A number of tokens, or "unlimited".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextClaim {
    /// So many tokens.
    Tokens(u32),
    /// No limit.
    Unlimited,
}

impl<'de> Deserialize<'de> for ContextClaim {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Tokens(u32),
            Word(String),
        }
        match Written::deserialize(d) {
            Ok(Written::Tokens(n)) => Ok(Self::Tokens(n)),
            Ok(Written::Word(w)) if w == "unlimited" => Ok(Self::Unlimited),
            _ => Err(serde::de::Error::custom("expected a number of tokens or \"unlimited\"")),
        }
    }
}

/// What somebody says about a run. Figures that are not stated are absent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Claim {
    /// Key of the claim.
    pub id: String,
    /// The claim in words.
    pub text: Option<String>,
    /// The model, as on the command line of `predict`.
    pub model: Option<String>,
    /// Quantization: one of mlxplan's names, or a GGUF format such as `q4_k_m`.
    pub quant: Option<String>,
    /// `mlx`, `llama.cpp` or `ollama`.
    #[serde(deserialize_with = "engine")]
    pub engine: Option<Program>,
    /// The machine, as on the command line of `predict`.
    pub machine: Option<String>,
    /// How the figures came about.
    pub kind: ClaimKind,
    /// What ran.
    pub workload: ClaimedWork,
    /// Claims of one group stand in one table and are compared.
    pub group: Option<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u32>,
    /// Tokens in the cache when decoding starts; `prompt_tokens` if absent.
    pub context_tokens: Option<u32>,
    /// Tokens generated.
    pub generated_tokens: Option<u32>,
    /// Sequences at once.
    pub batch: Option<u32>,
    /// Several tokens a step: speculative decoding or multi-token prediction.
    pub speculative: bool,
    /// The prompt's beginning was in a cache.
    pub cached_prefix: bool,
    /// Decode rate in tokens per second.
    pub decode_tokens_per_s: Option<Range>,
    /// Prompt speed in tokens per second.
    pub prefill_tokens_per_s: Option<Range>,
    /// Time to first token, seconds.
    pub ttft_s: Option<Range>,
    /// Time of the whole request, seconds.
    #[serde(deserialize_with = "above_zero")]
    pub total_s: Option<f64>,
    /// Memory in 10^9 bytes.
    pub memory_gb: Option<Range>,
    /// What the memory figure counts.
    pub memory_metric: Option<MemoryMetric>,
    /// The machine's bandwidth as claimed, 10^9 bytes per second.
    #[serde(deserialize_with = "above_zero")]
    pub bandwidth_gbs: Option<f64>,
    /// What is said to limit the decode rate.
    pub limited_by: Option<Limiter>,
    /// The longest context that is said to work.
    pub max_context_tokens: Option<ContextClaim>,
    /// Growth of memory, 10^6 bytes a turn.
    #[serde(deserialize_with = "finite")]
    pub leak_mb_per_turn: Option<f64>,
    /// Turns over which it was measured.
    pub turns: Option<u32>,
    /// Whether outliers were removed.
    pub outliers_removed: bool,
    /// The fine-tuning run, of claims about one.
    pub training: Option<TrainingClaim>,
    /// Trials whose answers were held back or faster than possible, and all trials; from results of `mlxplan bench`.
    #[serde(skip)]
    pub held_back: Option<(usize, usize)>,
}

impl Claim {
    /// Tokens in the cache when decoding starts.
    #[must_use]
    pub fn context(&self) -> Option<u32> {
        self.context_tokens.or(self.prompt_tokens)
    }
}

fn engine<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Program>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    let read = |text: String| match text.parse() {
        Ok(Program::Other(_)) => {
            let known: Vec<&str> =
                Program::ALL.into_iter().filter_map(Program::listed_name).collect();
            Err(serde::de::Error::custom(format!(
                "unknown engine '{text}'; known: {}",
                known.join(", ")
            )))
        }
        Ok(program) => Ok(program),
        Err(e) => Err(serde::de::Error::custom(e)),
    };
    text.map(read).transpose()
}

fn finite<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
    let value = Option::<f64>::deserialize(d)?;
    match value.filter(|x| !x.is_finite()) {
        None => Ok(value),
        Some(x) => Err(serde::de::Error::custom(format!("expected a finite number, found {x}"))),
    }
}

fn above_zero<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
    let value = finite(d)?;
    match value.is_none_or(|x| x > 0.0) {
        true => Ok(value),
        false => Err(serde::de::Error::custom("expected a number above 0")),
    }
}

/// A claims file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClaimError {
    /// The TOML or one of its values.
    #[error("{file}: {problem}")]
    Toml {
        /// The file.
        file: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// A claim with a wrong value, without an id, or with the id of another.
    #[error("{file}:{line}: claim {position}{}: {problem}", of_key(key))]
    Id {
        /// The file.
        file: String,
        /// The line of the key, or of the claim where that is missing, from 1.
        line: usize,
        /// Position of the claim, from 1.
        position: usize,
        /// The key that is wrong, if one is.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// No claims, or too many.
    #[error("{file}: {problem}")]
    Count {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    #[allow(dead_code)] // For readers of the file.
    title: Option<String>,
    #[serde(default)]
    #[allow(dead_code)]
    source: Option<String>,
    #[serde(default)]
    defaults: toml::Table,
    #[serde(default)]
    claim: Vec<toml::Table>,
}

/// Reads a claims file. `file` names it in errors.
///
/// # Errors
/// When it is no TOML, has unknown keys or wrong values, or ids that are missing or used twice.
pub fn parse(file: &str, text: &str) -> Result<Vec<Claim>, ClaimError> {
    let toml = |problem: String| ClaimError::Toml { file: file.to_owned(), problem };
    let read: File = toml::from_str(text).map_err(|e| toml(e.to_string().trim().to_owned()))?;
    let count =
        |problem: &str| ClaimError::Count { file: file.to_owned(), problem: problem.to_owned() };
    match read.claim.len() {
        0 => return Err(count("no [[claim]] in it")),
        n if n > MAX_CLAIMS => return Err(count("more than 100,000 claims")),
        _ => {}
    }
    let mut claims: Vec<Claim> = Vec::new();
    let mut ids: HashSet<String> = HashSet::new();
    for (i, table) in read.claim.into_iter().enumerate() {
        let bad = |key: &str, problem: String| ClaimError::Id {
            file: file.to_owned(),
            line: line_of(text, i, key),
            position: i + 1,
            key: key.to_owned(),
            problem,
        };
        let mut merged = read.defaults.clone();
        merged.extend(table);
        let claim: Claim = merged
            .clone()
            .try_into()
            .map_err(|e: toml::de::Error| bad(&wrong_key(merged), e.message().to_owned()))?;
        if claim.id.is_empty() {
            return Err(bad("", "it has no id".to_owned()));
        }
        if !ids.insert(claim.id.clone()) {
            return Err(bad("id", format!("another claim has the id '{}'", claim.id)));
        }
        claims.push(claim);
    }
    Ok(claims)
}

fn of_key(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(": {key}") }
}

/// The key whose value makes a claim unreadable: the first that does so alone.
fn wrong_key(table: toml::Table) -> String {
    let alone = |(key, value): &(String, toml::Value)| {
        let one: toml::Table = [(key.clone(), value.clone())].into_iter().collect();
        one.try_into::<Claim>().is_err()
    };
    table.into_iter().find(alone).map_or_else(String::new, |(key, _)| key)
}

/// The line of a key of a claim, in the claim or in the defaults, from 1; without such a key that of the claim.
fn line_of(text: &str, claim: usize, key: &str) -> usize {
    let offset = || {
        let file = toml::de::DeTable::parse(text).ok()?;
        let place = |table: &toml::de::DeTable<'_>| {
            table.keys().find(|k| k.get_ref() == key).map(|k| k.span().start)
        };
        let table = file.get_ref().get("claim")?.get_ref().as_array()?.get(claim)?;
        let own = table.get_ref().as_table().and_then(place);
        let defaults = || place(file.get_ref().get("defaults")?.get_ref().as_table()?);
        Some(own.or_else(defaults).unwrap_or(table.span().start))
    };
    let before = text.get(..offset().unwrap_or(0)).unwrap_or_default();
    before.matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_with_its_defaults() {
        let text = r#"
            title = "t"
            [defaults]
            machine = "m4max-40/128"
            engine = "mlx"
            [[claim]]
            id = "a"
            decode_tokens_per_s = [15, 20.5]
            max_context_tokens = "unlimited"
            [[claim]]
            id = "b"
            machine = "m4-10/16"
            kind = "expected"
            memory_gb = 4
        "#;
        let claims = parse("x.toml", text).unwrap();
        assert_eq!(claims[0].machine.as_deref(), Some("m4max-40/128"));
        assert_eq!(claims[0].decode_tokens_per_s, Some(Range { low: 15.0, high: 20.5 }));
        assert_eq!(claims[0].max_context_tokens, Some(ContextClaim::Unlimited));
        assert_eq!(claims[1].machine.as_deref(), Some("m4-10/16"));
        assert_eq!((claims[1].kind, claims[1].engine), (ClaimKind::Expected, Some(Program::MlxLm)));
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| parse("x.toml", text).unwrap_err().to_string();
        assert!(error("[[claim]]\nid = 'a'\nspeed = 3").contains("speed"));
        assert!(error("[[claim]]\nid = 'a'\n[[claim]]\nid = 'a'").contains("another claim"));
        assert!(error("[[claim]]\nengine = 'mlx'").contains("claim 1: it has no id"));
        assert!(error("[[claim]]\nid='a'\nengine = 'vllm'").contains("unknown engine 'vllm'"));
        assert!(error("[[claim]]\nid='a'\nmemory_gb = [9, 3]").contains("lower to the higher"));
        for value in ["nan", "inf", "-1", "[nan, 2]", "[1, inf]"] {
            let text = format!("[[claim]]\nid='a'\n\n[[claim]]\nid='b'\nttft_s = {value}");
            assert!(error(&text).starts_with("x.toml:6: claim 2: ttft_s: "), "{}", error(&text));
        }
        for (key, value) in
            [("total_s", "0"), ("bandwidth_gbs", "inf"), ("leak_mb_per_turn", "nan")]
        {
            let text = format!("[defaults]\n{key} = {value}\n[[claim]]\nid='a'");
            let expected = format!("x.toml:2: claim 1: {key}: ");
            assert!(error(&text).starts_with(&expected), "{}", error(&text));
        }
        assert!(error("").contains("no [[claim]]"));
        assert!(error("[[claim").starts_with("x.toml"));
    }
}
