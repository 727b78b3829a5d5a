//! The command line: arguments, one file per command, and what happens to their answers and errors.

pub mod args;
mod audit;
mod basis;
mod bench;
mod calibrate;
mod check;
mod compare;
mod completions;
mod doctor;
mod inspect;
mod keys;
mod known;
#[cfg(mlx)]
mod local;
mod macs;
mod models;
mod output;
pub mod plan_args;
mod predict;
mod probe;
mod progress;
mod published;
mod recommend;
pub mod reference;
mod report;
mod run_args;
pub mod schemas;
mod signals;
mod subjects;
mod tables;
mod validate;
mod welcome;
mod words;

use crate::data_dir::DataDirs;
use crate::hardware::Catalogue;
use crate::report::{Answer, Format};
use anyhow::{Result, bail};
use args::{Cli, Command, Global, ProbeArgs, RecommendArgs};
use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;
use std::process::ExitCode;
use std::sync::OnceLock;

/// What a command decided, as the exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done, and what was asked fits or passes.
    Ok = 0,
    /// It does not fit, or a check failed.
    No = 1,
    /// The interval straddles the limit.
    Uncertain = 3,
    /// A signal ended it early; the answer holds what there was.
    Interrupted = 130,
}

/// Said by commands that need MLX in a build without it.
#[cfg(not(mlx))]
const NO_MLX: &str = "this mlxplan was built without MLX, which this needs; from the source folder, \
                      `cargo xtask run -- ARGS` builds it in and runs it";

/// Exit code of usage, input and environment errors.
const ERROR: u8 = 2;

/// What commands share: flags and data.
pub struct Context {
    /// Flags of every command.
    pub global: Global,
    /// Folders with the user's data.
    pub data: DataDirs,
    /// Chips, Macs and limits.
    pub catalogue: Catalogue,
    models: OnceLock<crate::model::catalogue::Catalogue>,
}

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
        Ok(verdict) => ExitCode::from(verdict as u8),
        Err(e) if output::is_closed_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            output::say(&format!("error: {}", output::error_text(&e)));
            ExitCode::from(ERROR)
        }
    }
}

fn run(cli: Cli) -> Result<Verdict> {
    if cli.global.format == Format::Junit && !matches!(cli.command, Some(Command::Check(_))) {
        bail!("--format junit: only check answers in it; choose table, json, csv or markdown");
    }
    let data = DataDirs::discover(cli.global.data_dir.as_deref())?;
    let catalogue = Catalogue::new(data.clone());
    let context = Context { global: cli.global, data, catalogue, models: OnceLock::new() };
    context.data.notes().iter().for_each(|note| context.hint(note));
    if matches!(cli.command, Some(Command::Recommend(_) | Command::Predict(_))) {
        compute_here();
    }
    match cli.command {
        Some(Command::Probe(a)) => context.answer(probe::run(&context, &a)?),
        Some(Command::Models(a)) => context.answer(models::run(&context, &a)?),
        Some(Command::Inspect(a)) => context.answer(inspect::run(&context, &a)?),
        Some(Command::Validate(a)) => context.answer(validate::run(&context, &a)?),
        Some(Command::Macs(a)) => context.answer(macs::run(&context, &a)?),
        Some(Command::Audit(a)) => context.answer(audit::run(&context, &a)?),
        Some(Command::Bench(a)) => bench::run(&context, &a),
        Some(Command::Calibrate(a)) => context.answer(calibrate::run(&context, &a)?),
        Some(Command::Doctor) => context.answer(doctor::run(&context)?),
        Some(Command::Completions(a)) => completions::run(&context, &a),
        Some(Command::Recommend(a)) => context.answer(recommend::run(&context, &a)?),
        Some(Command::Check(a)) => context.answer(check::run(&context, &a)?),
        Some(Command::Report(a)) => report::run(&context, &a),
        Some(Command::Compare(a)) => context.answer(compare::run(&context, &a)?),
        Some(Command::Predict(a)) => context.answer(predict::run(&context, &a)?),
        None => welcome(&context),
    }
}

/// Bare `mlxplan`: the answers of two commands as one.
fn welcome(context: &Context) -> Result<Verdict> {
    let (this, verdict) = probe::run(context, &ProbeArgs::default())?;
    let recommendation = recommend::run(context, &RecommendArgs::default());
    let welcome = welcome::Welcome::new(this, recommendation.map(|(answer, _)| answer));
    context.answer((Answer::of(welcome), verdict))
}

/// Makes this thread one of those that compute in parallel: starting one more and waiting for it costs a short command
/// a tenth of its time.
fn compute_here() {
    // A pool that is there already serves as well.
    let _ = rayon::ThreadPoolBuilder::new().use_current_thread().build_global();
}

impl Context {
    /// Writes an answer to where the user wants it.
    fn answer(&self, (answer, verdict): (Answer, Verdict)) -> Result<Verdict> {
        output::write(&self.global, &answer)?;
        Ok(verdict)
    }

    /// Says something on standard error, unless the user wants quiet.
    pub fn hint(&self, text: &str) {
        if !self.global.quiet {
            output::say(&format!("hint: {text}"));
        }
    }
}
