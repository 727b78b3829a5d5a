//! From an engine as it was named to the settings that decide its memory and speed: an explicit input wins, then the
//! rules of the version, then the defaults of the program.

use super::{Engine, Engines, EnginesError, Release, SettingValue, Since};
use crate::run::{EngineName, EngineSetup, KeptPrompts, MatrixUnits, MlxRelease, Program, Version};

/// An engine as it was asked for; what is `None` was not said.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AskedEngine {
    /// Program and version.
    pub engine: Option<EngineName>,
    /// Version of MLX.
    pub mlx: Option<Version>,
    /// Version of macOS.
    pub macos: Option<Version>,
    /// Whether the matrix units are used.
    pub matrix_units: MatrixUnits,
    /// Tokens of a prefill chunk.
    pub prefill_step: Option<u32>,
}

impl AskedEngine {
    /// The settings of the engine by the embedded file; the cache and the reserve are the defaults.
    ///
    /// # Errors
    /// Never, as a test shows.
    pub fn setup(&self) -> Result<EngineSetup, EnginesError> {
        Ok(Engines::embedded()?.setup(self))
    }
}

/// Tokens of a chunk where a program reads a prompt at once: more than any prompt has.
const WHOLE_PROMPT: u32 = 1 << 24;

impl Engines {
    /// The settings of an engine as it was asked for.
    #[must_use]
    pub fn setup(&self, asked: &AskedEngine) -> EngineSetup {
        let program = asked.engine.map_or(Program::MlxLm, |e| e.program);
        let version = asked.engine.and_then(|e| e.version).or_else(|| self.newest(program));
        let mlx = asked.mlx.map_or_else(|| self.mlx_of(program, version), MlxRelease::known);
        let step = || self.prefill_step(program, version);
        EngineSetup {
            program,
            version,
            mlx,
            macos: asked.macos,
            matrix_units: asked.matrix_units,
            prefill_step: asked.prefill_step.unwrap_or_else(step),
            step_with_towers: self
                .step_with_towers(program)
                .filter(|_| asked.prefill_step.is_none()),
            micro_batch: asked.prefill_step.filter(|_| program.runs_gguf()),
            whole_logits: self.computes_whole_logits(program, version),
            pads_sequences: self.pads_sequences(program, version),
            prompt_slots: self.row(program).and_then(|r| r.prompt_slots).unwrap_or(1),
            slots: self.slots(program, version),
            kv_start: self.row(program).and_then(|r| r.kv_start),
            keeps: self.row(program).map_or(KeptPrompts::NONE, Engine::keeps),
            cap: self.cap(program, version),
            tiles: self.tiles(program, version),
            server: self.server_time(program, version),
            ..EngineSetup::default()
        }
    }

    /// The row of a program.
    #[must_use]
    pub fn row(&self, program: Program) -> Option<&Engine> {
        match program {
            Program::Other(_) => None,
            listed => self.get(listed.name()),
        }
    }

    /// The newest version of a program that the file knows of.
    #[must_use]
    pub fn newest(&self, program: Program) -> Option<Version> {
        let row = self.row(program)?;
        let stated = row.newest.as_ref().or(row.newest_read.as_ref()).and_then(|v| v.parse().ok());
        let listed = || row.versions.keys().next_back().map(|r| r.0);
        let by = |all: &[Since]| all.last().and_then(|s| s.0.parse().ok());
        stated.or_else(listed).or_else(|| by(&row.mlx_by_version)).or_else(|| by(&row.mlx_by_date))
    }

    /// The oldest and the newest version of a program that the file lists; `None` where it lists none.
    #[must_use]
    pub fn listed(&self, program: Program) -> Option<[Version; 2]> {
        let row = self.row(program)?;
        let mut all: Vec<Version> = row.versions.keys().map(|r| r.0).collect();
        if program.is_mlx_lm() {
            all.extend(self.mlx_lm_versions.keys().map(|r| r.0));
        }
        let since = row.mlx_by_version.iter().chain(&row.mlx_by_date);
        all.extend(since.filter_map(|s| s.0.parse::<Version>().ok()));
        all.extend(self.newest(program));
        Some([all.iter().min().copied()?, all.iter().max().copied()?])
    }

    /// The oldest and the newest MLX that the file lists.
    #[must_use]
    pub fn listed_mlx(&self) -> Option<[Version; 2]> {
        let mut all = self.mlx_versions.keys().map(|r| r.0);
        let oldest = all.next()?;
        Some([oldest, all.next_back().unwrap_or(oldest)])
    }

    /// The newest version of a program on a day (`2026-05-31`).
    #[must_use]
    pub fn newest_on(&self, program: Program, day: &str) -> Option<Version> {
        let released = self.row(program)?.versions.iter().filter(|(_, date)| date.as_str() <= day);
        released.map(|(release, _)| release.0).max()
    }

    /// The newest MLX on a day.
    #[must_use]
    pub fn mlx_on(&self, day: &str) -> Option<Version> {
        let released = self.mlx_versions.iter().filter(|(_, date)| date.as_str() <= day);
        released.map(|(release, _)| release.0).max()
    }

    /// The newest MLX that the file knows of.
    #[must_use]
    pub const fn newest_mlx(&self) -> Version {
        self.default.mlx.0
    }

    /// The MLX that a program runs on, or those that it may.
    fn mlx_of(&self, program: Program, version: Option<Version>) -> MlxRelease {
        let newest = self.newest_mlx();
        let (row, mlx_lm) = (self.row(program), self.get(&self.default.engine));
        let supported = mlx_lm.and_then(|r| r.mlx_min).map_or(newest, |r| r.0);
        let unknown = MlxRelease { taken: newest, range: [supported, newest] };
        let Some(row) = row else { return unknown };
        if matches!(program, Program::MlxLm | Program::MlxServer) {
            return self.mlx_of_mlx_lm(version, supported);
        }
        let days = !row.mlx_by_date.is_empty();
        let pinned = if !days {
            nearest(&row.mlx_by_version, version)
        } else if version.is_some_and(Version::is_day) {
            nearest(&row.mlx_by_date, version)
        } else {
            None
        };
        if let Some(found) = pinned.and_then(|text| required(text, newest)) {
            return found;
        }
        let taken = row.mlx_max.map_or(newest, |r| r.0);
        let is_newest = version == self.newest(program);
        let oldest = match row.mlx_min {
            Some(oldest) => oldest.0,
            None if is_newest && row.mlx_max.is_some() => taken,
            None => version.and_then(|v| self.mlx_at(row, v)).unwrap_or(supported),
        };
        let oldest = oldest.min(taken);
        let then = version.filter(|_| !is_newest).and_then(|v| self.mlx_at(row, v));
        MlxRelease { taken: then.unwrap_or(taken).clamp(oldest, taken), range: [oldest, taken] }
    }

    /// The newest MLX when a version of a program appeared.
    fn mlx_at(&self, row: &Engine, version: Version) -> Option<Version> {
        let (_, day) = row.versions.range(..=Release(version)).next_back()?;
        self.mlx_on(day)
    }

    /// pip installs the newest MLX of the day with mlx-lm; what an older mlx-lm runs on is not known, but that of the
    /// day on which it appeared is likely.
    fn mlx_of_mlx_lm(&self, version: Option<Version>, supported: Version) -> MlxRelease {
        let newest = self.newest_mlx();
        let asked = version.unwrap_or(self.default.mlx_lm.0);
        if asked >= self.default.mlx_lm.0 {
            return MlxRelease::known(newest);
        }
        let until = || self.mlx_lm_versions.range(..=Release(asked)).rev();
        let first = || self.mlx_lm_versions.values().find_map(|r| r.mlx_min);
        let needed = until().find_map(|(_, r)| r.mlx_min).or_else(first);
        let needed = needed.map_or(supported, |r| r.0);
        let then = until().next().and_then(|(_, r)| self.mlx_on(&r.date)).unwrap_or(needed);
        MlxRelease { taken: then.max(needed), range: [needed.min(newest), newest] }
    }

    /// The chunk of a program.
    fn prefill_step(&self, program: Program, version: Option<Version>) -> u32 {
        let standard = self.default.prefill_step;
        let Some(row) = self.row(program) else { return standard };
        let usual = row.prefill_step.or(row.n_batch).unwrap_or(standard);
        let Some(version) = version else { return usual };
        if matches!(program, Program::MlxLm | Program::MlxServer) {
            let flag = self.mlx_lm_flag.iter().find(|f| f.name == "prefill_step");
            let steps = flag.map_or(&[][..], |f| &f.values);
            let found = steps.iter().rev().find(|s| s.from.0 <= version).or_else(|| steps.first());
            return found.map_or(usual, |s| s.value);
        }
        if row.prefill_step_from.is_some_and(|from| version < from.0) {
            return match row.prefill_step_before {
                Some(SettingValue::Number(tokens)) => u32::try_from(tokens).unwrap_or(WHOLE_PROMPT),
                _ => WHOLE_PROMPT,
            };
        }
        let day =
            row.prefill_step_by_date.iter().rev().find(|s| {
                version.is_day() && s.0.parse::<Version>().is_ok_and(|from| from <= version)
            });
        match day {
            Some(Since(_, SettingValue::Number(tokens))) => u32::try_from(*tokens).unwrap_or(usual),
            _ => usual,
        }
    }

    /// The chunk of a program for models that it loads with towers, where that is another one in all its versions.
    fn step_with_towers(&self, program: Program) -> Option<u32> {
        let row = self.row(program)?;
        row.prefill_step_vlm.filter(|_| !row.prefill_step_vlm_varies)
    }

    /// Whether its caches are those of sequences that come and go.
    fn pads_sequences(&self, program: Program, version: Option<Version>) -> bool {
        let Some(row) = self.row(program) else { return false };
        let since = row.array_mask_from.as_ref().and_then(|from| from.parse::<Version>().ok());
        let known = version.zip(since).filter(|(v, from)| v.is_day() == from.is_day());
        row.array_mask == Some(true) && known.is_none_or(|(version, from)| from <= version)
    }

    /// Whether every call computes the logits of all its tokens.
    fn computes_whole_logits(&self, program: Program, version: Option<Version>) -> bool {
        let flag = self.mlx_lm_flag.iter().find(|f| f.name == "logits_of_whole_last_chunk");
        let until = flag.and_then(|f| f.until_before);
        let mlx_lm = matches!(program, Program::MlxLm | Program::MlxServer);
        let always = self.row(program).is_some_and(|row| row.whole_logits == Some(true));
        always || mlx_lm && version.zip(until).is_some_and(|(v, until)| v < until.0)
    }
}

impl Engine {
    /// Caches of earlier prompts that it comes to keep in memory, where nothing else is said.
    fn keeps(&self) -> KeptPrompts {
        let in_memory = matches!(self.prompt_cache.as_deref(), Some("lru" | "ram"));
        if !in_memory {
            return KeptPrompts::NONE;
        }
        let percent = self.prompt_cache_fraction.map(|share| (100.0 * share) as u8);
        KeptPrompts { entries: self.prompt_cache_entries.unwrap_or(u32::MAX), bytes: None, percent }
    }
}

/// The value of the nearest older entry.
fn nearest(all: &[Since], version: Option<Version>) -> Option<&str> {
    let until = |s: &&Since| match (s.0.parse::<Version>(), version) {
        (Ok(from), Some(version)) => from <= version,
        _ => true,
    };
    match all.iter().rev().find(until).or_else(|| all.first())? {
        Since(_, SettingValue::Words(text)) => Some(text),
        Since(_, SettingValue::Number(_)) => None,
    }
}

/// A version (`0.31.2`, `0.31.1+ 38ad257`), or those that a requirement allows (`>=0.32.1,<0.33`).
fn required(text: &str, newest: Version) -> Option<MlxRelease> {
    let Some((oldest, below)) = text.strip_prefix(">=").and_then(|t| t.split_once(",<")) else {
        return text.parse().ok().map(MlxRelease::known);
    };
    let (oldest, below): (Version, Version) = (oldest.parse().ok()?, below.parse().ok()?);
    let listed = Engines::embedded().ok()?.mlx_versions.keys().map(|r| r.0);
    let taken = listed.filter(|&v| v < below).max().unwrap_or(newest).max(oldest);
    Some(MlxRelease { taken, range: [oldest, taken] })
}
