//! Exact bytes of the weights, tensor by tensor.

use super::pages;
use crate::graph::Graph;
use crate::graph::params::ModuleKind;
use crate::graph::shape::Shape;
use crate::graph::towers::ModelPart;
use crate::model::DType;
use crate::model::gguf::GgmlType;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Type of the elements of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorType {
    /// A type of MLX.
    Mlx(DType),
    /// A type of ggml.
    Gguf(GgmlType),
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mlx(dtype) => fmt::Display::fmt(dtype, f),
            Self::Gguf(kind) => fmt::Display::fmt(kind, f),
        }
    }
}

impl Serialize for TensorType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for TensorType {
    fn schema_name() -> Cow<'static, str> {
        "TensorType".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// One tensor of the safetensors files that `mlx_lm.convert` writes, or of a GGUF file.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Tensor {
    /// Full name.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Shape,
    /// Element type.
    pub dtype: TensorType,
    /// Payload bytes.
    pub bytes: u64,
    /// Whether the tensor belongs to a quantized matrix.
    pub quantized: bool,
}

/// Sizes of a model's weights. All figures are bytes or counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Weights {
    /// Payload of the safetensors files: the sum of all tensors.
    pub bytes: u64,
    /// `mx.get_active_memory` after loading: every tensor above 16 KiB rounded up to whole pages.
    pub active_bytes: u64,
    /// Number of tensors.
    pub tensors: u64,
    /// Logical parameters, as mlx-lm counts them.
    pub parameters: u64,
    /// Parameters that one token uses: everything but the routed experts that are not chosen.
    pub active_parameters: u64,
    /// The part of `bytes` that belongs to routed experts.
    pub routed_expert_bytes: u64,
    /// The part of `bytes` that belongs to embedding tables.
    pub embedding_bytes: u64,
}

impl Weights {
    /// Reads the sizes off a graph.
    #[must_use]
    pub fn of(graph: &Graph) -> Self {
        let mut out = Self::default();
        let mut routed_parameters = 0;
        for module in graph.params().modules() {
            let mut bytes = 0;
            for (_, shape, dtype) in module.tensors() {
                let n = shape.elements() * dtype.bytes();
                bytes += n;
                out.active_bytes += pages::round(n);
                out.tensors += 1;
            }
            if module.global_scales > 0 {
                let n = module.global_scales * DType::F32.bytes();
                bytes += n;
                out.active_bytes += pages::round(n);
                out.tensors += 1;
            }
            out.bytes += bytes;
            out.parameters += module.parameters();
            match module.kind {
                ModuleKind::SwitchLinear => {
                    out.routed_expert_bytes += bytes;
                    routed_parameters += module.parameters();
                }
                ModuleKind::Embedding => out.embedding_bytes += bytes,
                _ => {}
            }
        }
        out.active_parameters = out.parameters;
        if let Some(e) = graph.experts() {
            let idle = e.total.saturating_sub(e.chosen);
            let idle = u128::from(routed_parameters) * u128::from(idle);
            let idle = idle.checked_div(u128::from(e.total)).unwrap_or(0);
            out.active_parameters -= u64::try_from(idle).unwrap_or(out.active_parameters);
        }
        out
    }
}

/// Bytes of a part of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct PartSize {
    /// The part.
    pub part: ModelPart,
    /// Payload of its tensors, in bytes.
    pub bytes: u64,
    /// The same in memory: every tensor above 16 KiB rounded up to whole pages.
    #[serde(skip)]
    pub active_bytes: u64,
}

impl PartSize {
    /// The parts of a graph that have tensors; their sum is [`Weights::bytes`].
    #[must_use]
    pub fn of(graph: &Graph) -> Vec<Self> {
        let mut sizes = ModelPart::ALL.map(|part| Self { part, bytes: 0, active_bytes: 0 });
        for module in graph.params().modules() {
            let part = ModelPart::of(&module.path);
            if let Some(size) = sizes.iter_mut().find(|size| size.part == part) {
                for (_, shape, dtype) in module.tensors() {
                    let bytes = shape.elements() * dtype.bytes();
                    size.bytes += bytes;
                    size.active_bytes += pages::round(bytes);
                }
            }
        }
        sizes.into_iter().filter(|size| size.bytes > 0).collect()
    }
}

/// All tensors of a model, in the order in which the family declares them.
#[must_use]
pub fn tensors(graph: &Graph) -> Vec<Tensor> {
    let mut out = Vec::new();
    for module in graph.params().modules() {
        for (part, shape, dtype) in module.tensors() {
            out.push(Tensor {
                name: module.tensor_name(part),
                shape,
                dtype: TensorType::Mlx(dtype),
                bytes: shape.elements() * dtype.bytes(),
                quantized: module.packing.is_some() && part != crate::graph::params::Part::Bias,
            });
        }
    }
    out
}
