//! Models: configurations, quantisation schemes, the catalogue, names and sources.

pub mod config;
pub mod json;
pub mod quant;

pub use config::{Config, ConfigError};
pub use quant::{DType, Mode, Packing, Scheme};
