//! The engine that a measurement names, as far as it does: program, its version, MLX's, and that of macOS.

use super::measurement::Measurement;
use crate::engine::programs::AskedEngine;
use crate::run::{EngineName, EngineSetup, Program, Version};

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
        asked.setup().unwrap_or_default()
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

/// The program that a text names as the server, or what it is called; mlx_lm.server where it names none.
fn served_by(text: &str) -> Program {
    let first = || text.split_whitespace().next()?.trim_end_matches(',').parse().ok();
    named(text).or_else(first).unwrap_or(Program::MlxServer)
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
