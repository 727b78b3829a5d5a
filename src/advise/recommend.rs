//! Which models and formats to run on a machine.

use crate::estimate::memory::{Fit, Fits};
use crate::estimate::{
    Basis, EstimateError, Estimator, OpenError, OpenedModel, Prediction, Run, Sources,
};
use crate::hardware::machine::Machine;
use crate::ledger::weights::Weights;
use crate::model::Scheme;
use crate::model::catalog::{Models, ModelsError, Summary};
use crate::model::names::ClassMatch;
use crate::model::source::ModelSource;
use crate::roofline::Coefficients;
use crate::run::ModelFile;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use thiserror::Error;

/// A model in a format, to be predicted.
#[derive(Debug)]
pub struct Candidate {
    /// The model.
    pub model: OpenedModel,
    /// What its speeds rest on.
    pub basis: Basis,
}

impl From<OpenedModel> for Candidate {
    /// A model that was not measured.
    fn from(model: OpenedModel) -> Self {
        Self { model, basis: Basis::Spec }
    }
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
    /// The catalog of models has problems.
    #[error(transparent)]
    Catalog(#[from] ModelsError),
    /// The files of a tokenizer cannot be read.
    #[error(transparent)]
    Vocabulary(#[from] crate::model::drafts::VocabularyError),
    /// The catalog of Macs has problems.
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
    let model = OpenedModel::from_source(source, scheme, sources)?;
    Ok(model.with_towers_of(sources.program).into())
}

/// The models of a size class in the format asked for, the most popular first, at most `limit`.
///
/// # Errors
/// When an entry of the catalog is wrong.
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

/// What candidates with the same prediction share: what a step does, the longest context, doubts about the source, the
/// file.
type Likeness<'a> = (u64, Option<u64>, &'a [String], ModelFile);

/// A candidate that cannot run as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct CannotRun {
    /// The model.
    pub model: String,
    /// The format of its weights.
    pub quant: String,
    /// Why.
    pub reason: String,
}

impl CannotRun {
    pub(super) fn of(model: &OpenedModel, error: &EstimateError) -> Self {
        let (id, quant) = (model.id.clone(), model.quant.clone());
        Self { model: id, quant, reason: error.to_string() }
    }
}

/// Predictions, and the candidates of which there is none.
#[derive(Debug, Default)]
pub struct Predicted {
    /// Of those that run.
    pub rows: Vec<Prediction>,
    /// The others.
    pub cannot: Vec<CannotRun>,
}

/// Predicts every candidate, on all cores. Models that do the same are predicted once. One that cannot run is listed with
/// its reason.
#[must_use]
pub fn predictions(q: Question<'_>, all: &[Candidate]) -> Predicted {
    // What was measured is of that one model.
    let measured = |c: &Candidate| matches!(c.basis, Basis::Measured(_));
    let likeness = |c: &Candidate| c.model.graph.fingerprint().ok().filter(|_| !measured(c));
    let prints: Vec<Option<u64>> = all.par_iter().map(likeness).collect();
    let mut different: Vec<(Option<Likeness<'_>>, &Candidate)> = Vec::new();
    let mut which = Vec::new();
    for (c, print) in all.iter().zip(prints) {
        let model = &c.model;
        let doubts = &model.warnings[..];
        let key = print.map(|print| (print, model.graph.max_context(), doubts, model.file()));
        let known = different.iter().position(|(k, _)| k.is_some() && *k == key);
        which.push(known.unwrap_or(different.len()));
        if known.is_none() {
            different.push((key, c));
        }
    }
    let predict = |(_, c): &(_, &Candidate)| with_changes(q, c);
    let found: Vec<Result<Prediction, CannotRun>> = different.par_iter().map(predict).collect();
    let mut predicted = Predicted::default();
    for (c, i) in all.iter().zip(which) {
        let (id, quant) = (&c.model.id, &c.model.quant);
        match found.get(i) {
            Some(Ok(known)) => {
                let mut prediction = known.clone();
                prediction.model.id.clone_from(id);
                prediction.model.quant.clone_from(quant);
                predicted.rows.push(prediction);
            }
            Some(Err(known)) => {
                let (model, quant) = (id.clone(), quant.clone());
                predicted.cannot.push(CannotRun { model, quant, ..known.clone() });
            }
            None => {}
        }
    }
    predicted
}

/// Predicts one model, with changes that help where it does not fit.
fn with_changes(q: Question<'_>, candidate: &Candidate) -> Result<Prediction, CannotRun> {
    let estimator = estimator(q, candidate);
    let found = estimator.at(q.machine);
    let mut prediction = found.map_err(|error| CannotRun::of(&candidate.model, &error))?;
    if prediction.memory.as_ref().is_some_and(|m| m.judgment.verdict > Fit::Tight) {
        prediction.look_for_changes(&estimator);
    }
    Ok(prediction)
}

fn estimator<'a>(q: Question<'a>, candidate: &'a Candidate) -> Estimator<'a> {
    let Candidate { model, basis } = candidate;
    Estimator::new(q.coefficients, model, *q.run, basis.clone())
}

/// Upper ends of the size classes in 10^9 parameters, for an overview of what a machine can run.
const CLASSES: [f64; 9] = [2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 400.0, f64::INFINITY];

/// Models of a size class that are tried until one can run.
const TRIED: usize = 4;

/// The models of every size class, the most downloaded first.
pub(super) fn size_classes(catalog: &Models) -> Vec<Vec<&Summary>> {
    let popular = catalog.popular();
    let lows = [0.0].into_iter().chain(CLASSES);
    let class = |(low, high): (f64, f64)| {
        let within = |m: &&&Summary| {
            let billions = m.published_params.unwrap_or(0) as f64 / 1e9;
            billions >= low && billions < high
        };
        popular.iter().filter(within).copied().collect()
    };
    lows.zip(CLASSES).map(class).collect()
}

/// Whether a model is so much larger than the memory of the GPU that its tensors need not be counted.
pub(super) fn is_hopeless(model: &Summary, bits: u32, machine: &Machine) -> bool {
    let parameters = model.published_params.unwrap_or(0) as f64;
    parameters * f64::from(bits) / 8.0 > 1.05 * machine.gpu_limit.bytes.0 as f64
}

/// For every size class the most popular model, if some format of it fits, in the most precise format that does. Those that
/// cannot run as asked are listed with their reason, and the next popular one stands for the class.
///
/// # Errors
/// When an entry of the catalog is wrong.
pub fn by_size(
    q: Question<'_>,
    catalog: &Models,
    sources: &Sources<'_, '_>,
) -> Result<Predicted, AdviseError> {
    let classes = size_classes(catalog);
    let first =
        |models: &Vec<&Summary>| of_class(q, models.get(..TRIED).unwrap_or(models), sources);
    let rows = classes.par_iter().map(first);
    let mut all = Predicted::default();
    for class in rows.collect::<Result<Vec<Predicted>, AdviseError>>()? {
        all.rows.extend(class.rows);
        all.cannot.extend(class.cannot);
    }
    Ok(all)
}

/// The first of some models that can run as asked, and those before it that cannot.
fn of_class(
    q: Question<'_>,
    models: &[&Summary],
    sources: &Sources<'_, '_>,
) -> Result<Predicted, AdviseError> {
    let mut class = Predicted::default();
    for model in models {
        match most_precise(q, model, sources)? {
            Ok(row) => {
                class.rows.extend(row);
                break;
            }
            Err(cannot) => class.cannot.push(cannot),
        }
    }
    Ok(class)
}

fn most_precise(
    q: Question<'_>,
    model: &Summary,
    sources: &Sources<'_, '_>,
) -> Result<Result<Option<Prediction>, CannotRun>, AdviseError> {
    for scheme in LADDER {
        let Scheme::Affine { bits, .. } = scheme else { continue };
        if is_hopeless(model, bits, q.machine) {
            continue;
        }
        // What the weights alone exceed needs no simulation.
        let candidate = open(model, Some(scheme), sources)?;
        if Weights::of(&candidate.model.graph).active_bytes > q.machine.gpu_limit.bytes.0 {
            continue;
        }
        // All else is predicted of the format that fits alone.
        let estimator = estimator(q, &candidate);
        let fits = || -> Result<bool, EstimateError> {
            estimator.possible()?;
            Ok(estimator.memory(q.machine)?.judgment.fits != Fits::No)
        };
        let found = fits().and_then(|fits| fits.then(|| estimator.at(q.machine)).transpose());
        match found {
            Ok(None) => {}
            Ok(row) => return Ok(Ok(row)),
            Err(error) => return Ok(Err(CannotRun::of(&candidate.model, &error))),
        }
    }
    Ok(Ok(None))
}
