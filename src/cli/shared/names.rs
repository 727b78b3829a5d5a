//! Names of models and Macs that the shell completes arguments with.

use crate::hardware::Macs;
use crate::model::{Models, Scheme};
use crate::run::Program;
use clap_complete::engine::CompletionCandidate;
use std::ffi::OsStr;

/// Most names that are offered.
const MOST: usize = 60;

fn matching(
    current: &OsStr,
    all: impl Iterator<Item = (String, String)>,
) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str().map(str::to_lowercase) else { return Vec::new() };
    let starts = |(name, _): &(String, String)| name.to_lowercase().starts_with(&current);
    all.filter(starts)
        .take(MOST)
        .map(|(name, help)| CompletionCandidate::new(name).help(Some(help.into())))
        .collect()
}

/// Models of the catalog, by their shortest alias, with the usual format; and by repository when there is a slash.
pub(in crate::cli) fn models(current: &OsStr) -> Vec<CompletionCandidate> {
    let Ok(catalog) = Models::built_in() else { return Vec::new() };
    let by_repository = current.to_str().is_some_and(|c| c.contains('/'));
    let popular = catalog.popular();
    let suffix = Scheme::DEFAULT.suffix();
    let names = popular.into_iter().flat_map(|m| {
        let short =
            m.aliases.iter().min_by_key(|a| a.len()).cloned().unwrap_or_else(|| m.id.clone());
        let name = if by_repository { m.id.clone() } else { short };
        [(format!("{name}-{suffix}"), m.name.clone()), (name, m.name.clone())]
    });
    matching(current, names)
}

/// Programs that run models.
pub(in crate::cli) fn engines(current: &OsStr) -> Vec<CompletionCandidate> {
    let about = |p: &Program| if p.runs_gguf() { "runs GGUF files" } else { "runs MLX weights" };
    matching(current, Program::ALL.iter().map(|p| (p.to_string(), about(p).to_owned())))
}

/// Chip bins with memory, product ids with memory, and `this`.
pub(in crate::cli) fn macs(current: &OsStr) -> Vec<CompletionCandidate> {
    let catalog = Macs::embedded();
    let (Ok(chips), Ok(macs)) = (catalog.chips(), catalog.macs()) else { return Vec::new() };
    let bins = chips.iter().rev().flat_map(|c| {
        c.memory_gib
            .iter()
            .map(move |gib| (format!("{}/{gib}", c.id), format!("{}, {gib} GB", c.name)))
    });
    let products = macs.iter().flat_map(|m| {
        let sizes = m.memory_options().into_iter();
        sizes.map(move |gib| (format!("{}/{gib}", m.id), format!("{}, {gib} GB", m.name())))
    });
    let this = std::iter::once(("this".to_owned(), "the machine mlxplan runs on".to_owned()));
    matching(current, this.chain(bins).chain(products))
}
