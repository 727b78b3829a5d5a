//! Names of the files of a checkpoint.

/// Name of the configuration file.
pub const CONFIG_FILE: &str = "config.json";
/// Name of the list of shards.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
/// Name of the file in which NVIDIA ModelOpt keeps what mlx-lm takes for `quantization_config`.
pub const MODELOPT_FILE: &str = "hf_quant_config.json";
