//! `mlxplan check PLAN.toml`: will the workloads hold?

pub(super) mod answer;

use super::args::MachineArgs;
use super::plan_args::CheckArgs;
use super::{Context, Verdict};
use crate::advise::check::{LONGEST, Lookup, check, read};
use crate::estimate::Outcome;
use crate::files;
use crate::report::Answer;
use crate::roofline::Coefficients;
use answer::CheckAnswer;
use anyhow::{Context as _, Result, bail};

pub(super) fn run(context: &Context, args: &CheckArgs) -> Result<(Answer, Verdict)> {
    let name = args.plan.display().to_string();
    let text = files::text(&args.plan, LONGEST as u64)
        .with_context(|| format!("cannot read the plan {name}"))?;
    let lookup = Lookup {
        model: &|model, quant| context.one_model(model, quant, None).map_err(|e| format!("{e:#}")),
        mac: &|spec| {
            let args = MachineArgs { mac: Some(spec.to_owned()), ..MachineArgs::default() };
            context.machine(&args).map_err(|e| format!("{e:#}"))
        },
    };
    let plan = match read(&name, &text, &lookup) {
        Ok(plan) => plan,
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            bail!("the plan has mistakes:\n{}", lines.join("\n"))
        }
    };
    let report = check(&plan, &context.catalogue, Coefficients::embedded()?)?;
    let verdict = match report.outcome() {
        Outcome::Pass => Verdict::Ok,
        Outcome::Uncertain => Verdict::Uncertain,
        Outcome::Fail => Verdict::No,
    };
    Ok((Answer::of(CheckAnswer::of(&plan, report)), verdict))
}
