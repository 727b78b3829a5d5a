//! The engine of a workload in a plan, by the same words as on the command line.

use crate::engine::programs::AskedEngine;
use crate::hardware::catalog::document::{DataEntry, Field};
use crate::run::{EngineSetup, MatrixUnits};
use std::fmt::Display;
use std::str::FromStr;
use toml::de::DeValue;

/// Reads the keys `engine`, `mlx`, `macos`, `nax` and `prefill_step`.
pub(super) fn read(entry: &mut DataEntry<'_>) -> Option<EngineSetup> {
    let chunk = entry.has("prefill_step");
    let asked = AskedEngine {
        engine: parsed(entry, "engine"),
        mlx: parsed(entry, "mlx"),
        macos: parsed(entry, "macos"),
        matrix_units: entry.optional("nax").unwrap_or_default(),
        prefill_step: if chunk { entry.within("prefill_step", None, 1..=16_777_216) } else { None },
    };
    match asked.setup() {
        Ok(setup) => Some(setup),
        Err(e) => {
            entry.wrong("engine", e.to_string());
            None
        }
    }
}

/// A text that is read further.
fn parsed<T: FromStr<Err: Display>>(entry: &mut DataEntry<'_>, key: &str) -> Option<T> {
    let text: String = entry.optional(key)?;
    match text.parse() {
        Ok(value) => Some(value),
        Err(e) => {
            entry.wrong(key, e.to_string());
            None
        }
    }
}

impl Field for MatrixUnits {
    const EXPECTED: &'static str = "\"on\", \"off\" or \"auto\"";
    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "auto" => Some(Self::Auto),
            "on" => Some(Self::On),
            "off" => Some(Self::Off),
            _ => None,
        }
    }
}
