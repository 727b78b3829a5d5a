//! Popular models of the catalog whose weights lie between two sizes: what one memory does not hold and another may.

use crate::estimate::{OpenError, OpenedModel, Sources};
use crate::model::Scheme;
use crate::model::catalog::{Models, Summary};
use crate::model::source::ModelSource;
use crate::run::Program;

/// Half a byte for a parameter and its scales.
const ABOUT_BYTES: f64 = 0.56;

/// The models that one memory may not hold and another may, both in bytes, the most popular first: what is far from the gap
/// needs no simulation.
pub(super) fn between(catalog: &Models, small: u64, large: u64) -> impl Iterator<Item = &Summary> {
    catalog.popular().into_iter().filter(move |model| {
        let about = ABOUT_BYTES * model.published_params.unwrap_or(0) as f64;
        about >= 0.5 * small as f64 && about <= 1.1 * large as f64
    })
}

/// A model at 4 bits, or as it is published where that is quantized already, as gpt-oss in mxfp4.
pub(super) fn opened(
    model: &Summary,
    sources: &Sources<'_, '_>,
    program: Program,
) -> Result<OpenedModel, OpenError> {
    let entry = model.entry()?;
    let open = |scheme| -> Result<OpenedModel, OpenError> {
        let source = ModelSource::from_entry(&entry)?;
        Ok(OpenedModel::from_source(source, scheme, sources)?.with_towers_of(program))
    };
    let published = open(None)?;
    match published.graph.uniform_scheme() {
        Some(Scheme::Float(_)) => open(Some(Scheme::DEFAULT)),
        _ => Ok(published),
    }
}
