//! The command line: arguments, one file per command, and what happens to their answers and errors.

pub mod args;
mod audit;
mod bench;
mod calibrate;
mod check;
mod compare;
mod completions;
mod doctor;
#[cfg(feature = "explore")]
mod explore;
mod finetune;
mod inspect;
mod macs;
#[cfg(feature = "mcp")]
mod mcp;
mod models;
mod pages;
mod predict;
mod probe;
mod recommend;
pub mod reference;
mod report;
pub mod schemas;
mod shared;
mod update;
mod validate;
mod welcome;
mod why;

use crate::report::{Answer, Format};
use anyhow::{Result, bail};
use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;
use probe::ProbeArgs;
use recommend::args::RecommendArgs;
use shared::context::Context;
use shared::exit::{ERROR, ExitStatus};
use shared::output;
use std::process::ExitCode;

/// Parses the arguments of the process, runs the command and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    // Answers the shell and ends the process when it asks for completions.
    CompleteEnv::with_factory(Cli::command).var(completions::VARIABLE).complete();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            output::say_of_arguments(&e);
            let help = !e.use_stderr();
            return ExitCode::from(if help { 0 } else { ERROR });
        }
    };
    match run(cli) {
        Ok(status) => ExitCode::from(status as u8),
        Err(e) if output::is_closed_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            output::say(&format!("error: {}", output::error_text(&e)));
            ExitCode::from(ERROR)
        }
    }
}

fn run(mut cli: Cli) -> Result<ExitStatus> {
    if let Some(Command::Recommend(a)) = &mut cli.command
        && let Some(tokens) = a.users.output_tokens(&mut cli.global.output)?
    {
        a.run.args.generate = tokens;
    }
    if cli.global.format == Format::Junit && !matches!(cli.command, Some(Command::Check(_))) {
        bail!(
            "--format junit: only check answers in it; choose table, json, csv, markdown or html"
        );
    }
    #[cfg(feature = "mcp")]
    if let Some(Command::Mcp) = cli.command {
        return mcp::run(cli.global);
    }
    let context = Context::new(cli.global)?;
    let (printer, catalogs) = (&context.printer, &context.catalogs);
    catalogs.data.notes().iter().for_each(|note| printer.hint(note));
    catalogs.provenance().iter().for_each(|from| printer.detail(from));
    if matches!(cli.command, Some(Command::Recommend(_) | Command::Predict(_))) {
        compute_here();
    }
    match cli.command {
        Some(Command::Probe(a)) => printer.answer(probe::run(&context, &a)?),
        Some(Command::Models(a)) => printer.answer(models::run(&context, &a)?),
        Some(Command::Inspect(a)) => printer.answer(inspect::run(&context, &a)?),
        Some(Command::Validate(a)) => printer.answer(validate::run(&context, &a)?),
        Some(Command::Macs(a)) => printer.answer(macs::run(catalogs, &a)?),
        Some(Command::Audit(a)) => printer.answer(audit::run(&context, &a)?),
        Some(Command::Bench(a)) => bench::run(&context, &a),
        Some(Command::Calibrate(a)) => printer.answer(calibrate::run(&context, &a)?),
        Some(Command::Doctor) => printer.answer(doctor::run(catalogs, context.offline)?),
        Some(Command::Completions(a)) => completions::run(printer, &a),
        Some(Command::Recommend(a)) => printer.answer(recommend::run(&context, &a)?),
        Some(Command::Check(a)) => printer.answer(check::run(&context, &a)?),
        #[cfg(feature = "explore")]
        Some(Command::Explore(a)) => explore::run(context, &a, pages::of_inquiry),
        Some(Command::Report(a)) => pages::run(&context, &a),
        Some(Command::Compare(a)) => printer.answer(compare::run(&context, &a)?),
        Some(Command::Finetune(a)) => printer.answer(finetune::run(&context, &a)?),
        Some(Command::Why(a)) => printer.answer(why::run(&context, &a)?),
        Some(Command::Predict(a)) => printer.answer(predict::run(&context, &a)?),
        Some(Command::Update(a)) => printer.answer(update::run(&context, &a)?),
        // Returned above.
        #[cfg(feature = "mcp")]
        Some(Command::Mcp) => Ok(ExitStatus::Ok),
        None => welcome(&context),
    }
}

/// Bare `mlxplan`: the answers of two commands as one.
fn welcome(context: &Context) -> Result<ExitStatus> {
    let (this, status) = probe::run(context, &ProbeArgs::default())?;
    let recommendation = recommend::run(context, &RecommendArgs::default());
    let welcome = welcome::Welcome::new(this, recommendation.map(|(answer, _)| answer));
    context.printer.answer((Answer::of(welcome), status))
}

/// Makes this thread one of those that compute in parallel: starting one more and waiting for it costs a short command
/// a tenth of its time.
fn compute_here() {
    // A pool that is there already serves as well.
    let _ = rayon::ThreadPoolBuilder::new().use_current_thread().build_global();
}
