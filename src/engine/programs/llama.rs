//! What programs on llama.cpp are started with, by version: Ollama's context, slots, batches and flash attention, and the
//! llama.cpp inside it.

use super::{Engine, Engines, Release, Setting, SettingChange, SettingValue};
use crate::ledger::llama_cpp::LlamaRelease;
use crate::run::{MICRO_BATCH, Program, Version};
use crate::units::{Bytes, GIB};

/// What a version of Ollama starts llama.cpp with, where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OllamaDefaults {
    /// Build of llama.cpp that it contains, or one of its time.
    pub build: u32,
    /// Tokens of a sequence.
    pub context: u64,
    /// Sequences that it makes room for, at most.
    pub slots: u64,
    /// Whether attention of a model is flash attention.
    pub flash: bool,
    /// Whether batches are larger for longer contexts.
    pub larger_batches: bool,
}

impl Engines {
    /// The defaults of a version of Ollama for a model of a type, on a machine with such a GPU limit.
    #[must_use]
    pub fn ollama(
        &self,
        version: Option<Version>,
        model_type: &str,
        limit: Bytes,
    ) -> Option<OllamaDefaults> {
        let row = self.row(Program::Ollama)?;
        let version = version.or_else(|| self.newest(Program::Ollama))?;
        let at = Moment { row, version };
        let contexts = changes(row.num_ctx.as_ref());
        let context = contexts.iter().rev().find(|c| at.reached(c)).or_else(|| contexts.first());
        let slots = changes(row.slots.as_ref()).iter().find(|c| at.reached(c));
        let batches = changes(row.n_ubatch.as_ref()).iter().rev().find(|c| at.reached(c));
        Some(OllamaDefaults {
            build: self.llama_cpp_in(Program::Ollama, Some(version))?,
            context: context.map_or(4096, |c| tokens(c, limit)),
            slots: slots.map_or(1, |c| number(c).unwrap_or(4)),
            flash: changes(row.flash_attention.as_ref())
                .iter()
                .any(|c| at.reached(c) && c.models.iter().any(|m| names(m, model_type))),
            larger_batches: batches.is_some_and(|c| !c.by_ctx.is_empty()),
        })
    }
}

impl Engines {
    /// The build of llama.cpp in a version of a program that is not llama.cpp itself, or one of its time; `None` where it is
    /// not known.
    #[must_use]
    pub fn llama_cpp_in(&self, program: Program, version: Option<Version>) -> Option<u32> {
        let all = &self.row(program)?.llama_cpp_build;
        let until = all.range(..=Release(version?)).next_back();
        until.or_else(|| all.iter().next()).map(|(_, build)| *build)
    }

    /// What a server on llama.cpp keeps of earlier prompts in the memory of the CPU unless told otherwise (`--cache-ram`);
    /// `None` for versions that keep none there.
    #[must_use]
    pub fn host_prompts(&self, program: Program, version: Option<Version>) -> Option<Bytes> {
        let row = self.row(program)?;
        let since = row.llama_server_from.zip(version).is_none_or(|(from, v)| from.0 <= v);
        let build = version.filter(|v| v.is_build() && program == Program::LlamaCpp);
        let keeps = since && build.is_none_or(|v| LlamaRelease::of(v.major).host_prompts);
        let mib = match row.cache_ram_mib.as_ref()? {
            Setting::Fixed(mib) => u64::from(*mib),
            Setting::Changed(all) => all.iter().rev().find_map(number)?,
        };
        keeps.then_some(Bytes(mib << 20))
    }

    /// Tokens that a program on llama.cpp computes at once where nothing else is said: fewest and most, by context and
    /// memory.
    #[must_use]
    pub fn micro_batches(&self, program: Program, version: Option<Version>) -> [u32; 2] {
        let usual = |most: u32| [MICRO_BATCH.min(most), most];
        let Some(row) = self.row(program) else { return usual(MICRO_BATCH) };
        if let Some(Setting::Fixed(tokens)) = row.n_ubatch {
            return [tokens; 2];
        }
        let Some(version) = version.or_else(|| self.newest(program)) else {
            return usual(MICRO_BATCH);
        };
        let at = Moment { row, version };
        let now = changes(row.n_ubatch.as_ref()).iter().rev().find(|c| at.reached(c));
        let largest = now.and_then(|c| c.by_ctx.iter().map(|[_, tokens]| *tokens).max());
        usual(largest.unwrap_or(MICRO_BATCH))
    }

    /// Sequences that a version of a program generates at once where nothing else is said; without a limit where it is not known.
    pub(super) fn slots(&self, program: Program, version: Option<Version>) -> u32 {
        let Some(row) = self.row(program) else { return u32::MAX };
        let known = match &row.slots {
            Some(Setting::Fixed(slots)) => Some(*slots),
            changed => version.or_else(|| self.newest(program)).and_then(|version| {
                let at = Moment { row, version };
                let then = changes(changed.as_ref()).iter().rev().find(|c| at.reached(c))?;
                // Ollama made room for up to four.
                Some(number(then).map_or(4, |n| u32::try_from(n).unwrap_or(u32::MAX)))
            }),
        };
        known.unwrap_or(u32::MAX).min(row.completion_batch.unwrap_or(u32::MAX)).max(1)
    }
}

/// A version of a program, with the day on which it appeared.
#[derive(Clone, Copy)]
pub(super) struct Moment<'a> {
    pub(super) row: &'a Engine,
    pub(super) version: Version,
}

impl Moment<'_> {
    /// Whether a change holds.
    pub(super) fn reached(&self, change: &SettingChange) -> bool {
        let parsed = |text: &Option<String>| text.as_ref().and_then(|t| t.parse::<Version>().ok());
        if let Some(until) = parsed(&change.until_before) {
            return self.version < until;
        }
        if let Some(day) = &change.date {
            return self.day().is_none_or(|appeared| appeared >= day.as_str());
        }
        let from = parsed(&change.from).or_else(|| parsed(&change.by));
        from.is_none_or(|from| from <= self.version)
    }

    fn day(&self) -> Option<&str> {
        let mut until = self.row.versions.range(..=Release(self.version));
        until.next_back().map(|(_, day)| day.as_str())
    }
}

/// How a setting changed; nothing where it is the same in all versions.
pub(super) fn changes<T>(setting: Option<&Setting<T>>) -> &[SettingChange] {
    match setting {
        Some(Setting::Changed(all)) => all,
        Some(Setting::Fixed(_)) | None => &[],
    }
}

pub(super) fn number(change: &SettingChange) -> Option<u64> {
    match change.value {
        Some(SettingValue::Number(n)) => Some(n),
        _ => None,
    }
}

/// Tokens by a limit of the GPU, or the same whatever it is.
fn tokens(change: &SettingChange, limit: Bytes) -> u64 {
    let tier = change.tiers_gib.iter().find(|[gib, _]| limit.0 >= u64::from(*gib) * GIB);
    number(change).or_else(|| tier.map(|[_, tokens]| u64::from(*tokens))).unwrap_or(4096)
}

/// Whether Ollama's name of an architecture is that of a model type (`qwen35` and `qwen3_5_moe`); `auto` is of all.
fn names(architecture: &str, model_type: &str) -> bool {
    let plain: String = model_type.chars().filter(|c| *c != '_').collect();
    let wanted: String = architecture.chars().filter(|c| *c != '_').collect();
    let base = plain.trim_end_matches("text").trim_end_matches("unified");
    wanted == "auto" || base == wanted || base.trim_end_matches("moe") == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults(version: &str, model_type: &str, gib: u64) -> OllamaDefaults {
        let all = Engines::embedded().expect("built in");
        let version = version.parse().ok();
        all.ollama(version, model_type, Bytes(gib * GIB)).expect("a row")
    }

    #[test]
    fn ollamas_defaults_follow_its_versions() {
        let contexts = |version| [16, 30, 48].map(|gib| defaults(version, "llama", gib).context);
        assert_eq!(contexts("0.5.0"), [2048; 3]);
        assert_eq!(contexts("0.9.6"), [4096; 3]);
        assert_eq!(contexts("0.32.15"), [4096, 32_768, 262_144]);
        assert_eq!(
            (defaults("0.9.6", "llama", 16).slots, defaults("0.9.7", "llama", 16).slots),
            (4, 1)
        );
        let flash = |version, model| defaults(version, model, 16).flash;
        assert!(!flash("0.11.0", "gpt_oss") && flash("0.12.0", "gpt_oss"));
        assert!(
            !flash("0.12.0", "qwen3")
                && flash("0.13.0", "qwen3_moe")
                && flash("0.13.0", "gemma3_text")
        );
        assert!(!flash("0.24.0", "llama") && flash("0.30.0", "llama"));
        let build = |version| defaults(version, "llama", 16).build;
        assert_eq!((build("0.32.4"), build("0.31.0"), build("0.20.0")), (10_091, 9452, 7900));
        let all = Engines::embedded().expect("built in");
        let batches = |program, version: &str| all.micro_batches(program, version.parse().ok());
        assert_eq!(batches(Program::Ollama, "0.30.0"), [512, 2048]);
        assert_eq!(batches(Program::Ollama, "0.24.0"), [512; 2]);
        assert_eq!(batches(Program::LlamaCpp, "b9452"), [512; 2]);
        let host = |program, version: &str| all.host_prompts(program, version.parse().ok());
        assert_eq!(host(Program::Ollama, "0.24.0"), None);
        assert_eq!(host(Program::Ollama, "0.32.4"), Some(Bytes(8 * GIB)));
        assert_eq!(host(Program::LlamaCpp, "b6000"), None);
        assert_eq!(host(Program::LlamaCpp, "b9452"), Some(Bytes(8 * GIB)));
        assert!(defaults("0.30.0", "llama", 16).larger_batches);
        assert!(!defaults("0.24.0", "llama", 16).larger_batches);
    }
}
