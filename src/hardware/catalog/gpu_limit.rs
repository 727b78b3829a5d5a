//! Observed default GPU memory limits by memory size (`gpu_memory_limits.toml`).

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{Problem, TomlFile, for_each_entry, word_field};
use crate::hardware::provenance::Confidence;
use crate::units::{Bytes, GIB};

/// The two known rule sets of the default limit. They follow the macOS release, not the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitRule {
    /// Seen up to macOS 15.
    Older,
    /// Seen on macOS 26 and 27.
    Macos26,
}

impl fmt::Display for LimitRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Older => "older macOS",
            Self::Macos26 => "macOS 26 and later",
        })
    }
}

impl FromStr for LimitRule {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "older" => Ok(Self::Older),
            "macos26" => Ok(Self::Macos26),
            _ => Err(()),
        }
    }
}

word_field!(LimitRule, "\"older\" or \"macos26\"");

/// How a limit is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitBasis {
    /// A device or a log printed it.
    Measured,
    /// It stands in a published table.
    Published,
    /// Nobody has reported it; it follows from the neighboring sizes.
    Inferred,
}

impl FromStr for LimitBasis {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "measured" => Ok(Self::Measured),
            "published" => Ok(Self::Published),
            "inferred" => Ok(Self::Inferred),
            _ => Err(()),
        }
    }
}

word_field!(LimitBasis, "\"measured\", \"published\" or \"inferred\"");

/// The default limit on one memory size under one rule set.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitEntry {
    /// Installed memory in GiB.
    pub memory_gib: u64,
    /// Rule set.
    pub rule: LimitRule,
    /// The limit.
    pub limit: Bytes,
    /// How it is known.
    pub basis: LimitBasis,
    /// macOS releases of the observation, where stated.
    pub os_seen: Option<String>,
    /// Public references, and data files that override this entry.
    pub sources: Vec<String>,
    /// How far to trust it.
    pub confidence: Confidence,
    /// Remarks.
    pub note: Option<String>,
}

#[rustfmt::skip]
const KEYS: &[&str] = &[
    "memory_gib", "rule", "limit_bytes", "limit_gib", "ratio", "basis", "os_seen", "sources", "confidence", "note",
];

/// Reads the limits of all files; a later file adds limits or overrides earlier ones of the same size and rule.
pub(super) fn read(sources: &[TomlFile], problems: &mut Vec<Problem>) -> Vec<LimitEntry> {
    let mut limits: Vec<LimitEntry> = Vec::new();
    for source in sources {
        let mut seen = Vec::new();
        let headers = ["as_of", "override", "max_buffer", "mlx"];
        for_each_entry(source, problems, "limit", &headers, |entry| {
            entry.only(KEYS);
            let memory_gib = entry.within("memory_gib", None, 1..=65_536);
            let rule = entry.required("rule", None);
            let limit_bytes: Option<u64> = entry.required("limit_bytes", None);
            let basis = entry.optional("basis");
            let os_seen = entry.optional("os_seen");
            let mut sources: Vec<String> = entry.optional("sources").unwrap_or_default();
            let confidence = entry.optional("confidence");
            let note = entry.optional("note");
            let (Some(memory_gib), Some(rule), Some(bytes)) = (memory_gib, rule, limit_bytes)
            else {
                return;
            };
            entry.set_label(format!("limit on {memory_gib} GB, {rule}"));
            if bytes == 0 || bytes >= memory_gib * GIB {
                entry.wrong("limit_bytes", "must lie between 0 and the installed memory");
                return;
            }
            if seen.contains(&(memory_gib, rule)) {
                entry.wrong("memory_gib", "stands twice in this file with the same rule");
                return;
            }
            seen.push((memory_gib, rule));
            if !entry.embedded() {
                sources.push(entry.file().to_owned());
            }
            limits.retain(|old| (old.memory_gib, old.rule) != (memory_gib, rule));
            limits.push(LimitEntry {
                memory_gib,
                rule,
                limit: Bytes(bytes),
                basis: basis.unwrap_or(LimitBasis::Measured),
                os_seen,
                sources,
                confidence: confidence.unwrap_or(Confidence::Medium),
                note,
            });
        });
    }
    limits.sort_by_key(|limit| limit.memory_gib);
    limits
}
