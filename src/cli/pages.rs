//! What `report` writes: the page of models on Macs, or of what another command answers.

use super::check::{self, CheckArgs};
use super::predict::{self, args::PredictArgs};
use super::recommend::{self, args::RecommendArgs};
use super::report::{self, args::ReportArgs};
use super::shared::context::Context;
use super::shared::draft_args::DraftArgs;
use super::shared::exit::ExitStatus;
use super::shared::machine_args::MachineArgs;
use crate::bench::record;
use crate::report::Answer;
use anyhow::{Result, bail};

pub(super) fn run(context: &Context, args: &ReportArgs) -> Result<ExitStatus> {
    let (answer, _) = match args {
        ReportArgs { plan: Some(plan), .. } => {
            check::run(context, &CheckArgs { plan: plan.clone() })?
        }
        ReportArgs { bench: Some(result), .. } => {
            (Answer::of(record::read(result)?), ExitStatus::Ok)
        }
        ReportArgs { session: Some(session), .. } => {
            predict::run(context, &session_args(args, session)?)?
        }
        ReportArgs { users: Some(users), .. } => {
            recommend::run(context, &users_args(args, *users)?)?
        }
        _ => return report::run(context, args),
    };
    report::answer(context, &answer)
}

/// The one model and the one Mac of a page that is about one of each.
fn one_each(args: &ReportArgs) -> Result<(String, MachineArgs)> {
    let ([model], [] | [_]) = (&args.model[..], &args.mac[..]) else {
        bail!("--session and --users: name one --model and one --mac");
    };
    let machine = MachineArgs { mac: args.mac.first().cloned(), ..MachineArgs::default() };
    Ok((model.clone(), machine))
}

fn session_args(args: &ReportArgs, session: &str) -> Result<PredictArgs> {
    let (model, machine) = one_each(args)?;
    Ok(PredictArgs {
        model,
        quant: args.quant.clone(),
        depths: Vec::new(),
        turn: None,
        session: Some(session.to_owned()),
        explain: false,
        time_layers: false,
        force: false,
        assume: None,
        drafts: DraftArgs::default(),
        machine,
        run: args.run.clone(),
    })
}

fn users_args(args: &ReportArgs, users: u32) -> Result<RecommendArgs> {
    let (model, machine) = one_each(args)?;
    let mut all = RecommendArgs {
        model: Some(model),
        quant: args.quant.clone(),
        machine,
        ..RecommendArgs::default()
    };
    all.users.users = Some(users);
    all.users.rate = args.rate;
    all.run.args = args.run.clone();
    Ok(all)
}

/// The report of a question of the screen, as `mlxplan report` writes it.
#[cfg(feature = "explore")]
pub(super) fn of_inquiry(
    context: &Context,
    inquiry: &super::explore::Inquiry,
    path: &std::path::Path,
) -> Result<()> {
    let args = ReportArgs {
        model: inquiry.model.iter().cloned().collect(),
        mac: inquiry.machine.mac.iter().cloned().collect(),
        quant: inquiry.quant.clone(),
        run: inquiry.run.clone(),
        ..ReportArgs::default()
    };
    report::write(context, &args, (Some(path), &inquiry.report_command()))
}
