//! `recommend --draft`: what drafts do to the most precise choice that fits.

use super::Wanted;
use super::args::RecommendArgs;
use crate::cli::shared::context::Context;
use crate::cli::shared::drafts::{Drafts, status_with};
use crate::cli::shared::exit::ExitStatus;
use crate::cli::shared::words::format_name;
use crate::estimate::memory::Fits;
use crate::estimate::{Basis, Estimator, Run};
use crate::hardware::SpecError;
use crate::hardware::machine::Machine;
use crate::report::Answer;
use crate::roofline::Coefficients;
use anyhow::{Error, Result, anyhow, bail};

pub(super) fn answer(
    context: &Context,
    args: &RecommendArgs,
    (wanted, machine): (Option<Wanted>, Result<Machine, Box<SpecError>>),
    run: Run,
) -> Result<(Answer, ExitStatus)> {
    let Some(wanted) = wanted else {
        bail!("--draft: name the model that it drafts for with --model")
    };
    let machine = machine.map_err(|why| Error::from(*why))?;
    let first = wanted.candidates.first().ok_or_else(|| anyhow!("no model matches"))?;
    if let Some(other) = wanted.candidates.iter().find(|c| c.model.id != first.model.id) {
        bail!(
            "--draft needs one model, and several match: {}, {} …; name one with --model",
            first.model.id,
            other.model.id
        );
    }
    let (coefficients, program) = (Coefficients::embedded()?, run.engine.program);
    let run = args.drafts.on(run);
    let mut chosen = None;
    for candidate in &wanted.candidates {
        let model = &candidate.model;
        let Some(drafts) = Drafts::open(context, &args.drafts, model, program)? else { continue };
        let estimator = Estimator::new(coefficients, model, run, Basis::Spec);
        let fits = drafts.beside(estimator)?.memory(&machine)?.judgment.fits;
        let fitting = fits != Fits::No;
        if fitting || chosen.is_none() {
            chosen = Some((model, drafts, fitting));
        }
        if fitting {
            break;
        }
    }
    let Some((model, drafts, fitting)) = chosen else { bail!("no model matches") };
    let estimator = Estimator::new(coefficients, model, run, Basis::Spec);
    let mut found = drafts.speculation(&estimator, &machine)?;
    if wanted.candidates.len() > 1 {
        let what = if fitting { "the most precise format that fits" } else { "no format fits" };
        found.notes.push(format!("{}: {what}; --quant names another", format_name(&model.quant)));
    }
    let memory = if fitting { ExitStatus::Ok } else { ExitStatus::No };
    let status = status_with(Some(&found), memory);
    Ok((Answer::of(found), status))
}
