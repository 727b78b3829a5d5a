//! `mlxplan compare`: models side by side on several Macs, or which Mac to buy for them.

pub(super) mod args;
pub(super) mod buy;
pub(super) mod cluster;
pub(super) mod engines;
pub(super) mod side;
mod trained;
mod training;
mod vary;

use super::shared::context::Context;
use super::shared::evidence;
use super::shared::exit::ExitStatus;
use super::shared::keys::ModelKey;
use super::shared::machine_args::MachineArgs;
use super::shared::run_args::RunArgs;
use crate::advise::candidates;
use crate::advise::upgrade::{Faster, NewModel, faster, new_models};
use crate::estimate::{Basis, Estimator, Figures, Opened, OpenedModel, Run};
use crate::hardware::machine::Machine;
use crate::report::Answer;
use crate::roofline::Coefficients;
use crate::run::{EngineName, Program};
use crate::units::Bytes;
use anyhow::{Result, bail};
use args::{CompareArgs, Vary};

pub(super) fn run(context: &Context, args: &CompareArgs) -> Result<(Answer, ExitStatus)> {
    let of_training = args.vary.and_then(Vary::of_training);
    if args.training.is_given() && of_training.is_none() {
        bail!(
            "options of fine-tuning go with --vary checkpoint, layers or batch; `mlxplan finetune` sizes one run"
        );
    }
    let mut run = RunArgs { batch: args.needs.users.unwrap_or(args.run.batch), ..args.run.clone() };
    let served = args.needs.users.is_some_and(|users| users > 1) && args.engines.is_empty();
    let assumed = served && run.engine.engine.is_none();
    if assumed {
        run.engine.engine = Some(EngineName { program: Program::MlxServer, version: None });
    }
    if let Some(choice) = of_training {
        return training::run(context, args, run.run()?, choice);
    }
    let mut asked = Asked::open(context, args, run.run()?)?;
    if assumed {
        asked.notes.push(
            "no server was named for several users: mlx_lm.server, which comes with mlx-lm; --engine names another"
                .to_owned(),
        );
    }
    if args.cluster.is_some() || !args.macs.is_empty() {
        return cluster::run(context, args, &asked);
    }
    if args.link.is_some() {
        bail!("--link joins the Macs of --cluster or --macs; name one of these");
    }
    if !args.engines.is_empty() {
        return engines::run(context, args, &asked);
    }
    if let Some(what) = args.vary {
        return vary::run(context, args, &asked, what);
    }
    asked.measured(context, args)?;
    if args.buy { buy::run(context, args, &asked) } else { side::run(context, args, &asked) }
}

/// What was asked, opened.
pub(super) struct Asked {
    subjects: Vec<OpenedModel>,
    /// What the speeds of each rest on.
    bases: Vec<Basis>,
    run: Run,
    from: Option<Machine>,
    notes: Vec<String>,
}

impl Asked {
    fn open(context: &Context, args: &CompareArgs, run: Run) -> Result<Self> {
        let mut asked =
            Self { subjects: Vec::new(), bases: Vec::new(), run, from: None, notes: Vec::new() };
        for model in &args.model {
            let program = run.engine.program;
            let opened = context.open_for(program, model, args.quant.as_deref(), None)?;
            asked.subjects.push(match opened {
                Opened::Model(subject) => subject.loaded_by(program)?,
                Opened::Class(class) => {
                    let found = candidates(&class, 1, &context.sources(None)?)?;
                    let Some(first) = found.into_iter().next() else {
                        bail!("--model {model}: mlx-lm supports no model of this size class")
                    };
                    asked.notes.push(format!(
                        "{model} is a size class: its most popular model, {}, stands for it",
                        first.model.id
                    ));
                    first.model.with_towers_of(program)
                }
            });
        }
        asked.bases = asked.subjects.iter().map(|_| Basis::Spec).collect();
        asked.from = args.from.as_deref().map(|spec| mac(context, spec)).transpose()?;
        Ok(asked)
    }

    /// The run as it is predicted: with the program that runs the first model's file.
    fn run_of(&self, estimators: &[Estimator<'_>]) -> Run {
        estimators.first().map_or(self.run, |e| *e.run())
    }

    /// The models with the formats that are run.
    fn models(&self, estimators: &[Estimator<'_>]) -> Vec<ModelKey> {
        let key = |(s, e): (&OpenedModel, &Estimator<'_>)| ModelKey {
            id: s.id.clone(),
            quant: e.quant(),
        };
        self.subjects.iter().zip(estimators).map(key).collect()
    }

    fn estimators<'a>(&'a self, coefficients: &'a Coefficients) -> Vec<Estimator<'a>> {
        let of = |(s, basis): (&'a OpenedModel, &Basis)| {
            Estimator::new(coefficients, s, self.run, basis.clone())
        };
        self.subjects.iter().zip(&self.bases).map(of).collect()
    }

    /// Takes the speeds of what was measured.
    fn measured(&mut self, context: &Context, args: &CompareArgs) -> Result<()> {
        let Some(path) = &args.run.evidence else { return Ok(()) };
        let macs: Vec<Machine> =
            args.mac.iter().map(|spec| mac(context, spec)).collect::<Result<_>>()?;
        let machines = Some(&macs[..]).filter(|_| !args.buy);
        let models: Vec<&OpenedModel> = self.subjects.iter().collect();
        self.bases = evidence::bases(context, Some(path), &models, (machines, &self.run))?;
        Ok(())
    }

    /// Figures of every model on the present Mac.
    fn before(&self, estimators: &[Estimator<'_>]) -> Result<Option<Vec<Figures>>> {
        let Some(from) = &self.from else { return Ok(None) };
        Ok(Some(estimators.iter().map(|p| p.on(from)).collect::<Result<_, _>>()?))
    }

    /// Popular models that fit a machine but not the present one.
    fn new_models(&self, context: &Context, to: &Machine) -> Result<Vec<NewModel>> {
        let Some(from) = &self.from else { return Ok(Vec::new()) };
        let sources = context.sources(None)?;
        let by = (Coefficients::embedded()?, &self.run);
        Ok(new_models(context.catalogs.models()?, &sources, (from, to), by, 5)?)
    }
}

/// The Mac that an option names.
fn mac(context: &Context, spec: &str) -> Result<Machine> {
    context.machine(&MachineArgs { mac: Some(spec.to_owned()), ..MachineArgs::default() })
}

fn faster_text(f: &Faster) -> String {
    let [low, high] = f.decode_interval_90;
    format!("{:.1}x ({low:.1}–{high:.1})", f.decode)
}

/// What the models that become possible are, in a sentence.
fn new_models_text(found: &[NewModel], to: &Machine) -> String {
    let names: Vec<String> = found
        .iter()
        .map(|m| format!("{} ({} at {})", m.id, Bytes(m.peak_bytes.0), m.quant))
        .collect();
    format!("new on {}: {}", to.id, names.join(", "))
}

/// Doubts of predictions on several machines, each said once.
fn doubts<'a>(estimators: &[Estimator<'_>], all: impl Iterator<Item = &'a Figures>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let taken = estimators.iter().flat_map(Estimator::doubts);
    let of_figures = all.flat_map(|f| f.decode.warnings.iter().chain(&f.prefill.warnings));
    for text in taken.map(ToString::to_string).chain(of_figures.map(ToString::to_string)) {
        if !out.contains(&text) {
            out.push(text);
        }
    }
    out
}
