//! Joining measured rows to models and Macs.

use super::measurement::Measurement;
use crate::graph::Graph;
use crate::hardware::catalog::Chip;
use crate::model::catalog::{ModelEntry, Models};
use crate::model::{DType, NamedFormat, Scheme};
use std::fmt;

/// A row with what it measured.
#[derive(Clone, Debug)]
pub struct Joined<'a> {
    /// The row.
    pub row: &'a Measurement,
    /// Catalog id of the model.
    pub model: &'a str,
    /// Format of the weights.
    pub weights: NamedFormat,
    /// Bins that the machine may have been.
    pub chips: Vec<&'a Chip>,
}

/// Why a row was not joined.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The model is not in the catalog.
    NoModel,
    /// The catalog lacks the id.
    UnknownModel(String),
    /// The format of the weights does not tell their size.
    Format(String),
    /// The chip is not known.
    NoChip,
    /// The chip is not in the catalog.
    UnknownChip(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModel => {
                f.write_str("no model_id: the model is not in the catalog or ambiguous")
            }
            Self::UnknownModel(id) => write!(f, "model_id '{id}' is not in the catalog"),
            Self::Format(q) => write!(f, "the weight format '{q}' does not tell the size"),
            Self::NoChip => f.write_str("neither chip_id nor chip_candidates"),
            Self::UnknownChip(id) => write!(f, "chip '{id}' is not in the catalog"),
        }
    }
}

/// Joins a row.
///
/// # Errors
/// Says why the row cannot be joined.
pub fn join<'a>(
    row: &'a Measurement,
    models: &'a Models,
    chips: &'a [Chip],
) -> Result<Joined<'a>, Reason> {
    if row.model_id.is_empty() {
        return Err(Reason::NoModel);
    }
    let Some(model) = models.get(&row.model_id) else {
        return Err(Reason::UnknownModel(row.model_id.clone()));
    };
    let weights = weights(&row.quant).ok_or_else(|| Reason::Format(row.quant.clone()))?;
    if row.chips.is_empty() {
        return Err(Reason::NoChip);
    }
    let found = row
        .chips
        .iter()
        .map(|id| {
            let chip = chips.iter().find(|c| c.id == *id);
            chip.ok_or_else(|| Reason::UnknownChip(id.clone()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Joined { row, model: &model.id, weights, chips: found })
}

/// The format that a name of the file's vocabulary means, where it tells the size.
#[must_use]
pub fn weights(quant: &str) -> Option<NamedFormat> {
    if let Some(name) = quant.strip_prefix("gguf-") {
        return name.parse().ok().map(NamedFormat::Gguf);
    }
    let named = matches!(quant, "bf16" | "fp16" | "mxfp4" | "nvfp4" | "mxfp8" | "mxfp4-q8");
    if named || quant.starts_with("affine-") {
        return quant.parse().ok().map(NamedFormat::Mlx);
    }
    None
}

/// A model of the catalog and its graph in a format. The graph of a GGUF file has 16-bit weights: what the file holds is
/// counted apart.
///
/// # Errors
/// In words: no such model, or one that cannot be built.
pub(super) fn graph_of(
    models: &Models,
    id: &str,
    format: NamedFormat,
) -> Result<(ModelEntry, Graph), String> {
    let model = models.get(id).ok_or_else(|| Reason::UnknownModel(id.to_owned()).to_string())?;
    let entry = model.entry().map_err(|e| e.to_string())?;
    let scheme = match format {
        NamedFormat::Mlx(scheme) => scheme,
        NamedFormat::Gguf(_) => Scheme::Float(DType::BF16),
    };
    let graph = Graph::quantized(&entry.config, scheme).map_err(|e| e.to_string())?;
    Ok((entry, graph))
}
