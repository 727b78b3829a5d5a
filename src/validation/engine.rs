//! The engine that a measurement names, as far as it does: program, its version, MLX's, and that of macOS.

use super::measurement::Measurement;
use crate::engine::programs::{AskedEngine, Engines, may_use_matrix_units};
use crate::run::{EngineName, EngineSetup, PREFILL_STEP, Program, Version};
use crate::units::Bytes;

/// A fork of MLX Swift that reads prompts as mlx-lm does, but for the last token (its Libraries/MLXLLM/LLMModel.swift).
const FORK: &str = "ekryski fork";

/// The mlx-lm of measurements that name none: the one that most of those with a version name.
const UNSTATED: Version = Version::new(0, 31, 3);

impl Measurement {
    /// The settings of the engine that was measured. An mlx-lm without a version is taken as the one that most
    /// measurements were made with.
    #[must_use]
    pub fn engine_setup(&self) -> EngineSetup {
        let text = self.engine_version.to_lowercase();
        let program = match self.engine {
            Program::MlxServer => named(&text).unwrap_or(Program::MlxServer),
            stated => stated,
        };
        let version = version_of(&text, program.name()).or_else(|| text.parse().ok());
        let unstated = (program == Program::MlxLm).then_some(UNSTATED);
        let asked = AskedEngine {
            engine: Some(EngineName { program, version: version.or(unstated) }),
            mlx: version_of(&text, "mlx"),
            macos: version_of(&self.os_version.to_lowercase(), "macos"),
            prefill_step: self.prefill_step(),
            ..AskedEngine::default()
        };
        let setup = asked.setup().unwrap_or_default();
        if text.contains(FORK) {
            let prefill_step = self.prefill_step().unwrap_or(PREFILL_STEP);
            return EngineSetup { whole_logits: false, prefill_step, ..setup };
        }
        setup
    }
}

impl Measurement {
    /// The settings of the engine of several sequences at once: what serves them is named by the column of servers, or
    /// beside the version.
    #[must_use]
    pub fn engine_of_batch(&self) -> EngineSetup {
        let text = format!("{} {}", self.server, self.engine_version).to_lowercase();
        let in_process = self.server == "none";
        let program = match self.engine {
            Program::MlxLm if !in_process && text.contains("server") => Program::MlxServer,
            // A program of its own around MLX, without a server.
            Program::MlxServer if in_process => Program::MlxLm,
            Program::MlxServer => served_by(&text),
            stated => stated,
        };
        let mlx_lm = matches!(program, Program::MlxLm | Program::MlxServer);
        let version = version_of(&text, program.name())
            .or_else(|| version_of(&text, "mlx-lm").filter(|_| mlx_lm))
            .or_else(|| version_of(&text, "mlx_lm.server").filter(|_| mlx_lm))
            .or_else(|| self.engine_version.parse().ok());
        let stated = self.mlx_version.trim_end_matches(".dev").parse().ok();
        let mlx = stated.or_else(|| version_of(&text, "mlx"));
        let unstated = (program == Program::MlxLm && mlx.is_none()).then_some(UNSTATED);
        let asked = AskedEngine {
            engine: Some(EngineName { program, version: version.or(unstated) }),
            mlx,
            macos: version_of(&self.os_version.to_lowercase(), "macos"),
            prefill_step: self.prefill_step(),
            ..AskedEngine::default()
        };
        asked.setup().unwrap_or_default()
    }
}

impl Measurement {
    /// Whether MLX may have used matrix units where the GPU has some: as the row says, or else by the versions that it states.
    #[must_use]
    pub fn may_use_matrix_units(&self, engine: &EngineSetup) -> bool {
        let by_version = || may_use_matrix_units(engine.mlx.taken, engine.macos);
        self.matrix_units.unwrap_or_else(by_version)
    }
}

impl Measurement {
    /// The engine whose peak a row tells: `None` for programs on llama.cpp, for those that a row does not name, for those on MLX
    /// Swift, which print 2^30 bytes as GB now and then, and for versions of MLX whose peaks are not replayed.
    #[must_use]
    pub fn engine_of_peak(&self) -> Option<EngineSetup> {
        let text = self.engine_version.to_lowercase();
        let in_process = || version_of(&text, "mlx-lm").is_some();
        let engine = match self.engine {
            stated if stated.runs_gguf() || stated == Program::MlxSwift => return None,
            // Of a program with a rule for every version, none is taken for granted.
            Program::MlxServer
                if named(&text).is_some_and(|p| version_of(&text, p.name()).is_some()) =>
            {
                self.engine_setup()
            }
            // A harness of somebody's own around mlx-lm.
            Program::MlxServer if in_process() => {
                Self { engine: Program::MlxLm, ..self.clone() }.engine_setup()
            }
            Program::MlxServer => return None,
            _ => self.engine_setup(),
        };
        let chunk = self.notes.split_once(CHUNK).and_then(|(_, rest)| {
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok().filter(|&n| n > 0)
        });
        let prefill_step = chunk.unwrap_or(engine.prefill_step);
        let step_with_towers = engine.step_with_towers.filter(|_| chunk.is_none());
        let engine = EngineSetup { prefill_step, step_with_towers, ..engine };
        (engine.mlx.taken >= REPLAYED_SINCE).then_some(engine)
    }

    /// Program, version and MLX as far as the row states them: `mlx-lm 0.31.3, MLX 0.32.0`.
    #[must_use]
    pub fn release(&self) -> String {
        let text = self.engine_version.to_lowercase();
        let setup = self.engine_of_peak().unwrap_or_else(|| self.engine_setup());
        let program = setup.program.name();
        let version = version_of(&text, program).or_else(|| text.parse().ok());
        stated_release(program, version, version_of(&text, "mlx"))
    }
}

/// A program with its version and MLX's, as far as they are stated.
pub(super) fn stated_release(
    program: &str,
    version: Option<Version>,
    mlx: Option<Version>,
) -> String {
    let mlx = mlx.map_or_else(String::new, |v| format!(", MLX {v}"));
    match version {
        Some(version) => format!("{program} {version}{mlx}"),
        None if mlx.is_empty() => format!("{program}, version not stated"),
        None => format!("{program}{mlx}"),
    }
}

/// The program that a text names as the server, or what it is called; mlx_lm.server where it names none.
fn served_by(text: &str) -> Program {
    let first = || text.split_whitespace().next()?.trim_end_matches(',').parse().ok();
    named(text).or_else(first).unwrap_or(Program::MlxServer)
}

/// LM Studio's GGUF runtime switched flash attention on by itself in builds of 2026 (row `lmstudio` of
/// `data/engines.toml`).
const LM_STUDIO_FLASH: &str = "2026-01";

/// Peaks of older versions of MLX are not replayed: they let go of buffers by other rules, and mlx-lm of that time (0.22)
/// kept the head of Gemma 3 twice.
const REPLAYED_SINCE: Version = Version::new(0, 25, 0);

/// How remarks state the chunk of a prompt.
const CHUNK: &str = "prefill step ";

impl Measurement {
    /// Whether a program on llama.cpp used flash attention for a type of model: Ollama by its version, or by the day of the
    /// publication where it is not stated; LM Studio by that day. llama.cpp's own rows are taken as they are.
    #[must_use]
    pub fn uses_flash_attention(&self, model_type: &str) -> bool {
        match self.engine {
            Program::LmStudioGguf => self.published_day().is_none_or(|day| day >= LM_STUDIO_FLASH),
            Program::Ollama => Engines::embedded().ok().is_none_or(|engines| {
                let stated = self.engine_version.to_lowercase();
                let version = version_of(&stated, "ollama")
                    .or_else(|| stated.parse().ok())
                    .or_else(|| engines.newest_on(Program::Ollama, self.published_day()?));
                engines.ollama(version, model_type, Bytes(0)).is_none_or(|ollama| ollama.flash)
            }),
            _ => true,
        }
    }

    /// The day of the publication, `2026-05-31` or less of it, where the source states it.
    fn published_day(&self) -> Option<&str> {
        let (_, rest) = self.source.split_once("(20")?;
        let day = rest.split(')').next()?;
        let start = self.source.len() - rest.len() - 2;
        day.starts_with(|c: char| c.is_ascii_digit())
            .then(|| &self.source[start..start + 2 + day.len()])
    }
}

/// A program that the text names.
fn named(text: &str) -> Option<Program> {
    let words = || text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    Program::ALL.into_iter().find(|p| *p != Program::MlxLm && words().any(|w| w == p.name()))
}

/// The version behind a name: `mlx-lm 0.31.3 / mlx 0.32.0`.
fn version_of(text: &str, name: &str) -> Option<Version> {
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        if word == name {
            return words.next()?.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_behind_names() {
        let text = "mlx-lm 0.31.3 / mlx 0.32.0";
        assert_eq!(version_of(text, "mlx-lm"), Some(Version::new(0, 31, 3)));
        assert_eq!(version_of(text, "mlx"), Some(Version::new(0, 32, 0)));
        assert_eq!(
            version_of("oMLX 0.6.3rc2".to_lowercase().as_str(), "omlx"),
            Some(Version::new(0, 6, 3))
        );
        assert_eq!(version_of("mlx-lm main / mlx 0.32.1", "mlx-lm"), None);
        assert_eq!(named("omlx 0.6.3rc2"), Some(Program::Omlx));
        assert_eq!(named("rapid-mlx/vllm-mlx"), Some(Program::VllmMlx));
        assert_eq!(named("ax-engine (mlx)"), None);
    }
}
