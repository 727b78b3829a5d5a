//! What the screen shows of a question: a prediction of the one estimator, and the same over the context.

use super::inquiry::{Inquiry, ModelFacts};
use crate::cli::shared::context::Context;
use crate::cli::shared::curve::{MemoryStack, contexts, stack};
use crate::cli::shared::drafts::Drafts;
use crate::cli::shared::opening::About;
use crate::estimate::memory::Fit;
use crate::estimate::{Basis, Estimator, OpenedModel, Prediction, Run};
use crate::hardware::machine::Machine;
use crate::model::source::Origin;
use crate::roofline::Coefficients;
use anyhow::{Result, anyhow};
use rayon::prelude::*;

/// Decode speed at a context: tokens, tokens per second, and their 90 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct SpeedAt {
    /// Tokens in the cache.
    pub tokens: f64,
    /// Tokens per second.
    pub rate: f64,
    /// Where nine of ten lie.
    pub interval_90: [f64; 2],
}

/// A question that is being answered: the model is open, the machine is known.
pub(super) struct Answering<'a> {
    machine: Machine,
    estimator: Estimator<'a>,
    model: &'a OpenedModel,
    drafts: Option<&'a Drafts>,
}

/// Opens the model of a inquiry.
///
/// # Errors
/// When it cannot be found, read or loaded.
pub(super) fn open(context: &Context, inquiry: &Inquiry) -> Result<OpenedModel> {
    let name = inquiry.model.as_deref().ok_or_else(|| anyhow!("no model was chosen"))?;
    let (quant, assume) = (inquiry.quant.as_deref(), inquiry.assume.as_deref());
    let program = inquiry.program();
    Ok(context.one_model_for(program, name, quant, assume)?.loaded_by(program)?)
}

/// Opens what may draft for a model.
///
/// # Errors
/// When it cannot be found, read or loaded.
pub(super) fn drafts(
    context: &Context,
    inquiry: &Inquiry,
    model: &OpenedModel,
) -> Result<Option<Drafts>> {
    Drafts::open(context, &inquiry.drafts, model, inquiry.program())
}

/// What decides which model a question opens.
pub(super) fn opens(inquiry: &Inquiry) -> impl PartialEq + use<> {
    let Inquiry { model, quant, assume, .. } = inquiry;
    (model.clone(), quant.clone(), assume.clone(), inquiry.program())
}

impl<'a> Answering<'a> {
    /// A question about an opened model.
    ///
    /// # Errors
    /// When the machine is not known, or an argument cannot be.
    pub fn new(
        context: &Context,
        inquiry: &Inquiry,
        model: &'a OpenedModel,
        drafts: Option<&'a Drafts>,
    ) -> Result<Self> {
        let machine = context.machine(&inquiry.machine)?;
        let here = inquiry.machine.is_here();
        let run = inquiry.drafts.on(inquiry.run.run_on(here)?);
        let basis = basis(context, inquiry, model, (&run, &machine))?;
        let mut estimator = Estimator::new(Coefficients::embedded()?, model, run, basis);
        if let Some(drafts) = drafts {
            estimator = drafts.beside(estimator)?;
        }
        Ok(Self { machine, estimator, model, drafts })
    }

    /// The prediction.
    ///
    /// # Errors
    /// When the engine cannot do what was asked, or the model cannot run.
    pub fn prediction(&self) -> Result<Prediction> {
        let mut prediction = self.estimator.at(&self.machine).about(self.model)?;
        if let Some(drafts) = self.drafts {
            prediction.speculation = Some(drafts.speculation(&self.estimator, &self.machine)?);
        }
        Ok(prediction)
    }

    /// The prediction with the changes that help, where it does not surely fit.
    pub fn helped(&self, prediction: &Prediction) -> Option<Prediction> {
        let fit = prediction.memory.as_ref().map(|m| m.judgment.verdict);
        (fit > Some(Fit::Tight)).then(|| {
            let mut helped = prediction.clone();
            helped.look_for_changes(&self.estimator);
            helped
        })
    }

    /// What later questions need to know of the model.
    pub fn facts(&self, prediction: &Prediction) -> ModelFacts {
        let base = match &self.model.source.origin {
            Origin::Catalog { id, .. } => Some(id.clone()),
            _ => None,
        };
        ModelFacts { base, quant: prediction.model.quant.clone() }
    }

    /// The decode speed over the context.
    ///
    /// # Errors
    /// As [`Self::prediction`].
    pub fn speeds(&self) -> Result<Vec<SpeedAt>> {
        let at = |context_tokens: u32| {
            let run = self.estimator.run().with_context(context_tokens);
            let (decode, _) = self.estimator.with_run(run).speeds(&self.machine)?;
            let (rate, interval_90) = (decode.tokens_per_s, decode.interval_90);
            Ok(SpeedAt { tokens: f64::from(context_tokens), rate, interval_90 })
        };
        self.contexts().into_iter().map(at).collect()
    }

    /// The parts of memory over the context; none once `stale` says that nobody waits for them.
    ///
    /// # Errors
    /// As [`Self::prediction`].
    pub fn memory(&self, stale: &(dyn Fn() -> bool + Sync)) -> Result<Vec<MemoryStack>> {
        let of = |tokens: u32| {
            if stale() {
                return Ok(None);
            }
            stack(&self.estimator, &self.machine, tokens).map(Some).map_err(anyhow::Error::from)
        };
        let found: Result<Vec<Option<MemoryStack>>> =
            self.contexts().into_par_iter().map(of).collect();
        Ok(found?.into_iter().flatten().collect())
    }

    fn contexts(&self) -> Vec<u32> {
        contexts(self.estimator.graph().max_context())
    }
}

/// What the prediction rests on: own runs, kernels timed here, or specifications.
fn basis(
    context: &Context,
    inquiry: &Inquiry,
    model: &OpenedModel,
    (run, machine): (&Run, &Machine),
) -> Result<Basis> {
    match &inquiry.run.evidence {
        Some(_) => {
            let machines = Some(std::slice::from_ref(machine));
            let file = inquiry.run.evidence.as_deref();
            let bases =
                crate::cli::shared::evidence::bases(context, file, &[model], (machines, run))?;
            Ok(bases.into_iter().next().unwrap_or(Basis::Spec))
        }
        None => {
            let on = (Some(machine), inquiry.machine.is_here());
            let kernels = context.kernels_for(model, run, on)?;
            Ok(kernels.map_or(Basis::Spec, |kernels| Basis::Kernels(Box::new(kernels))))
        }
    }
}
