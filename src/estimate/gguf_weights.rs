//! Sizes of the weights of a model that a program on llama.cpp runs: by the file, or by the rules of its format.

use super::opened::OpenedModel;
use crate::graph::params::ModuleKind;
use crate::graph::shape::Shape;
use crate::ledger::gguf::GgufSizes;
use crate::ledger::pages;
use crate::ledger::weights::{Tensor, TensorType, Weights};
use crate::run::GgufBytes;

/// The weights of a GGUF file, read or not.
#[derive(Clone, Debug)]
pub struct GgufWeights {
    /// Their sizes.
    pub weights: Weights,
    /// Bytes by what they are read for.
    pub parts: GgufBytes,
    /// Least and most bytes, where only the file tells.
    pub interval: [u64; 2],
    /// Every tensor; without a file under the names of MLX's modules.
    pub tensors: Vec<Tensor>,
}

impl GgufWeights {
    /// The weights of a model in a GGUF format; `None` for one that is in no such format.
    #[must_use]
    pub fn of(model: &OpenedModel) -> Option<Self> {
        let mix = model.gguf_mix()?;
        let graph = &model.graph;
        let of_graph = Weights::of(graph);
        let (parts, interval, tensors, parameters) = match &model.source.gguf {
            Some(file) => {
                let tensors: Vec<Tensor> = file.loaded_tensors().map(stored).collect();
                let parts = file.loaded();
                (parts, [parts.total(); 2], tensors, file.loaded_parameters())
            }
            None => {
                let sizes = GgufSizes::of(graph, mix);
                let tensors = sizes.tensors(graph).map(|(module, stored)| Tensor {
                    name: module.path.clone(),
                    shape: module.shape,
                    dtype: TensorType::Gguf(stored.kind),
                    bytes: stored.bytes + stored.bias_bytes,
                    quantized: stored.kind.block_weights() > 1,
                });
                let tensors = tensors.collect();
                (sizes.parts(graph), sizes.interval, tensors, of_graph.parameters)
            }
        };
        let idle = of_graph.parameters - of_graph.active_parameters;
        let embedding_is_head = !graph
            .params()
            .modules()
            .iter()
            .any(|m| m.kind == ModuleKind::Linear && is_head(&m.path));
        let weights = Weights {
            bytes: parts.total(),
            // llama.cpp maps or allocates all tensors in one buffer.
            active_bytes: pages::round(parts.total()),
            tensors: tensors.len() as u64,
            parameters,
            active_parameters: parameters.saturating_sub(idle),
            routed_expert_bytes: parts.experts,
            embedding_bytes: if embedding_is_head { parts.head } else { parts.embedding },
        };
        Some(Self { weights, parts, interval, tensors })
    }

    /// Bytes of weights that a decode step reads, where `chosen` of `total` experts serve a token.
    #[must_use]
    pub fn bytes_per_step(&self, experts: Option<(u64, u64)>) -> u64 {
        let (chosen, total) = experts.unwrap_or((1, 1));
        let share = u128::from(self.parts.experts) * u128::from(chosen) / u128::from(total.max(1));
        self.parts.head + self.parts.rest + u64::try_from(share).unwrap_or(u64::MAX)
    }
}

fn is_head(path: &str) -> bool {
    path.ends_with("lm_head") || path == "output"
}

fn stored(tensor: &crate::model::source::gguf::GgufTensor) -> Tensor {
    let dims: Vec<u32> =
        tensor.dims.iter().rev().map(|n| u32::try_from(*n).unwrap_or(u32::MAX)).collect();
    Tensor {
        name: tensor.name.clone(),
        shape: Shape::new(&dims),
        dtype: TensorType::Gguf(tensor.kind),
        bytes: tensor.bytes,
        quantized: tensor.kind.block_weights() > 1,
    }
}
