//! Versions that are older or newer than all that are known: the rules of the nearest one are taken, which is said.

use super::warning::Warning;
use crate::engine::programs::Engines;
use crate::run::{EngineSetup, Version};

/// Versions of an engine that are older or newer than all that are listed.
pub(super) fn of_engine(engine: &EngineSetup) -> Vec<Warning> {
    let Ok(all) = Engines::embedded() else { return Vec::new() };
    let beyond = |name: &str, version: Version, listed: Option<[Version; 2]>| {
        let [oldest, newest] = listed?;
        let comparable =
            version.is_day() == oldest.is_day() && version.is_build() == oldest.is_build();
        // Of a single version that is listed only the day is known.
        let older = version < oldest && oldest < newest;
        let nearest = if older { oldest } else { newest };
        let name = name.to_owned();
        (comparable && (older || version > newest)).then_some(Warning::UnlistedVersion {
            name,
            version,
            nearest,
        })
    };
    let program = engine.program;
    let own = engine.version.and_then(|v| beyond(program.name(), v, all.listed(program)));
    let on_mlx = !program.runs_gguf() && engine.mlx.is_known();
    let mlx = on_mlx.then(|| beyond("MLX", engine.mlx.taken, all.listed_mlx())).flatten();
    own.into_iter().chain(mlx).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::programs::AskedEngine;

    fn said(engine: &str, mlx: Option<&str>) -> Vec<String> {
        let asked = AskedEngine {
            engine: Some(engine.parse().expect("an engine")),
            mlx: mlx.map(|v| v.parse().expect("a version")),
            ..AskedEngine::default()
        };
        let setup = asked.setup().expect("a good file");
        of_engine(&setup).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn versions_beyond_what_is_known_are_said() {
        for known in
            ["mlx-lm", "mlx-lm@0.28.1", "lm-studio@0.3.39", "ollama@0.24.0", "llama.cpp@b4561"]
        {
            assert_eq!(said(known, None), [""; 0], "{known}");
        }
        let older =
            "mlx-lm 0.1.0 is older than any that is known here: the rules of 0.21.0 are taken";
        assert_eq!(said("mlx-lm@0.1.0", None), [older]);
        let newer =
            "ollama 9.0.0 is newer than any that is known here: the rules of 0.32.15 are taken";
        assert_eq!(said("ollama@9.0", None), [newer]);
        let mlx = "MLX 0.10.0 is older than any that is known here: the rules of 0.22.0 are taken";
        assert_eq!(said("mlx-lm", Some("0.10")), [mlx]);
    }
}
