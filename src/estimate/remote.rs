//! Models that are on this machine, and repositories that no name leads to: on the hub, or by what its index says.

use super::opened::{OpenError, OpenedModel, Sources, Unreachable};
use crate::model::Scheme;
use crate::model::gguf::GgufMix;
use crate::model::hub_index;
use crate::model::names::{NameError, NameSpec};
use crate::model::source::cache::{FoundModel, LocalFormat, locate};
use crate::model::source::hub::{self, RepoRef};
use crate::model::source::{ModelSource, folder};

/// The model of that name on this machine, if there is exactly one that can be read and that the format which was
/// asked for leaves as it is.
pub(super) fn on_this_machine(
    name: &NameSpec,
    (scheme, mix): (Option<Scheme>, Option<GgufMix>),
    sources: &Sources<'_, '_>,
) -> Option<OpenedModel> {
    if sources.hub.caches.is_empty() || name.class.is_some() {
        return None;
    }
    let found = locate(&sources.hub.caches, name.repository());
    let complete = |m: &&FoundModel| m.format != LocalFormat::ConfigOnly;
    let whole: Vec<&FoundModel> = found.models.iter().filter(complete).collect();
    let [model] = whole.as_slice() else { return None };
    let source = read(model).ok()?;
    let mut opened = OpenedModel::of_file(source, (scheme, mix), sources).ok()?;
    opened.id.clone_from(&model.id);
    opened.reading.push(format!("read from this machine: {}", model.path.display()));
    Some(opened)
}

fn read(model: &FoundModel) -> Result<ModelSource, OpenError> {
    Ok(match model.format {
        LocalFormat::Gguf => ModelSource::from_gguf(&model.path)?,
        LocalFormat::Mlx | LocalFormat::Safetensors | LocalFormat::ConfigOnly => {
            folder::load(&model.path)?
        }
    })
}

/// Reads a repository that no name leads to (`unknown` says why): its configuration on this machine, else the hub.
/// Names without an organization stay unknown, and so do those whose error is about something else than the name.
pub(super) fn look_up(
    name: &NameSpec,
    unknown: NameError,
    sources: &Sources<'_, '_>,
) -> Result<ModelSource, OpenError> {
    let may_be_there = matches!(
        unknown,
        NameError::Unknown { .. }
            | NameError::Ambiguous { .. }
            | NameError::HeadersNeeded { .. }
            | NameError::UnknownScheme(_)
    );
    let (text, file_type) = match name.repository().trim().split_once(':') {
        Some((repository, file_type)) => (repository, Some(file_type)),
        None => (name.repository().trim(), None),
    };
    let parsed = name.organization.as_ref().and_then(|_| RepoRef::parse(text).ok());
    let Some(repo) = parsed.filter(|_| may_be_there) else { return Err(unknown.into()) };
    if let [model] = locate(&sources.hub.caches, &repo.id()).models.as_slice() {
        return read(model);
    }
    match hub::open_file(&repo, file_type, &sources.hub, sources.progress) {
        Err(error) if error.is_offline() => match hub_index::find(&repo.id()) {
            Some(known) => Err(Unreachable { repo: repo.id(), known: known.to_string() }.into()),
            None => Err(unknown.into()),
        },
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests;
