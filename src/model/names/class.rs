//! The models of a size class: `32B`, `30B-A3B`.

use super::error::{MAX_CANDIDATES, NameError};
use super::note::NameNote;
use super::size::{NamedSize, SizeClass};
use crate::model::catalog::{Models, Summary};
use crate::model::quant::Scheme;

/// The models of a size class, most downloads first.
#[derive(Clone, Debug)]
pub struct ClassMatch<'c> {
    /// The class that was asked for.
    pub class: SizeClass,
    /// The scheme of the suffix or the option.
    pub scheme: Option<Scheme>,
    /// The models of the class. For a plain class such as `30B` the dense ones, or the mixtures of experts when there
    /// are no dense ones.
    pub members: Vec<ClassMember<'c>>,
    /// For a plain class with dense members: the mixtures of experts with that total, which are a class of their own.
    pub related: Vec<ClassMember<'c>>,
    /// What the user should know about how the name was read.
    pub notes: Vec<NameNote>,
}

/// A model of a size class.
#[derive(Clone, Copy, Debug)]
pub struct ClassMember<'c> {
    /// The model.
    pub model: &'c Summary,
    /// Whether it is a mixture of experts.
    pub mixture_of_experts: bool,
}

/// Sorts by downloads, most first.
pub(super) fn by_popularity(models: &mut [&Summary]) {
    models.sort_by(|a, b| b.downloads.cmp(&a.downloads).then_with(|| a.id.cmp(&b.id)));
}

/// The models of a class.
///
/// # Errors
/// When there are none; the error lists the nearest classes.
pub(super) fn class_members<'c>(
    catalog: &'c Models,
    class: SizeClass,
    scheme: Option<Scheme>,
    notes: Vec<NameNote>,
) -> Result<ClassMatch<'c>, NameError> {
    let mut models: Vec<&Summary> = catalog
        .models()
        .iter()
        .filter(|m| m.listed && class.holds(&NamedSize::of(m.short_name()), m.published_params))
        .collect();
    if models.is_empty() {
        let near = nearest_classes(catalog, class);
        return Err(NameError::NoSuchClass { class: class.to_string(), near });
    }
    by_popularity(&mut models);
    let all = models
        .into_iter()
        .map(|model| {
            let mixture_of_experts = model.entry()?.is_mixture_of_experts();
            Ok(ClassMember { model, mixture_of_experts })
        })
        .collect::<Result<Vec<_>, NameError>>()?;
    let (mixtures, dense): (Vec<_>, Vec<_>) = all.into_iter().partition(|m| m.mixture_of_experts);
    let (members, related) = match class.active_millions.is_none() && !dense.is_empty() {
        true => (dense, mixtures),
        false => (mixtures.into_iter().chain(dense).collect(), Vec::new()),
    };
    Ok(ClassMatch { class, scheme, members, related, notes })
}

/// The classes with models whose size is nearest.
fn nearest_classes(catalog: &Models, class: SizeClass) -> Vec<String> {
    let mut classes: Vec<SizeClass> = catalog
        .models()
        .iter()
        .filter(|m| m.listed)
        .filter_map(|m| {
            let named = NamedSize::of(m.short_name());
            let (kind, millions) = named.total?;
            let active_millions = named.active_millions;
            Some(SizeClass { millions, kind, active_millions })
        })
        .collect();
    let distance = |c: &SizeClass| {
        let ratio = |a: u64, b: u64| (a.max(1) as f64 / b.max(1) as f64).ln().abs();
        let active = match (class.active_millions, c.active_millions) {
            (Some(a), Some(b)) => ratio(a, b),
            (None, None) => 0.0,
            _ => 1.0,
        };
        ratio(class.millions, c.millions) + active
    };
    classes.sort_by(|a, b| distance(a).total_cmp(&distance(b)).then_with(|| a.cmp(b)));
    classes.dedup();
    classes.iter().take(MAX_CANDIDATES).map(ToString::to_string).collect()
}
