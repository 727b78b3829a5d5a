//! The run that arguments describe, and the one conversion of what was typed.

use super::engine_args::EngineArgs;
use crate::graph::cache::KvQuantisation;
use crate::run::{Images, Run};
use crate::units::Bytes;
use anyhow::{Result, bail};
use clap::Args;

/// The run to plan for.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Tokens in the cache when generation starts (the prompt)
    #[arg(long, value_name = "TOKENS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub context: u32,

    /// Tokens generated
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub generate: u32,

    /// Sequences processed together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub batch: u32,

    /// Images in the prompt beside the tokens of --context, as many as N, each of W by H pixels (default: 1024x1024)
    #[arg(long, value_name = "N[@WxH]")]
    pub images: Option<Images>,

    /// Bits of a quantised KV cache: 4 or 8 (also 2, 3, 5, 6)
    #[arg(long, value_name = "BITS")]
    pub kv_bits: Option<u32>,

    /// Tokens of a prefill chunk (mlx-lm's --prefill-step-size) [default: the engine's; 2048 for mlx-lm]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub prefill_step: Option<u32>,

    /// Memory kept for macOS and other programs, in GB (default: 8 GiB or 1/16 of the memory, whichever is more, and
    /// no more than a quarter)
    #[arg(long, value_name = "GB")]
    pub reserve: Option<f64>,

    /// The engine.
    #[command(flatten)]
    pub engine: EngineArgs,
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
            prefill_step: None,
            reserve: None,
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
        let reserve = match self.reserve {
            Some(gb) if !(0.0..=100_000.0).contains(&gb) => {
                bail!("--reserve {gb}: a number of GB from 0 to 100000")
            }
            gb => gb.map(Bytes::from_gb),
        };
        Ok(Run::default()
            .with_engine(self.engine.setup(self.prefill_step, here)?)
            .with_context(self.context)
            .with_generated(self.generate)
            .with_batch(self.batch)
            .with_images(self.images)
            .with_kv(kv_quantisation(self.kv_bits)?)
            .with_reserve(reserve))
    }
}

/// The `--kv-bits` option.
pub(in crate::cli) fn kv_quantisation(bits: Option<u32>) -> Result<Option<KvQuantisation>> {
    match bits {
        None => Ok(None),
        Some(bits @ (2 | 3 | 4 | 5 | 6 | 8)) => Ok(Some(KvQuantisation::bits(bits))),
        Some(other) => bail!("--kv-bits {other}: MLX quantises to 2, 3, 4, 5, 6 or 8 bits"),
    }
}
