//! Which models and formats to run on a machine.

use crate::estimate::memory::{Fit, Fits};
use crate::estimate::{
    Basis, EstimateError, Estimator, OpenError, OpenedModel, Prediction, Run, Sources,
};
use crate::hardware::machine::Machine;
use crate::ledger::weights::Weights;
use crate::model::Scheme;
use crate::model::catalogue::{Models, ModelsError, Summary};
use crate::model::names::ClassMatch;
use crate::model::source::ModelSource;
use crate::roofline::Coefficients;
use rayon::prelude::*;
use thiserror::Error;

/// A model in a format, to be predicted.
#[derive(Debug)]
pub struct Candidate {
    /// The model.
    pub model: OpenedModel,
}

/// What predictions need besides the model.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// The speed model.
    pub coefficients: &'a Coefficients,
    /// The run.
    pub run: &'a Run,
}

/// Why there is no recommendation.
#[derive(Debug, Error)]
pub enum AdviseError {
    /// A model cannot be opened.
    #[error(transparent)]
    OpenedModel(#[from] OpenError),
    /// A model cannot be predicted.
    #[error("{model}: {error}")]
    Predict {
        /// The model.
        model: String,
        /// Why.
        error: EstimateError,
    },
    /// The catalogue of models has problems.
    #[error(transparent)]
    Catalogue(#[from] ModelsError),
    /// The catalogue of Macs has problems.
    #[error(transparent)]
    Hardware(crate::hardware::MacsError),
}

/// Formats that people publish, the most precise first.
pub const LADDER: [Scheme; 5] = [
    Scheme::Affine { bits: 8, group: 64 },
    Scheme::Affine { bits: 6, group: 64 },
    Scheme::Affine { bits: 5, group: 64 },
    Scheme::Affine { bits: 4, group: 64 },
    Scheme::Affine { bits: 3, group: 64 },
];

fn open(
    model: &Summary,
    scheme: Option<Scheme>,
    sources: &Sources<'_, '_>,
) -> Result<Candidate, AdviseError> {
    let source = ModelSource::from_entry(&model.entry()?).map_err(OpenError::from)?;
    Ok(Candidate { model: OpenedModel::from_source(source, scheme, sources)? })
}

/// The models of a size class in the format asked for, the most popular first, at most `limit`.
///
/// # Errors
/// When an entry of the catalogue is wrong.
pub fn candidates(
    class: &ClassMatch<'_>,
    limit: usize,
    sources: &Sources<'_, '_>,
) -> Result<Vec<Candidate>, AdviseError> {
    let scheme = class.scheme.or(Some(Scheme::DEFAULT));
    let members = class.members.iter().filter(|m| m.model.mlx_lm_supported).take(limit);
    let members: Vec<&Summary> = members.map(|m| m.model).collect();
    let opened = |m: &&Summary| {
        let candidate = open(m, scheme, sources)?;
        // Needed of every candidate, and kept by the graph: while the cores are at work.
        let _ = candidate.model.graph.fingerprint();
        Ok(candidate)
    };
    members.par_iter().map(opened).collect()
}

/// What candidates with the same prediction share: what a step does, the longest context, doubts about the source.
type Likeness<'a> = (u64, Option<u64>, &'a [String]);

/// Predicts every candidate, on all cores. Models that do the same are predicted once.
///
/// # Errors
/// When a model cannot be predicted.
pub fn predictions(q: Question<'_>, all: &[Candidate]) -> Result<Vec<Prediction>, AdviseError> {
    let likeness = |c: &Candidate| c.model.graph.fingerprint().ok();
    let prints: Vec<Option<u64>> = all.par_iter().map(likeness).collect();
    let mut different: Vec<(Option<Likeness<'_>>, &Candidate)> = Vec::new();
    let mut which = Vec::new();
    for (c, print) in all.iter().zip(prints) {
        let model = &c.model;
        let key = print.map(|print| (print, model.graph.max_context(), &model.warnings[..]));
        let known = different.iter().position(|(k, _)| k.is_some() && *k == key);
        which.push(known.unwrap_or(different.len()));
        if known.is_none() {
            different.push((key, c));
        }
    }
    let predict = |(_, c): &(_, &Candidate)| with_changes(q, &c.model);
    let found: Vec<Prediction> =
        different.par_iter().map(predict).collect::<Result<_, AdviseError>>()?;
    let named = |(c, i): (&Candidate, usize)| {
        let mut prediction = found.get(i)?.clone();
        prediction.model.id.clone_from(&c.model.id);
        prediction.model.quant.clone_from(&c.model.quant);
        Some(prediction)
    };
    Ok(all.iter().zip(which).filter_map(named).collect())
}

/// Predicts one model, with changes that help where it does not fit.
fn with_changes(q: Question<'_>, model: &OpenedModel) -> Result<Prediction, AdviseError> {
    let mut prediction = predicted(q, model)?;
    if prediction.memory.as_ref().is_some_and(|m| m.judgement.verdict > Fit::Tight) {
        prediction.look_for_changes(model);
    }
    Ok(prediction)
}

fn predicted(q: Question<'_>, model: &OpenedModel) -> Result<Prediction, AdviseError> {
    Estimator::new(q.coefficients, model, *q.run, Basis::Spec)
        .at(q.machine)
        .map_err(|error| AdviseError::Predict { model: model.id.clone(), error })
}

/// Upper ends of the size classes in 10^9 parameters, for an overview of what a machine can run.
const CLASSES: [f64; 9] = [2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 400.0, f64::INFINITY];

/// For every size class the most popular model of which some format fits, in the most precise format that does.
///
/// # Errors
/// When an entry of the catalogue is wrong or a model cannot be predicted.
pub fn by_size(
    q: Question<'_>,
    catalogue: &Models,
    sources: &Sources<'_, '_>,
) -> Result<Vec<Prediction>, AdviseError> {
    let mut popular: Vec<&Summary> = catalogue.offered().collect();
    popular.sort_by_key(|m| std::cmp::Reverse(m.downloads.unwrap_or(0)));
    let lows = [0.0].into_iter().chain(CLASSES);
    let first = |(low, high): (f64, f64)| {
        let within = |m: &&&Summary| {
            let billions = m.published_params.unwrap_or(0) as f64 / 1e9;
            billions >= low && billions < high
        };
        popular.iter().find(within).copied()
    };
    let firsts: Vec<&Summary> = lows.zip(CLASSES).filter_map(first).collect();
    let rows = firsts.par_iter().map(|model| most_precise(q, model, sources));
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn most_precise(
    q: Question<'_>,
    model: &Summary,
    sources: &Sources<'_, '_>,
) -> Result<Option<Prediction>, AdviseError> {
    let parameters = model.published_params.unwrap_or(0) as f64;
    for scheme in LADDER {
        let Scheme::Affine { bits, .. } = scheme else { continue };
        // What the weights alone exceed needs no simulation.
        if parameters * f64::from(bits) / 8.0 > 1.05 * q.machine.gpu_limit.bytes.0 as f64 {
            continue;
        }
        let candidate = open(model, Some(scheme), sources)?;
        if Weights::of(&candidate.model.graph).active_bytes > q.machine.gpu_limit.bytes.0 {
            continue;
        }
        let prediction = predicted(q, &candidate.model)?;
        if prediction.memory.as_ref().is_some_and(|m| m.judgement.fits != Fits::No) {
            return Ok(Some(prediction));
        }
    }
    Ok(None)
}
