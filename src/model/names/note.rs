//! Remarks about how a name was read.

use super::mixed::Mixed;
use std::fmt;

/// A remark about how a name was read. Displays as one line.
#[derive(Clone, Debug, PartialEq)]
pub enum NameNote {
    /// The name is not in the catalog as it stands.
    ReadAs {
        /// What was asked for.
        name: String,
        /// The model that was taken.
        id: String,
    },
    /// The repository has the configuration of another one.
    SameConfiguration {
        /// The repository.
        repo: String,
        /// The model that was taken.
        id: String,
        /// The longest context that the repository's own configuration states, where it differs.
        context: Option<u64>,
    },
    /// The suffix names a scheme, but bits vary by layer.
    MixedBits {
        /// The suffix.
        suffix: String,
        /// What is assumed of it.
        assumed: Mixed,
    },
    /// mlx-lm has no implementation.
    NotSupported {
        /// The model.
        id: String,
        /// Its `model_type`.
        model_type: String,
    },
}

impl NameNote {
    /// Whether it may make a figure wrong, so that it belongs among the warnings.
    #[must_use]
    pub const fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::MixedBits { .. }
                | Self::NotSupported { .. }
                | Self::SameConfiguration { context: Some(_), .. }
        )
    }
}

impl fmt::Display for NameNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadAs { name, id } => write!(
                f,
                "'{name}' is read as {id}; another date or variant may differ in context length"
            ),
            Self::SameConfiguration { repo, id, context } => {
                write!(
                    f,
                    "{repo} is read as {id}: the same model type and exactly the same number of parameters"
                )?;
                match context {
                    Some(tokens) => {
                        write!(f, ", but its own configuration ends at {tokens} tokens")
                    }
                    None => Ok(()),
                }
            }
            Self::MixedBits { suffix, assumed } => write!(
                f,
                "'{suffix}' conversions vary bits by layer: a range, {:.2} to {:.2} times the bytes of plain {} ({}). \
                 Exact ones come from the files: give the folder, or hf:org/name",
                assumed.over_nominal[0],
                assumed.over_nominal[1],
                assumed.nominal.suffix(),
                assumed.source,
            ),
            Self::NotSupported { id, model_type } => {
                write!(f, "mlx-lm does not implement the model type '{model_type}' of {id}")
            }
        }
    }
}
