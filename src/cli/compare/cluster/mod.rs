//! `mlxplan compare --cluster` and `--macs`: models on several Macs that run them together.

pub(in crate::cli) mod answer;
mod notes;
pub(super) mod spec;

use super::args::CompareArgs;
use super::{Asked, doubts};
use crate::advise::cluster::{
    ClusterRow, ClusterVerdict, RowFigures, cluster_rows, copies, now_possible,
};
use crate::cli::shared::context::Context;
use crate::cli::shared::exit::ExitStatus;
use crate::estimate::Estimator;
use crate::estimate::memory::Fit;
use crate::report::Answer;
use crate::roofline::Coefficients;
use answer::{ClusterAnswer, FoundOnMacs, ModelOn};
use anyhow::{Result, bail};
use rayon::prelude::*;

/// Popular models that are listed as newly possible.
const NEW_MODELS: usize = 5;

pub(super) fn run(
    context: &Context,
    args: &CompareArgs,
    asked: &Asked,
) -> Result<(Answer, ExitStatus)> {
    if args.run.evidence.is_some() {
        bail!("--evidence holds runs of one Mac; speeds of several rest on the laws alone");
    }
    let (cluster, mut remarks) =
        spec::cluster(context, (args.cluster.as_ref(), &args.macs), args.link)?;
    let coefficients = Coefficients::embedded()?;
    let estimators = asked.estimators(coefficients);
    let of = |(model, estimator): (usize, &Estimator<'_>)| {
        Ok(ModelOn {
            model,
            rows: cluster_rows(estimator, &cluster)?,
            copies: copies(estimator, &cluster)?,
        })
    };
    let models: Vec<ModelOn> = estimators.par_iter().enumerate().map(of).collect::<Result<_>>()?;
    let sources = context.sources(None)?;
    let by = (coefficients, &asked.run);
    let new = now_possible(context.catalogs.models()?, &sources, &cluster, by, NEW_MODELS)?;
    remarks.extend(asked.notes.iter().cloned());
    let alone = models.iter().flat_map(|m| &m.rows).filter_map(|row| match &row.figures {
        Some(RowFigures::One(figures)) => Some(figures.as_ref()),
        _ => None,
    });
    remarks.extend(doubts(&estimators, alone));
    let status = status(models.iter().flat_map(|m| &m.rows));
    let found = FoundOnMacs { cluster: &cluster, models, new };
    Ok((Answer::of(ClusterAnswer::of(asked, &estimators, found, remarks)), status))
}

/// There is an answer as soon as several Macs, or one, hold a model.
fn status<'r>(rows: impl Iterator<Item = &'r ClusterRow>) -> ExitStatus {
    let possible = rows.filter(|row| row.verdict != ClusterVerdict::Impossible);
    match possible.filter_map(|row| row.fits).min() {
        Some(Fit::Yes | Fit::Tight) => ExitStatus::Ok,
        Some(Fit::Uncertain) => ExitStatus::Uncertain,
        Some(Fit::No) | None => ExitStatus::No,
    }
}
