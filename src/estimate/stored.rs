//! The weights of a run as its engine stores them: MLX's tensors, or those of a GGUF file.

use super::warning::Warning;
use crate::estimate::OpenedModel;
use crate::graph::Graph;
use crate::graph::families;
use crate::ledger::gguf::GgufSizes;
use crate::ledger::weights::Weights;
use crate::model::NamedFormat;
use crate::model::gguf::{FileType, GgufMix};
use crate::run::{FormatOrigin, ModelFile};

/// Bytes of the weights of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredWeights {
    /// All of them, as the engine loads them.
    pub bytes: u64,
    /// Least and most that they may be, where only the file tells.
    pub interval: [u64; 2],
}

impl StoredWeights {
    /// The weights of a graph in a file.
    #[must_use]
    pub fn of(graph: &Graph, file: &ModelFile) -> Self {
        let exact = |bytes| Self { bytes, interval: [bytes; 2] };
        match (file.stored, file.gguf) {
            (Some(stored), _) => exact(stored.total()),
            (None, Some(mix)) => {
                let sizes = GgufSizes::of(graph, mix);
                Self { bytes: sizes.bytes, interval: sizes.interval }
            }
            (None, None) => exact(Weights::of(graph).bytes),
        }
    }
}

/// The GGUF file that a program on llama.cpp runs of a model whose GGUF format was not said: the equal of the format
/// that was, else the one closest to its bits, else Q4_K_M, which llama.cpp and Ollama take by default, or the format
/// that the model was published in.
pub(super) fn assumed_gguf(model: &OpenedModel) -> (ModelFile, Warning) {
    let graph = &model.graph;
    let asked = matches!(model.origin, FormatOrigin::Name | FormatOrigin::File);
    let file = model.file();
    if asked {
        let equal = graph.uniform_scheme().and_then(|s| NamedFormat::Mlx(s).as_gguf());
        let mix = equal.unwrap_or_else(|| GgufMix::nearest(graph.bits_per_weight()));
        return (ModelFile { gguf: Some(mix), ..file }, Warning::GgufMixAssumed(mix));
    }
    let native = families::find(graph.model_type()).ok().and_then(|f| f.native_scheme);
    let mix = native.map_or(GgufMix::DEFAULT, |_| GgufMix::plain(FileType::MXFP4));
    let file = ModelFile { gguf: Some(mix), origin: FormatOrigin::EngineDefault, ..file };
    (file, Warning::GgufMixAssumed(mix))
}
