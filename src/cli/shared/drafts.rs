//! What could draft for a model, opened as it was asked for.

use super::context::Context;
use super::draft_args::DraftArgs;
use super::exit::ExitStatus;
use crate::advise::drafts::{drafts_for, in_format_of};
use crate::estimate::speculation::{DraftChoice, Speculation};
use crate::estimate::{Estimator, OpenedModel};
use crate::hardware::machine::Machine;
use crate::run::Program;
use anyhow::{Context as _, Result};

/// Models that could draft, and whether the model's own heads could.
pub(in crate::cli) struct Drafts {
    models: Vec<OpenedModel>,
    heads: bool,
    any: bool,
}

impl Drafts {
    /// Opens what was asked for; `None` where nothing was. A draft whose format was not said is taken in that of the model.
    pub(in crate::cli) fn open(
        context: &Context,
        args: &DraftArgs,
        model: &OpenedModel,
        program: Program,
    ) -> Result<Option<Self>> {
        let Some(name) = args.draft.as_deref() else { return Ok(None) };
        if args.asks_for_heads() {
            return Ok(Some(Self { models: Vec::new(), heads: true, any: false }));
        }
        if args.asks_for_any() {
            return Ok(Some(Self::all(context, model)?));
        }
        let opened = context.one_model_for(program, name, None, None);
        let draft = opened.with_context(|| format!("--draft {name}"))?;
        let models = vec![in_format_of(model, draft)];
        Ok(Some(Self { models, heads: false, any: false }))
    }

    /// Whatever could draft for a model.
    pub(in crate::cli) fn all(context: &Context, model: &OpenedModel) -> Result<Self> {
        let models = drafts_for(model, &context.sources(None)?)?;
        Ok(Self { models, heads: model.prediction_heads().is_some(), any: true })
    }

    /// What could draft.
    pub(in crate::cli) fn choices(&self) -> Vec<DraftChoice<'_>> {
        let models = self.models.iter().map(DraftChoice::Model);
        models.chain(self.heads.then_some(DraftChoice::Heads)).collect()
    }

    /// The estimator with the draft that was named beside the run, where it may draft.
    pub(in crate::cli) fn beside<'e>(&'e self, estimator: Estimator<'e>) -> Result<Estimator<'e>> {
        match &self.models[..] {
            [draft] if !self.any && estimator.may_draft(&DraftChoice::Model(draft))?.is_ok() => {
                Ok(estimator.with_draft(draft))
            }
            _ => Ok(estimator),
        }
    }

    /// What they do to the run of an estimator.
    pub(in crate::cli) fn speculation(
        &self,
        estimator: &Estimator<'_>,
        machine: &Machine,
    ) -> Result<Speculation> {
        let mut found = estimator.speculation(machine, &self.choices())?;
        if found.drafts.is_empty() {
            found.notes = vec![match found.tokenizer {
                Some(name) => format!(
                    "no smaller model of the catalog has its tokenizer ({name}); --draft MODEL names another"
                ),
                None => "its tokenizer is not known, so no draft is offered; --draft MODEL names one (folders with \
                         tokenizer.json are compared)"
                    .to_owned(),
            }];
        }
        Ok(found)
    }
}

/// The exit code of a run with drafts: no where there can be none, else that of its memory.
pub(in crate::cli) fn status_with(
    speculation: Option<&Speculation>,
    memory: ExitStatus,
) -> ExitStatus {
    match speculation {
        Some(s) if !s.is_possible() => ExitStatus::No,
        _ => memory,
    }
}
