//! Cells of tables of models that fit.

use crate::estimate::Prediction;
use crate::estimate::memory::{ContextBound, MaxContext, Memory};

/// A longest context; `*` where memory ends it and not the model.
pub(super) fn context_cell(context: Option<MaxContext>) -> String {
    match context {
        Some(c) if c.bound == ContextBound::Memory => format!("{}*", c.tokens),
        Some(c) => c.tokens.to_string(),
        None => "?".to_owned(),
    }
}

/// What is said of the memory, where it is known.
pub(super) fn memory_text(p: &Prediction, text: impl Fn(&Memory) -> String) -> String {
    p.memory.as_ref().map_or_else(|| "?".to_owned(), text)
}
