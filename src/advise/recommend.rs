//! Which models and formats to run on a machine.

use crate::estimate::memory::{Advice, Fits, Verdict, advise};
use crate::estimate::{PredictError, Prediction, Settings, Sources, Subject, SubjectError};
use crate::hardware::machine::Machine;
use crate::ledger::weights::Weights;
use crate::model::Scheme;
use crate::model::catalogue::{Catalogue, CatalogueError, Summary};
use crate::model::names::ClassMatch;
use crate::model::source::ModelSource;
use crate::roofline::Coefficients;
use rayon::prelude::*;
use thiserror::Error;

/// A model in a format, to be predicted.
#[derive(Debug)]
pub struct Candidate {
    /// The model.
    pub subject: Subject,
}

/// A prediction and what would improve it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The prediction.
    pub prediction: Prediction,
    /// Changes that make it fit or lengthen its context, the cheapest first; only looked for where it does not fit.
    pub changes: Vec<Advice>,
}

/// What predictions need besides model and settings.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// The speed model.
    pub coefficients: &'a Coefficients,
    /// The run.
    pub settings: &'a Settings,
}

/// Why there is no recommendation.
#[derive(Debug, Error)]
pub enum AdviseError {
    /// A model cannot be opened.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// A model cannot be predicted.
    #[error("{model}: {error}")]
    Predict {
        /// The model.
        model: String,
        /// Why.
        error: PredictError,
    },
    /// The catalogue of models has problems.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The catalogue of Macs has problems.
    #[error(transparent)]
    Hardware(crate::hardware::CatalogueError),
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
    let source = ModelSource::from_entry(&model.entry()?).map_err(SubjectError::from)?;
    Ok(Candidate { subject: Subject::from_source(source, scheme, sources)? })
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
        let _ = candidate.subject.graph.fingerprint();
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
pub fn rows(q: Question<'_>, all: &[Candidate]) -> Result<Vec<Row>, AdviseError> {
    let likeness = |c: &Candidate| c.subject.graph.fingerprint().ok();
    let prints: Vec<Option<u64>> = all.par_iter().map(likeness).collect();
    let mut different: Vec<(Option<Likeness<'_>>, &Candidate)> = Vec::new();
    let mut which = Vec::new();
    for (c, print) in all.iter().zip(prints) {
        let subject = &c.subject;
        let key = print.map(|print| (print, subject.graph.max_context(), &subject.warnings[..]));
        let known = different.iter().position(|(k, _)| k.is_some() && *k == key);
        which.push(known.unwrap_or(different.len()));
        if known.is_none() {
            different.push((key, c));
        }
    }
    let predict = |(_, c): &(_, &Candidate)| row(q, &c.subject);
    let found = different.par_iter().map(predict).collect::<Result<Vec<Row>, AdviseError>>()?;
    let named = |(c, i): (&Candidate, usize)| found.get(i).map(|row| row.named(&c.subject));
    Ok(all.iter().zip(which).filter_map(named).collect())
}

impl Row {
    /// The row of another model that does the same.
    fn named(&self, subject: &Subject) -> Self {
        let mut row = self.clone();
        row.prediction.model.clone_from(&subject.id);
        row.prediction.quant.clone_from(&subject.quant);
        row
    }
}

/// Predicts one model.
///
/// # Errors
/// When it cannot be predicted.
pub fn row(q: Question<'_>, subject: &Subject) -> Result<Row, AdviseError> {
    let prediction = predicted(q, subject)?;
    let changes = match (&prediction.memory, prediction.max_context) {
        (Some(memory), Some(context)) if memory.judgement.verdict > Verdict::Tight => {
            let s = q.settings;
            advise(subject, q.machine, &s.request, s.reserve, (memory, context))
        }
        _ => Vec::new(),
    };
    Ok(Row { prediction, changes })
}

fn predicted(q: Question<'_>, subject: &Subject) -> Result<Prediction, AdviseError> {
    Prediction::of(q.coefficients, subject, q.machine, q.settings)
        .map_err(|error| AdviseError::Predict { model: subject.id.clone(), error })
}

/// Upper ends of the size classes in 10^9 parameters, for an overview of what a machine can run.
const CLASSES: [f64; 9] = [2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 400.0, f64::INFINITY];

/// For every size class the most popular model of which some format fits, in the most precise format that does.
///
/// # Errors
/// When an entry of the catalogue is wrong or a model cannot be predicted.
pub fn by_size(
    q: Question<'_>,
    catalogue: &Catalogue,
    sources: &Sources<'_, '_>,
) -> Result<Vec<Row>, AdviseError> {
    let mut popular: Vec<&Summary> =
        catalogue.models().iter().filter(|m| m.mlx_lm_supported).collect();
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
) -> Result<Option<Row>, AdviseError> {
    let parameters = model.published_params.unwrap_or(0) as f64;
    for scheme in LADDER {
        let Scheme::Affine { bits, .. } = scheme else { continue };
        // What the weights alone exceed needs no simulation.
        if parameters * f64::from(bits) / 8.0 > 1.05 * q.machine.gpu_limit.bytes.0 as f64 {
            continue;
        }
        let candidate = open(model, Some(scheme), sources)?;
        if Weights::of(&candidate.subject.graph).active_bytes > q.machine.gpu_limit.bytes.0 {
            continue;
        }
        let prediction = predicted(q, &candidate.subject)?;
        if prediction.memory.as_ref().is_some_and(|m| m.judgement.fits != Fits::No) {
            return Ok(Some(Row { prediction, changes: Vec::new() }));
        }
    }
    Ok(None)
}
