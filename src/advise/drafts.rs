//! Which models of the catalog could draft for a model.

use super::recommend::AdviseError;
use crate::estimate::{OpenedModel, Sources};
use crate::ledger::weights::Weights;
use crate::model::catalog::Summary;
use crate::model::drafts::{SharedTokenizer, TokenizerOf};
use crate::model::source::ModelSource;
use crate::model::{DType, Scheme};
use crate::run::FormatOrigin;
use std::cmp::Reverse;

/// Drafts that are offered at most.
const MOST: usize = 6;
/// A draft has at most this share of the model's parameters: larger ones take too long to be of use.
const SMALLER: f64 = 0.5;

/// The models of the catalog that share the tokenizer of a model and are much smaller, the smallest first, in the format
/// of the model. Of models that are built alike the most downloaded is offered.
///
/// # Errors
/// When an entry of the catalog is wrong, or the files of a tokenizer cannot be read.
pub fn drafts_for(
    model: &OpenedModel,
    sources: &Sources<'_, '_>,
) -> Result<Vec<OpenedModel>, AdviseError> {
    let own = TokenizerOf::of(&model.source)?;
    let most = SMALLER * Weights::of(&model.graph).parameters as f64;
    let shared = |m: &Summary| own.shared_with(&TokenizerOf::of_repository(&m.id));
    let small =
        |m: &&Summary| m.mlx_lm_supported && m.published_params.is_some_and(|n| (n as f64) < most);
    let offered: Vec<&Summary> = sources.catalog.offered().filter(small).collect();
    let with =
        |wanted: SharedTokenizer| offered.iter().copied().filter(move |m| shared(m) == wanted);
    let mut found: Vec<&Summary> = with(SharedTokenizer::Same).collect();
    if found.is_empty() {
        found = with(SharedTokenizer::SameText).collect();
    }
    found.sort_by_key(|m| Reverse(m.downloads));
    let mut drafts: Vec<OpenedModel> = Vec::new();
    for summary in found {
        let source = ModelSource::from_entry(&summary.entry()?)
            .map_err(|e| AdviseError::OpenedModel(e.into()))?;
        let draft = OpenedModel::from_source(source, None, sources)?;
        let sees = draft.source.config.as_ref().is_some_and(|c| draft.graph.states_towers(c));
        let print = draft.graph.fingerprint().ok();
        let known = drafts.iter().any(|d| print.is_some() && d.graph.fingerprint().ok() == print);
        if !sees && !known {
            drafts.push(draft);
        }
        if drafts.len() == MOST {
            break;
        }
    }
    drafts.sort_by_key(|d| Weights::of(&d.graph).parameters);
    Ok(drafts.into_iter().map(|draft| in_format_of(model, draft)).collect())
}

/// A draft in the format of its model, where its own was not said.
#[must_use]
pub fn in_format_of(model: &OpenedModel, draft: OpenedModel) -> OpenedModel {
    let said = matches!(draft.origin, FormatOrigin::File | FormatOrigin::Name);
    if said || draft.source.tensors.is_some() {
        return draft;
    }
    if let Some(mix) = model.gguf_mix() {
        return draft.as_gguf_where_open(mix);
    }
    let native = draft.origin == FormatOrigin::Native
        && !matches!(draft.graph.uniform_scheme(), Some(Scheme::Float(_)));
    let scheme = match model.graph.uniform_scheme() {
        // Both as they were published.
        None if native => return draft,
        None | Some(Scheme::Float(DType::F32)) => Scheme::DEFAULT,
        Some(scheme) => scheme,
    };
    match draft.in_scheme(scheme) {
        Some(formatted) => formatted,
        None => draft,
    }
}
