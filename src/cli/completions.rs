//! `mlxplan completions SHELL`: a script with which the shell asks mlxplan itself, so that it completes the names of
//! models and Macs.

use super::shared::context::Printer;
use super::shared::exit::ExitStatus;
use super::shared::output;
use anyhow::{Result, anyhow};
use clap::Args;
use clap_complete::env::Shells;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Environment variable by which the shell asks; its value is the shell.
pub(super) const VARIABLE: &str = "MLXPLAN_COMPLETE";

pub(super) fn run(printer: &Printer, args: &CompletionsArgs) -> Result<ExitStatus> {
    let name = args.shell.to_string();
    let shells = Shells::builtins();
    let shell = shells.completer(&name).ok_or_else(|| anyhow!("no completions for {name}"))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "mlxplan", "mlxplan", "mlxplan", &mut script)?;
    match &printer.output {
        Some(path) => output::write_file(path, &script)?,
        None => output::write_stdout(&script)?,
    }
    Ok(ExitStatus::Ok)
}
