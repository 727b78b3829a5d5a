//! Whether a configuration that nobody checked before is of a model that runs at all.
//!
//! What does not go together in it is found here, once for all commands, and is named with its file.

use super::OpenError;
use crate::graph::Graph;
use crate::model::source::{ModelSource, Origin};

/// Where the configuration of a source stands, for messages.
pub(super) fn place(source: &ModelSource) -> String {
    match &source.origin {
        Origin::Catalog { id, .. } => id.clone(),
        other => other.to_string(),
    }
}

/// Tries a token of a model whose configuration was given as a file or repository. What a GGUF file lacks is made up
/// from its shape, and entries of the catalog are known to run.
///
/// # Errors
/// When its shapes do not go together.
pub(super) fn check(source: &ModelSource, graph: &Graph) -> Result<(), OpenError> {
    match source.origin {
        Origin::Catalog { .. } | Origin::Gguf(_) | Origin::HubGguf { .. } => return Ok(()),
        Origin::ConfigFile(_) | Origin::Folder { .. } | Origin::Hub { .. } => {}
    }
    // Every answer asks for this reading of a token again, which is kept.
    match graph.layer_plan() {
        Ok(_) => Ok(()),
        Err(error) => Err(OpenError::CannotRun { file: place(source), error }),
    }
}
