//! `mlxplan recommend --users N`: one model for several users at once.

mod answer;
pub(in crate::cli) mod args;
mod charts;

use super::args::RecommendArgs;
use crate::advise::EngineSettings;
use crate::advise::serving::load::SPREAD;
use crate::advise::serving::{LoadVerdict, Serving, UserRow, UsersOn, UsersQuestion, UsersThatFit};
use crate::cli::shared::context::Context;
use crate::cli::shared::exit::ExitStatus;
use crate::estimate::{Basis, EngineAnswer, EstimateError, Estimator, ModelAnswer, Prediction};
use crate::hardware::machine::Machine;
use crate::report::Answer;
use crate::roofline::Coefficients;
use crate::run::{EngineName, Program, Run};
use anyhow::{Context as _, Result};
use rayon::prelude::*;

pub(super) fn run(
    context: &Context,
    args: &RecommendArgs,
    users: u32,
) -> Result<(Answer, ExitStatus)> {
    let (run, assumed) = asked_run(args)?;
    let machine = context.machine(&args.machine)?;
    let machine = machine.granted(run.engine.gpu_limit, run.engine.budget).into_owned();
    let name = args.model.as_deref().context("--users: name the model with --model")?;
    let program = run.engine.program;
    let model =
        context.one_model_for(program, name, args.quant.as_deref(), None)?.loaded_by(program)?;
    let estimator = Estimator::new(Coefficients::embedded()?, &model, run, Basis::Spec);
    let on = UsersOn::new(&estimator, &machine)?;
    let asked = &args.users;
    let question = UsersQuestion {
        users,
        rate: asked.rate,
        min_tok_s: asked.min_tok_s,
        max_ttft_s: asked.max_ttft,
    };
    let fit = on.fit(&question)?;
    let rows = numbers(users)
        .into_par_iter()
        .filter_map(|n| on_machine(&estimator, &machine, n).transpose())
        .collect::<Result<Vec<UserRow>, EstimateError>>()?;
    let served = users.min(fit.users).max(1);
    let load = question.rate.map(|rate| on.under(rate, served)).transpose()?.flatten();
    let run = on.run_for(served);
    let prompts = load.map_or(on.scheduler().reading, |l| l.prompts_at_once);
    let prediction = estimator.with_run(with_prompts(run, prompts)).at(&machine)?;
    let status = status(&question, &fit, load.map(|l| l.holds));
    let answer = Serving {
        model: ModelAnswer::from(&prediction.model),
        machine: machine.summary(),
        engine: EngineAnswer::of(estimator.run(), Some(&machine)),
        engine_assumed: assumed,
        scheduler: *on.scheduler(),
        users,
        prompt_tokens: run.work.context_tokens,
        output_tokens: run.work.generate_tokens,
        min_tok_s: question.min_tok_s,
        max_ttft_s: question.max_ttft_s,
        fit,
        rows,
        knee: on.knee(),
        by_rate: if load.is_some() { on.by_rate(served) } else { Vec::new() },
        load,
        update: on.newer_mlx(users)?,
        settings: EngineSettings::of(&prediction, estimator.run().engine.program),
        warnings: warnings(&prediction, &on),
        notes: notes(&on, assumed, question.rate.is_some()),
    };
    Ok((Answer::of(answer), status))
}

/// The run that the arguments describe, and whether its engine was taken because none was named.
fn asked_run(args: &RecommendArgs) -> Result<(Run, bool)> {
    let mut typed = args.run.args.clone();
    let assumed = typed.engine.engine.is_none();
    if assumed {
        typed.engine.engine = Some(EngineName { program: Program::MlxServer, version: None });
    }
    typed.context = args.users.prompt.unwrap_or(typed.context);
    let run = typed.run_on(false)?;
    // What generates in process serves nobody: its server does.
    let run = match run.engine.program {
        Program::MlxLm => {
            let program = Program::MlxServer;
            typed.engine.engine = typed.engine.engine.map(|e| EngineName { program, ..e });
            typed.run_on(false)?
        }
        _ => run,
    };
    Ok((run, assumed || args.run.args.engine.engine.is_some_and(|e| e.program == Program::MlxLm)))
}

/// A row by an estimator of its own, because the times of one are kept by one thread.
fn on_machine(
    estimator: &Estimator<'_>,
    machine: &Machine,
    users: u32,
) -> Result<Option<UserRow>, EstimateError> {
    let own = estimator.with_run(*estimator.run());
    UsersOn::new(&own, machine)?.row(users)
}

/// 1, 2, 4 … and the number that was asked for.
fn numbers(users: u32) -> Vec<u32> {
    let mut all: Vec<u32> =
        std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n < users).collect();
    all.push(users);
    all
}

fn with_prompts(run: Run, prompts: u32) -> Run {
    run.with_engine(crate::run::EngineSetup { prompt_slots: prompts, ..run.engine })
}

/// Whether what was asked can be. Users beyond those that the engine serves at once wait, which is no failure.
fn status(q: &UsersQuestion, fit: &UsersThatFit, load: Option<LoadVerdict>) -> ExitStatus {
    let asked = q.users.min(fit.by_engine);
    if fit.users < asked || load == Some(LoadVerdict::Overloaded) {
        ExitStatus::No
    } else if fit.safe < asked || load == Some(LoadVerdict::Uncertain) {
        ExitStatus::Uncertain
    } else {
        ExitStatus::Ok
    }
}

fn warnings(prediction: &Prediction, on: &UsersOn<'_, '_>) -> Vec<String> {
    let why = on.scheduler().one_at_a_time.map(|why| why.text().to_owned());
    why.into_iter().chain(prediction.warnings.iter().map(ToString::to_string)).collect()
}

fn notes(on: &UsersOn<'_, '_>, assumed: bool, rate: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if assumed {
        notes.push(
            "no server was named: mlx_lm.server, which comes with mlx-lm; --engine names another"
                .to_owned(),
        );
    }
    notes.push(
        "total and per user: while all generate at the middle of their answers; TTFT: all ask at the same moment, none has \
         a kept prompt"
            .to_owned(),
    );
    if on.scheduler().one_at_a_time.is_none() && on.is_mlx_lm_server() {
        notes.push(
            "mlx_lm.server answers requests with a seed, with images or with a draft model one at a time, after all others \
             have ended"
                .to_owned(),
        );
    }
    if rate {
        notes.push(format!(
            "under a rate: arrivals independent of one another (Poisson), lengths log-normal around the given means \
             (standard deviation of the logarithm {SPREAD}); an assumption"
        ));
    }
    notes
}
