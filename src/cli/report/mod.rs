//! `mlxplan report`: a page with tables and plots, or one plot.

pub(super) mod args;
mod cluster;
mod drafts;
mod page;
mod plots;
mod training;

use super::shared::context::Context;
use super::shared::evidence;
use super::shared::exit::ExitStatus;
use super::shared::machine_args::MachineArgs;
use super::shared::output;
use super::shared::progress::Progress;
use super::shared::typed::typed;
use super::shared::words::short;
use crate::estimate::{Basis, Estimator, OpenedModel, Run};
use crate::hardware::machine::Machine;
use crate::report::Answer;
use crate::roofline::Coefficients;
use anyhow::{Result, bail};
use args::{Plot, ReportArgs};
use std::path::Path;

pub(super) fn run(context: &Context, args: &ReportArgs) -> Result<ExitStatus> {
    write(context, args, (context.printer.output.as_deref(), &typed()))?;
    Ok(ExitStatus::Ok)
}

/// Writes the page of another command's answer.
pub(super) fn answer(context: &Context, answer: &Answer) -> Result<ExitStatus> {
    let output = context.printer.output.as_deref();
    if let Some(path) = output {
        fits_content(path, false)?;
    }
    let text = answer.page(&typed())?;
    match output {
        Some(path) => output::write_file(path, text.as_bytes())?,
        None => output::write_stdout(text.as_bytes())?,
    }
    Ok(ExitStatus::Ok)
}

/// Writes what the arguments ask for to a file, or to standard output; a page says which command writes it.
pub(super) fn write(
    context: &Context,
    args: &ReportArgs,
    (output, command): (Option<&Path>, &str),
) -> Result<()> {
    if let Some(path) = output {
        fits_content(path, args.plot.is_some())?;
    }
    let progress = Progress::unknown(context.printer.quiet, "predicting");
    let text = match args.plot {
        Some(Plot::Measured) => plots::measured(context)?.svg().map_err(anyhow::Error::msg)?,
        Some(kind) => {
            let chart = plots::chart(context, &Case::open(context, args)?, kind)?;
            chart.svg().map_err(anyhow::Error::msg)?
        }
        None => page::render(context, &Case::open(context, args)?, (&progress, command))?,
    };
    drop(progress);
    if text.is_empty() {
        bail!("there is nothing to plot");
    }
    match output {
        Some(path) if args.plot.is_some() => output::write_plot(path, &text),
        Some(path) => output::write_file(path, text.as_bytes()),
        None => output::write_stdout(text.as_bytes()),
    }
}

/// The name of a file must not promise what is not written to it.
fn fits_content(path: &Path, plot: bool) -> Result<()> {
    if plot {
        return output::Picture::of(path).map(|_| ());
    }
    match path.extension().and_then(|e| e.to_str()) {
        Some(found) if !["html", "htm"].iter().any(|known| found.eq_ignore_ascii_case(known)) => {
            bail!(
                "--output {}: the page is written as HTML; name the file .html, or choose a plot with --plot",
                path.display()
            )
        }
        _ => Ok(()),
    }
}

/// What the report is about.
struct Case {
    subjects: Vec<OpenedModel>,
    /// What the speeds of each rest on.
    bases: Vec<Basis>,
    machines: Vec<Machine>,
    run: Run,
}

impl Case {
    fn open(context: &Context, args: &ReportArgs) -> Result<Self> {
        if args.model.is_empty() {
            bail!("--model: name at least one model, for example qwen3-32b-4bit");
        }
        let run = args.run.run()?;
        let program = run.engine.program;
        let open = |name: &String| {
            let model = context.one_model_for(program, name, args.quant.as_deref(), None)?;
            anyhow::Ok(model.loaded_by(program)?)
        };
        let machine = |spec: &String| {
            context.machine(&MachineArgs { mac: Some(spec.clone()), ..MachineArgs::default() })
        };
        let this = ["this".to_owned()];
        let specs = if args.mac.is_empty() { &this[..] } else { &args.mac[..] };
        let subjects: Vec<OpenedModel> = args.model.iter().map(open).collect::<Result<_>>()?;
        let machines: Vec<Machine> = specs.iter().map(machine).collect::<Result<_>>()?;
        let models: Vec<&OpenedModel> = subjects.iter().collect();
        let file = args.run.evidence.as_deref();
        let bases = evidence::bases(context, file, &models, (Some(&machines), &run))?;
        Ok(Self { subjects, bases, machines, run })
    }

    fn estimators<'a>(&'a self, coefficients: &'a Coefficients) -> Vec<Estimator<'a>> {
        let of = |(s, basis): (&'a OpenedModel, &Basis)| {
            Estimator::new(coefficients, s, self.run, basis.clone())
        };
        self.subjects.iter().zip(&self.bases).map(of).collect()
    }

    /// The first model and the first machine: what the plots of one of each are about.
    fn first<'a>(
        &'a self,
        coefficients: &'a Coefficients,
    ) -> Option<(&'a OpenedModel, &'a Machine, Estimator<'a>)> {
        let (subject, machine) = (self.subjects.first()?, self.machines.first()?);
        let basis = self.bases.first()?.clone();
        Some((subject, machine, Estimator::new(coefficients, subject, self.run, basis)))
    }

    /// A model on a machine in a few words.
    fn name(&self, model: usize, machine: &Machine) -> String {
        let model = self.subjects.get(model).map(|s| short(&s.id)).unwrap_or_default();
        format!("{model}, {}", machine.id)
    }
}
