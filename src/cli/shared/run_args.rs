//! The run that arguments describe, and the one conversion of what was typed.

use super::engine_args::EngineArgs;
use super::limit_args::LimitArgs;
use super::numbers::{kv_bits, whole};
use crate::graph::cache::KvQuantization;
use crate::hardware::power::PowerSetting;
use crate::ledger::llama_cpp::KvType;
use crate::run::{Images, Run, RunConditions};
use crate::units::Bytes;
use anyhow::{Result, anyhow, bail};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};
use std::path::PathBuf;

/// The run to plan for.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Tokens in the cache when generation starts (the prompt)
    #[arg(long, value_name = "TOKENS", default_value_t = 4096, value_parser = |s: &str| whole::<u32>(s, 1..=16_777_216))]
    pub context: u32,

    /// Tokens generated
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = |s: &str| whole::<u32>(s, 1..=1_048_576))]
    pub generate: u32,

    /// Sequences processed together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = |s: &str| whole::<u32>(s, 1..=512))]
    pub batch: u32,

    /// Images in the prompt beside the tokens of --context, as many as N, each of W by H pixels (default: 1024x1024)
    #[arg(long, value_name = "N[@WxH]")]
    pub images: Option<Images>,

    /// Bits of a quantized KV cache: 4 or 8 (also 2, 3, 5, 6)
    #[arg(long, value_name = "BITS", value_parser = kv_bits)]
    pub kv_bits: Option<u32>,

    /// Type of the KV cache, as llama.cpp names it: f16, q8_0, q4_0 (the same as --kv-bits 8 and 4)
    #[arg(long, value_name = "TYPE", conflicts_with = "kv_bits")]
    pub kv_type: Option<KvType>,

    /// Memory for the caches of earlier prompts that a server keeps (mlx_lm.server's --prompt-cache-bytes, llama-server's
    /// --cache-ram): 8GB, 0GB for none [default: the engine's own rule]
    #[arg(long, value_name = "SIZE")]
    pub prompt_cache: Option<Bytes>,

    /// Sequences that the server keeps room for (llama-server's -np, OLLAMA_NUM_PARALLEL, mlx_lm.server's
    /// --decode-concurrency)
    #[arg(long, value_name = "N", value_parser = |s: &str| whole::<u32>(s, 1..=512))]
    pub parallel: Option<u32>,

    /// Tokens of a prefill chunk (mlx-lm's --prefill-step-size) [default: the engine's; 2048 for mlx-lm]
    #[arg(long, value_name = "TOKENS", value_parser = |s: &str| whole::<u32>(s, 1..=16_777_216))]
    pub prefill_step: Option<u32>,

    /// Memory that the run may take.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// Results with runs of this very model, program and machine, which the speeds follow: of bench or validate, of llama-bench
    /// (-o json or jsonl), llmfit, mlx-chronos, mlx_lm.benchmark or oMLX, or rows with the columns of data/measurements.csv
    #[arg(long, value_name = "FILE")]
    pub evidence: Option<PathBuf>,

    /// Power mode of the Mac [default: automatic]
    #[arg(long, value_enum, value_name = "MODE")]
    pub power: Option<PowerArg>,

    /// Minutes of work without a pause, after which speeds are shown as well [default: 10]
    #[arg(long, value_name = "MINUTES", value_parser = |s: &str| whole::<u32>(s, 0..=10_000))]
    pub sustained: Option<u32>,

    /// Seconds without work for the GPU before the prompt: after more than one, macOS has let the weights go, and the first
    /// token waits for them [default: runs follow one another]
    #[arg(long, value_name = "SECONDS", value_parser = |s: &str| whole::<u32>(s, 0..=604_800))]
    pub idle: Option<u32>,

    /// The engine.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// A power mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PowerArg {
    /// Low Power Mode.
    Low,
    /// Automatic.
    Automatic,
    /// High Power.
    High,
    /// On battery.
    Battery,
}

impl From<PowerArg> for PowerSetting {
    fn from(arg: PowerArg) -> Self {
        match arg {
            PowerArg::Low => Self::Low,
            PowerArg::Automatic => Self::Automatic,
            PowerArg::High => Self::High,
            PowerArg::Battery => Self::Battery,
        }
    }
}

impl Default for RunArgs {
    fn default() -> Self {
        let run = crate::run::Run::default();
        Self {
            context: run.work.context_tokens,
            generate: run.work.generate_tokens,
            batch: run.work.batch,
            images: run.work.images,
            kv_bits: None,
            kv_type: None,
            prompt_cache: None,
            parallel: None,
            prefill_step: None,
            limits: LimitArgs::default(),
            power: None,
            sustained: None,
            idle: None,
            evidence: None,
            engine: EngineArgs::default(),
        }
    }
}

impl RunArgs {
    /// The run.
    pub(in crate::cli) fn run(&self) -> Result<Run> {
        self.run_on(false)
    }

    /// The run, on this machine (`here`) with the engine that is installed, where none is said.
    pub(in crate::cli) fn run_on(&self, here: bool) -> Result<Run> {
        let run = Run::default()
            .with_engine(self.engine.setup(self.prefill_step, here)?)
            .with_context(self.context)
            .with_generated(self.generate)
            .with_batch(self.batch)
            .with_conditions(RunConditions {
                power: self.power.map(PowerSetting::from),
                sustained_minutes: self.sustained,
                idle_s: self.idle,
            })
            .with_images(self.images)
            .with_kv(self.cache()?)
            .with_prompt_cache(self.prompt_cache)
            .with_parallel(self.parallel);
        self.limits.applied(run)
    }
}

impl RunArgs {
    /// The cache, by either option.
    fn cache(&self) -> Result<Option<KvQuantization>> {
        match self.kv_type {
            None => kv_quantization(self.kv_bits),
            Some(kind) => kind.quantization().map_err(|e| anyhow!("--kv-type {e}")),
        }
    }
}

/// The arguments of a run, and which of them were given: what is a default may be otherwise in truth.
#[derive(Clone, Debug, Default)]
pub struct StatedRun {
    /// The arguments.
    pub args: RunArgs,
    /// Whether the prompt was given.
    pub context: bool,
    /// Whether the output was given.
    pub generate: bool,
}

impl Args for StatedRun {
    fn augment_args(command: Command) -> Command {
        RunArgs::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        RunArgs::augment_args_for_update(command)
    }
}

impl FromArgMatches for StatedRun {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let (context, generate) = (given("context"), given("generate"));
        Ok(Self { args: RunArgs::from_arg_matches(matches)?, context, generate })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The `--kv-bits` option.
pub(in crate::cli) fn kv_quantization(bits: Option<u32>) -> Result<Option<KvQuantization>> {
    match bits {
        None => Ok(None),
        Some(bits) => match KvQuantization::of_bits(bits) {
            None => bail!("--kv-bits {bits}: MLX quantizes to 2, 3, 4, 5, 6 or 8 bits"),
            kv => Ok(kv),
        },
    }
}
