//! Models: configurations, quantization schemes, the catalog, names and sources.

pub mod catalog;
pub mod config;
pub mod drafts;
pub mod format;
pub mod gguf;
pub mod hub_index;
pub mod names;
mod python_json;
pub mod quality;
pub mod quant;
pub mod source;

pub use catalog::{ModelEntry, Models, ModelsError, Summary};
pub use config::{Config, ConfigError};
pub use format::{NamedFormat, UnknownFormat};
pub use names::{ModelSpec, NameError, Resolution, parse_model_spec, resolve};
pub use quant::{DType, Mode, Packing, Scheme};
pub use source::{ModelSource, SourceError};
