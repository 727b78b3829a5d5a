//! `mlxplan recommend`: what fits, how fast, and which Mac does it.

pub(super) mod answer;
pub(super) mod args;
mod cells;
mod drafts;
mod macs;
mod picks;
pub(super) mod users;
pub(super) mod which_mac;

use answer::{LosesTooMuch, Recommendation};
use args::RecommendArgs;

use super::shared::context::Context;
use super::shared::evidence;
use super::shared::exit::ExitStatus;
use super::shared::machine_args::MachineArgs;
use super::shared::run_args::RunArgs;
use super::shared::words::{format_name, status};
use crate::advise::picks::{Wish, picks};
use crate::advise::recommend::LADDER;
use crate::advise::use_case::{GivenLengths, UseCase};
use crate::advise::{
    Candidate, EngineSettings, Predicted, Question, by_size, candidates, macs_for, predictions,
};
use crate::estimate::memory::Fits;
use crate::estimate::{Basis, Estimator, Opened, OpenedModel, Prediction, Program, Run, Sources};
use crate::hardware::SpecError;
use crate::hardware::machine::Machine;
use crate::model::quality::{PublishedLoss, loss_cell};
use crate::model::{DType, Scheme};
use crate::report::Answer;
use crate::roofline::Coefficients;
use crate::run::{EngineName, FormatOrigin};
use anyhow::{Result, bail};
use std::path::Path;

/// Macs listed at most beside an answer about another one.
const FEW_MACS: usize = 4;
/// Models listed at most beside an answer about another one.
const FEW_MODELS: usize = 3;

pub(super) fn run(context: &Context, args: &RecommendArgs) -> Result<(Answer, ExitStatus)> {
    Coefficients::prepare();
    if let Some(users) = args.users.users {
        return users::run(context, args, users);
    }
    let run = for_engine(&args.run.args, args.engine_for).run_on(args.machine.is_here())?;
    let (wanted, machine) = rayon::join(
        || {
            let program = run.engine.program;
            args.model.as_deref().map(|model| wanted(context, args, model, program)).transpose()
        },
        || {
            let machine = machine_or_none(context, &args.machine).map(|found| {
                found.map(|m| m.granted(run.engine.gpu_limit, run.engine.budget).into_owned())
            });
            if matches!(machine, Ok(Err(_))) {
                // Read beside the models; whoever needs the Macs reports what is wrong with them.
                let _ = context.catalogs.macs.macs();
            }
            machine
        },
    );
    let (machine, mut wanted) = (machine?, wanted?);
    if let Some(path) = &args.run.args.evidence {
        let Some(wanted) = &mut wanted else {
            bail!("--evidence: name the model that was measured with --model")
        };
        wanted.measured(context, path, (machine.as_ref().ok(), &run))?;
    }
    if args.drafts.draft.is_some() {
        return drafts::answer(context, args, (wanted, machine), run);
    }
    match (wanted, machine) {
        (Some(wanted), Ok(machine)) => {
            let answer =
                on_machine(context, &wanted, &machine, (&run, args.engine_for), args.max_loss);
            // Freed beside the printing.
            rayon::spawn(|| drop(wanted));
            answer
        }
        (Some(mut wanted), Err(why)) => {
            wanted.within(args.max_loss, &run)?;
            which_mac::answer(context, wanted, &why, &run)
        }
        (None, Ok(machine)) => overview(context, &machine, &run, args),
        (None, Err(why)) => Err(anyhow::Error::from(*why)),
    }
}

/// The machine, or why this one cannot be planned for when none was named.
fn machine_or_none(
    context: &Context,
    args: &MachineArgs,
) -> Result<Result<Machine, Box<SpecError>>> {
    let named = args.mac.is_some() || args.bandwidth.is_some();
    match context.machine(args) {
        Ok(machine) => Ok(Ok(machine)),
        Err(e) if named => Err(e),
        Err(e) => match e.downcast::<SpecError>() {
            Ok(why @ SpecError::This(_)) => Ok(Err(Box::new(why))),
            Ok(other) => Err(other.into()),
            Err(other) => Err(other),
        },
    }
}

/// What the user wants to run.
struct Wanted {
    title: String,
    candidates: Vec<Candidate>,
    notes: Vec<String>,
}

impl Wanted {
    /// The same without formats that lose more than is allowed, which a note names.
    fn within(&mut self, most: Option<f64>, run: &Run) -> Result<()> {
        let Some(most) = most else { return Ok(()) };
        let coefficients = Coefficients::embedded()?;
        let mut lost = Vec::new();
        self.candidates.retain(|c| {
            let estimator = Estimator::new(coefficients, &c.model, *run, Basis::Spec);
            let loss = estimator.loss();
            let kept = loss.as_ref().is_some_and(|loss| loss.worst() <= most);
            if !kept {
                lost.push(format!(
                    "{} ({})",
                    format_name(&estimator.quant()),
                    loss_cell(loss.as_ref())
                ));
            }
            kept
        });
        if self.candidates.is_empty() {
            bail!("--max-loss {most}: nothing is known to lose so little: {}", lost.join(", "));
        }
        if !lost.is_empty() {
            self.notes.push(format!("left out for what they lose: {}", lost.join(", ")));
        }
        Ok(())
    }

    /// The same with the speeds of what was measured.
    fn measured(
        &mut self,
        context: &Context,
        path: &Path,
        (machine, run): (Option<&Machine>, &Run),
    ) -> Result<()> {
        let machines = machine.map(std::slice::from_ref);
        let models: Vec<&OpenedModel> = self.candidates.iter().map(|c| &c.model).collect();
        let bases = evidence::bases(context, Some(path), &models, (machines, run))?;
        self.candidates.iter_mut().zip(bases).for_each(|(c, basis)| c.basis = basis);
        Ok(())
    }
}

fn wanted(
    context: &Context,
    args: &RecommendArgs,
    model: &str,
    program: Program,
) -> Result<Wanted> {
    let sources = Sources { program, ..context.sources(None)? };
    match context.open_for(program, model, args.quant.as_deref(), None)? {
        Opened::Class(class) => {
            let candidates = candidates(&class, args.limit as usize, &sources)?;
            let scheme = class.scheme.unwrap_or(Scheme::DEFAULT);
            let all = class.members.len();
            let mut notes: Vec<String> = class.notes.iter().map(ToString::to_string).collect();
            if class.scheme.is_none() {
                notes.push("no format was given: 4 bit, the most used".to_owned());
            }
            if all > candidates.len() {
                notes.push(format!("the {} most popular of {all} models", candidates.len()));
            }
            let title = format!("{}-class models, {}", class.class, scheme.suffix());
            Ok(Wanted { title, candidates, notes })
        }
        Opened::Model(subject) => {
            let title = format!("{}  {}", subject.id, format_name(&subject.quant));
            let is_gguf = subject.gguf_mix().is_some();
            let named = args.quant.is_some() || is_gguf || subject.graph.uniform_scheme().is_none();
            let float = matches!(subject.graph.uniform_scheme(), Some(Scheme::Float(_)));
            // A format that the engine chooses is one of several that the user may mean.
            let chosen =
                subject.origin == FormatOrigin::EngineDefault && subject.asked_gguf.is_none();
            let mut candidates = vec![];
            let whole = chosen.then(|| in_format(&subject, Scheme::Float(DType::BF16), &sources));
            let subject = whole.flatten().unwrap_or(*subject);
            let mut notes: Vec<String> = subject.towers_note(program).into_iter().collect();
            if !named && (float || chosen) {
                notes.push("no format was given: the usual ones".to_owned());
                let formats = LADDER.into_iter().filter_map(|s| in_format(&subject, s, &sources));
                candidates.extend(formats.map(|m| m.with_towers_of(program).into()));
            }
            candidates.insert(0, subject.with_towers_of(program).into());
            Ok(Wanted { title, candidates, notes })
        }
    }
}

fn in_format(
    subject: &OpenedModel,
    scheme: Scheme,
    sources: &Sources<'_, '_>,
) -> Option<OpenedModel> {
    OpenedModel::from_source(subject.source.clone(), Some(scheme), sources).ok()
}

fn on_machine(
    context: &Context,
    wanted: &Wanted,
    machine: &Machine,
    (run, engine): (&Run, Option<Program>),
    max_loss: Option<f64>,
) -> Result<(Answer, ExitStatus)> {
    let coefficients = Coefficients::embedded()?;
    let question = Question { machine, coefficients, run };
    let Predicted { rows, cannot } = predictions(question, &wanted.candidates);
    let (rows, lost) = within(max_loss, rows);
    if rows.is_empty() && !lost.is_empty() {
        let least = lost.iter().filter_map(|l| l.loss.as_ref()).map(PublishedLoss::worst);
        let least = least
            .min_by(f64::total_cmp)
            .map_or_else(String::new, |x| format!(" (least: {x:.1} %)"));
        bail!(
            "--max-loss: every format loses more, or its loss at this size is not published{least}; bf16 loses nothing"
        );
    }
    let best = rows.iter().map(|r| status(r.memory.as_ref())).min_by_key(|v| match v {
        ExitStatus::Ok => 0,
        ExitStatus::Uncertain => 1,
        ExitStatus::No | ExitStatus::Interrupted => 2,
    });
    let no = |r: &Prediction| r.memory.as_ref().is_some_and(|m| m.judgment.fits == Fits::No);
    let nothing = rows.iter().all(no);
    let title = format!("{}  on  {}", wanted.title, machine.name);
    let none_runs = rows.is_empty();
    // The most precise choice that fits, else the first.
    let fitting = rows.iter().find(|r| !no(r)).or(rows.first());
    let settings = engine.and_then(|engine| EngineSettings::of(fitting?, engine));
    let mut answer = Recommendation::new(machine, run, title, rows, wanted.notes.clone());
    answer.cannot_run(cannot);
    answer.lose_too_much(lost);
    answer.set_up(settings);
    if nothing {
        let found = by_size(question, context.catalogs.models()?, &context.sources(None)?)?;
        let mut instead = found.rows;
        instead.reverse();
        instead.truncate(FEW_MODELS);
        answer.offer(instead);
        // What cannot run as asked runs so on no Mac.
        if let Some(smallest) = wanted.candidates.last().filter(|_| !none_runs) {
            let macs = macs_for(&context.catalogs.macs, coefficients, smallest, run)?;
            answer.offer_macs(&smallest.model, macs.iter().take(FEW_MACS));
        }
    }
    Ok((Answer::of(answer), best.unwrap_or(ExitStatus::No)))
}

/// Those that lose no more than is allowed, changes included, and the others.
fn within(most: Option<f64>, rows: Vec<Prediction>) -> (Vec<Prediction>, Vec<LosesTooMuch>) {
    let Some(most) = most else { return (rows, Vec::new()) };
    let mut kept = Vec::new();
    let mut lost = Vec::new();
    for mut row in rows {
        row.changes.retain(|c| c.loss.worst() <= most);
        match row.loss() {
            Some(loss) if loss.worst() <= most => kept.push(row),
            loss => {
                let (model, quant) = (row.model.id, row.model.quant);
                lost.push(LosesTooMuch { model, quant, loss });
            }
        }
    }
    (kept, lost)
}

fn overview(
    context: &Context,
    machine: &Machine,
    run: &Run,
    args: &RecommendArgs,
) -> Result<(Answer, ExitStatus)> {
    let given = GivenLengths { context: args.run.context, generate: args.run.generate };
    let run = &args.task.map_or(*run, |task| task.run(*run, given));
    // Pictures need a program that loads vision towers.
    let unnamed = args.run.args.engine.engine.is_none() && args.engine_for.is_none();
    let sees = args.task == Some(UseCase::Vision) && unnamed;
    let run = &if sees { run.with_program(Program::MlxVlm) } else { *run };
    let question = Question { machine, coefficients: Coefficients::embedded()?, run };
    let wish = Wish { use_case: args.task, max_loss: args.max_loss };
    let sources = Sources { program: run.engine.program, ..context.sources(None)? };
    let found = picks(question, wish, context.catalogs.models()?, &sources)?;
    let title = match args.task {
        Some(task) => format!("For {task}, by size, on {}", machine.name),
        None => format!("By size, what to run on {}", machine.name),
    };
    let some = !found.all.is_empty();
    let answer = Recommendation::picks(machine, run, title, (args.task, found));
    Ok((Answer::of(answer), if some { ExitStatus::Ok } else { ExitStatus::No }))
}

/// The arguments of the run with the engine whose settings are asked for, unless one was named: what is predicted is what
/// that engine does.
fn for_engine(args: &RunArgs, engine: Option<Program>) -> RunArgs {
    let mut args = args.clone();
    let asked = engine.map(|program| EngineName { program, version: None });
    args.engine.engine = args.engine.engine.or(asked);
    args
}
