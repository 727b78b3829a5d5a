//! The engine that runs the model, as it is typed.

use super::names;
use crate::engine::installed::{Installed, Places, find};
use crate::engine::programs::AskedEngine;
use crate::run::{EngineName, EngineSetup, MatrixUnits, Program, Version};
use anyhow::Result;
use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;

/// The engine that runs the model.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Engine")]
pub struct EngineArgs {
    /// The program, and its version if it is not the newest: mlx-lm, mlx-lm-server, mlx-vlm, mlx-swift, lm-studio,
    /// lm-studio-gguf, omlx, vllm-mlx, vllm-metal, rapid-mlx, vmlx, mtplx, exo, llama.cpp, ollama, ollama-mlx
    /// (mlx-lm@0.31.3, llama.cpp@b9452, lm-studio@2026-06-11) [default: mlx-lm]
    #[arg(add = ArgValueCompleter::new(names::engines), long, value_name = "PROGRAM[@VERSION]")]
    pub engine: Option<EngineName>,

    /// Version of MLX that the program runs on [default: that of the program's version]
    #[arg(long, value_name = "VERSION")]
    pub mlx: Option<Version>,

    /// Version of macOS
    #[arg(long, value_name = "VERSION")]
    pub macos: Option<Version>,

    /// Whether MLX uses the matrix units of M5 and later: auto is where MLX and macOS are recent enough
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = NaxArg::Auto, hide_default_value = true)]
    pub nax: NaxArg,
}

/// Whether MLX uses the matrix units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NaxArg {
    /// Where MLX and macOS are recent enough.
    #[default]
    Auto,
    /// It does.
    On,
    /// It does not, as with wheels for macOS 14 and 15.
    Off,
}

/// The newest mlx-lm that is installed, for a run on this machine of which no engine is said.
fn installed() -> Option<Installed> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    let all = find(&Places::here()?).ok()?;
    all.into_iter().find(|i| i.program == Program::MlxLm)
}

impl EngineArgs {
    /// The settings of the engine; on this machine those of what is installed, where nothing else is said.
    pub(in crate::cli) fn setup(
        &self,
        prefill_step: Option<u32>,
        here: bool,
    ) -> Result<EngineSetup> {
        let asked = self.asked(prefill_step);
        let here = here && self.engine.is_none() && self.mlx.is_none();
        let Some(found) = here.then(installed).flatten() else { return Ok(asked.setup()?) };
        let engine = EngineName { program: found.program, version: found.version };
        Ok(found.applied(AskedEngine { engine: Some(engine), ..asked }.setup()?))
    }

    /// The engine as it was asked for, with the chunk.
    pub(in crate::cli) fn asked(&self, prefill_step: Option<u32>) -> AskedEngine {
        let Self { engine, mlx, macos, nax } = *self;
        let matrix_units = match nax {
            NaxArg::Auto => MatrixUnits::Auto,
            NaxArg::On => MatrixUnits::On,
            NaxArg::Off => MatrixUnits::Off,
        };
        AskedEngine { engine, mlx, macos, matrix_units, prefill_step }
    }
}
