//! The engine that runs the model, as it is typed.

use super::names;
use crate::engine::programs::AskedEngine;
use crate::run::{EngineName, MatrixUnits, Version};
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
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Nax::Auto, hide_default_value = true)]
    pub nax: Nax,
}

/// Whether MLX uses the matrix units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Nax {
    /// Where MLX and macOS are recent enough.
    #[default]
    Auto,
    /// It does.
    On,
    /// It does not, as with wheels for macOS 14 and 15.
    Off,
}

impl EngineArgs {
    /// The engine as it was asked for, with the chunk.
    pub(in crate::cli) fn asked(&self, prefill_step: Option<u32>) -> AskedEngine {
        let Self { engine, mlx, macos, nax } = *self;
        let matrix_units = match nax {
            Nax::Auto => MatrixUnits::Auto,
            Nax::On => MatrixUnits::On,
            Nax::Off => MatrixUnits::Off,
        };
        AskedEngine { engine, mlx, macos, matrix_units, prefill_step }
    }
}
