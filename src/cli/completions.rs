//! `mlxplan completions SHELL`.

use super::args::{Cli, CompletionsArgs};
use super::{Context, Verdict, output};
use anyhow::Result;
use clap::CommandFactory;

pub(super) fn run(context: &Context, args: &CompletionsArgs) -> Result<Verdict> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mlxplan", &mut script);
    match &context.global.output {
        Some(path) => output::write_file(path, &script)?,
        None => output::write_stdout(&script)?,
    }
    Ok(Verdict::Ok)
}
