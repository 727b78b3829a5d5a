//! What programs on MLX do to their own memory, by version: limits, and attention in tiles.

use super::llama::{Moment, changes, number};
use super::{Engines, Release};
use crate::hardware::cap::MemoryCap;
use crate::run::{Program, Tiles, Version};

impl Engines {
    /// The limit of memory that a version of a program sets itself, where it has one.
    pub(super) fn cap(&self, program: Program, version: Option<Version>) -> Option<MemoryCap> {
        let row = self.row(program)?;
        let kind = row.memory_cap?;
        let version = version.or_else(|| self.newest(program));
        let dated = version.and_then(|version| {
            let at = Moment { row, version };
            changes(row.memory_cap_percent.as_ref()).iter().rev().find(|c| at.reached(c))
        });
        let stated = dated.and_then(number).and_then(|n| u8::try_from(n).ok());
        let share = || row.memory_fraction.map(|share| (100.0 * share).round() as u8);
        Some(MemoryCap { kind, percent: stated.or_else(share)? })
    }

    /// Whether a version of a program cuts wide attention into tiles.
    pub(super) fn tiles(&self, program: Program, version: Option<Version>) -> Tiles {
        let Some(row) = self.row(program) else { return Tiles::Never };
        let version = version.or_else(|| self.newest(program));
        let since = |from: Option<Release>| from.zip(version).is_some_and(|(f, v)| f.0 <= v);
        if since(row.tiles_heads_always_from) {
            Tiles::Always
        } else if since(row.tiles_heads_from) {
            Tiles::Perhaps
        } else {
            Tiles::Never
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::programs::AskedEngine;
    use crate::hardware::cap::CapKind;

    #[test]
    fn limits_follow_versions() {
        let of = |engine: &str| {
            let asked = AskedEngine {
                engine: Some(engine.parse().expect("a name")),
                ..AskedEngine::default()
            };
            let setup = asked.setup().expect("a good file");
            (setup.cap.map(|c| (c.kind, c.percent)), setup.tiles)
        };
        assert_eq!(of("omlx@0.5.2"), (Some((CapKind::Refuses, 90)), Tiles::Perhaps));
        assert_eq!(of("omlx@0.4.1"), (Some((CapKind::Refuses, 90)), Tiles::Never));
        assert_eq!(of("omlx"), (Some((CapKind::Refuses, 95)), Tiles::Always));
        assert_eq!(of("vllm-metal"), (Some((CapKind::Reserves, 92)), Tiles::Never));
        assert_eq!(of("rapid-mlx"), (Some((CapKind::Waits, 90)), Tiles::Never));
        assert_eq!(of("mlx-lm"), (None, Tiles::Never));
    }
}
