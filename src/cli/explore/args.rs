//! Arguments of `explore`: what the screen starts with.

use super::inquiry::Inquiry;
use crate::cli::shared::draft_args::DraftArgs;
use crate::cli::shared::machine_args::MachineArgs;
use crate::cli::shared::names;
use crate::cli::shared::run_args::RunArgs;
use clap::Args;
use clap_complete::engine::ArgValueCompleter;

/// Arguments of `explore`.
#[derive(Debug, Args)]
pub struct ExploreArgs {
    /// The model to start with, as predict takes it; without it, the screen asks
    #[arg(add = ArgValueCompleter::new(names::models), long, value_name = "MODEL")]
    pub model: Option<String>,

    /// Quantization, where the name does not say
    #[arg(long, value_name = "QUANT")]
    pub quant: Option<String>,

    /// Read an unknown model_type as if it were this one
    #[arg(long, value_name = "MODEL_TYPE")]
    pub assume: Option<String>,

    /// Drafts.
    #[command(flatten)]
    pub drafts: DraftArgs,

    /// The machine.
    #[command(flatten)]
    pub machine: MachineArgs,

    /// The run.
    #[command(flatten)]
    pub run: RunArgs,
}

impl ExploreArgs {
    /// What the screen asks first.
    pub(super) fn inquiry(&self) -> Inquiry {
        let Self { model, quant, assume, drafts, machine, run } = self;
        Inquiry {
            model: model.clone(),
            quant: quant.clone(),
            assume: assume.clone(),
            drafts: drafts.clone(),
            machine: machine.clone(),
            run: run.clone(),
        }
    }
}
