//! The quantization block that decides: which of several, and what engines need of it.

use super::{LoadError, LoadRefusal, Loader};
use crate::model::Config;
use crate::model::source::QuantBlock;

/// The block that decides.
pub(super) enum StoredBlock {
    /// None.
    Nothing,
    /// MLX's `quantization`.
    Mlx(QuantBlock),
    /// A `quantization_config` of any tool, with its method.
    Other {
        /// `quant_method`.
        method: String,
        /// The block.
        block: Config,
    },
}

impl StoredBlock {
    /// Finds the block: `quantization`, else `quantization_config`, else that of `text_config`, else what stands in
    /// `hf_quant_config.json`.
    pub fn find(
        config: &Config,
        beside: Option<&Config>,
        loader: Loader,
    ) -> Result<Self, LoadError> {
        let refused = |words: &str, why: &str| {
            let why = Some(why.to_owned());
            LoadError::Refused(LoadRefusal { loader, words: words.to_owned(), why })
        };
        if let Some(own) = config.opt_object("quantization")? {
            for key in ["group_size", "bits"] {
                if !own.has(key) {
                    let why = "the block 'quantization' must have group_size and bits";
                    return Err(refused(&format!("KeyError: '{key}'"), why));
                }
            }
            if config.opt_bool("quantize_activations").ok().flatten() == Some(true)
                && !matches!(own.opt_str("mode")?, Some("nvfp4" | "mxfp8"))
            {
                let why = "quantize_activations needs the mode nvfp4 or mxfp8";
                let words = "ValueError: Mode ({m.mode}) does not support activation quantization";
                return Err(refused(words, why));
            }
            return Ok(Self::Mlx(QuantBlock::parse(&own)?));
        }
        let text = config.opt_object("text_config")?;
        let of = |holder: Option<&Config>| -> Result<Option<Config>, LoadError> {
            let Some(holder) = holder else { return Ok(None) };
            Ok(holder.opt_object("quantization_config")?.filter(|b| !b.values().is_empty()))
        };
        let found = match of(Some(config))? {
            Some(block) => Some(block),
            None => of(text.as_ref())?,
        };
        let file = beside.filter(|_| found.is_none());
        let Some(block) = found.as_ref().or(file) else { return Ok(Self::Nothing) };
        match block.opt_str("quant_method")? {
            Some(method) => Ok(Self::Other { method: method.to_owned(), block: block.clone() }),
            // mlx-vlm leaves packed tensors without a block that it knows.
            None if loader == Loader::MlxVlm && file.is_some() => {
                Ok(Self::Other { method: "hf_quant_config".to_owned(), block: block.clone() })
            }
            None => {
                let why = if file.is_some() {
                    "hf_quant_config.json has no quant_method"
                } else {
                    "the block quantization_config has no quant_method; files of MLX hold the block as \
                     quantization too"
                };
                Err(refused("KeyError: 'quant_method'", why))
            }
        }
    }

    /// The block of another tool.
    pub const fn other(&self) -> Option<&Config> {
        match self {
            Self::Other { block, .. } => Some(block),
            Self::Nothing | Self::Mlx(_) => None,
        }
    }

    /// MLX's own.
    pub const fn mlx(&self) -> Option<&QuantBlock> {
        match self {
            Self::Mlx(block) => Some(block),
            Self::Nothing | Self::Other { .. } => None,
        }
    }
}
