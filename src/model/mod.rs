//! Models: configurations, quantisation schemes, the catalogue, names and sources.

pub mod config;
mod python_json;
pub mod quant;

pub use config::{Config, ConfigError};
pub use quant::{DType, Mode, Packing, Scheme};
