//! The format of a model's weights: what decided it, the types it is stored in, its name.

use crate::graph::{Graph, families};
use crate::model::source::safetensors::StorageType;
use crate::model::source::{ModelSource, WeightFormat};
use crate::model::{Config, DType, Packing, Scheme};
use crate::run::FormatOrigin;

/// What decided the format of the weights of a source, of which `scheme` was asked.
pub(super) fn origin(
    source: &ModelSource,
    config: &Config,
    scheme: Option<Scheme>,
) -> FormatOrigin {
    let stored = source.gguf.is_some()
        || source.tensors.is_some()
        || matches!(source.format, WeightFormat::Mlx(_));
    match scheme {
        Some(_) => FormatOrigin::Name,
        None if stored => FormatOrigin::File,
        None if config_dtype(config).is_some() => FormatOrigin::Native,
        None => FormatOrigin::Assumed,
    }
}

/// The scheme of an upstream checkpoint that was asked for without one: its family's own, else the type of its tensors.
pub(super) fn upstream(config: &Config, stored: DType) -> Scheme {
    let family = config.model_type().ok().and_then(|t| families::find(t).ok());
    family.and_then(|f| f.native_scheme).unwrap_or(Scheme::Float(stored))
}

/// Type of most floating-point tensors that are not float32, or float32 when all are.
pub(super) fn stored_dtype(source: &ModelSource) -> Option<DType> {
    let tensors = source.tensors.as_ref()?.tensors();
    let count = |t| tensors.iter().filter(|x| x.dtype == t).count();
    let (f16, bf16, f32) =
        (count(StorageType::F16), count(StorageType::BF16), count(StorageType::F32));
    match (f16, bf16, f32) {
        (0, 0, 0) => None,
        (0, 0, _) => Some(DType::F32),
        _ if f16 > bf16 => Some(DType::F16),
        _ => Some(DType::BF16),
    }
}

/// The type that `convert` casts to: `torch_dtype`, else `text_config.dtype` (`mlx_lm/convert.py`).
pub(super) fn config_dtype(config: &Config) -> Option<DType> {
    let text = config.opt_object("text_config").ok().flatten();
    let nested = text.as_ref().and_then(|t| t.opt_str("dtype").ok().flatten());
    match config.opt_str("torch_dtype").ok().flatten().or(nested)? {
        "float16" => Some(DType::F16),
        "float32" => Some(DType::F32),
        "bfloat16" => Some(DType::BF16),
        _ => None,
    }
}

/// A packing in words.
pub(super) fn describe(p: Packing) -> String {
    format!("{} {} bit, group {}", p.mode.name(), p.bits, p.group)
}

/// The quantization of a model in one word.
pub(super) fn label(source: &ModelSource, graph: &Graph) -> String {
    if let Some(gguf) = &source.gguf {
        return match gguf.quantization() {
            Some(q) => format!("gguf-{}", q.to_lowercase()),
            None => format!("gguf-{:.2}-bit", gguf.bits_per_weight()),
        };
    }
    match graph.uniform_scheme() {
        Some(scheme) => scheme.to_string(),
        None => format!("files-{:.2}-bit", graph.bits_per_weight()),
    }
}
