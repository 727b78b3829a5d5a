//! `mlxplan check PLAN.toml`: will the workloads hold?

pub(super) mod answer;
mod training;

use super::shared::context::Context;
use super::shared::evidence::{EvidenceFile, Wanted};
use super::shared::exit::ExitStatus;
use super::shared::machine_args::MachineArgs;
use crate::advise::check::{LONGEST, Lookup, check, read};
use crate::estimate::{Basis, Outcome};
use crate::files;
use crate::report::Answer;
use crate::roofline::Coefficients;
use answer::CheckAnswer;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The plan: Macs, workloads and what must hold, in TOML (examples/*.toml)
    #[arg(value_name = "PLAN.toml")]
    pub plan: PathBuf,
}

pub(super) fn run(context: &Context, args: &CheckArgs) -> Result<(Answer, ExitStatus)> {
    let name = args.plan.display().to_string();
    let text = files::text(&args.plan, LONGEST as u64)
        .with_context(|| format!("cannot read the plan {name}"))?;
    checked(context, &name, &text)
}

/// The same of a plan's text, which messages call `name`.
pub(super) fn checked(context: &Context, name: &str, text: &str) -> Result<(Answer, ExitStatus)> {
    let lookup = Lookup {
        model: &|program, model, quant| {
            let opened = context.one_model_for(program, model, quant, None);
            let model = opened.map_err(|e| format!("{e:#}"))?;
            model.loaded_by(program).map_err(|e| e.to_string())
        },
        mac: &|spec| {
            let args = MachineArgs { mac: Some(spec.to_owned()), ..MachineArgs::default() };
            context.machine(&args).map_err(|e| format!("{e:#}"))
        },
        evidence: &|file, model, macs, run| {
            let wanted = Wanted { context, model, machines: Some(macs), run };
            let runs =
                EvidenceFile::read(context, Path::new(file)).and_then(|file| file.runs(&wanted));
            runs.map(Basis::Measured).map_err(|e| format!("{e:#}"))
        },
    };
    let plan = match read(name, text, &lookup) {
        Ok(plan) => plan,
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            bail!("the plan has mistakes:\n{}", lines.join("\n"))
        }
    };
    let report = check(&plan, &context.catalogs.macs, Coefficients::embedded()?)?;
    let verdict = match report.outcome() {
        Outcome::Pass => ExitStatus::Ok,
        Outcome::Uncertain => ExitStatus::Uncertain,
        Outcome::Fail => ExitStatus::No,
    };
    Ok((Answer::of(CheckAnswer::of(&plan, report)), verdict))
}
