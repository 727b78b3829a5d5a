//! Bytes of a model in a GGUF file that was not read: from its tensors and the rules of `llama-quantize`.

mod places;

#[cfg(test)]
mod tests;

use crate::graph::Graph;
use crate::graph::families::{self, GgufTraits};
use crate::graph::params::{Module, ModuleId, ModuleKind};
use crate::model::Scheme;
use crate::model::gguf::{Category, Chooser, FileType, GgmlType, GgufMix, Matrix, MixFacts};
use crate::model::gguf::{MixRecipe, Publisher};
use crate::run::GgufBytes;

/// The tensors of a model as a GGUF file of some format stores them.
#[derive(Clone, Debug)]
pub struct GgufSizes {
    /// Bytes of all tensors, by the rules of the format.
    pub bytes: u64,
    /// Least and most bytes that files of that name have: with and without an importance matrix, and by publishers
    /// who set types of their own.
    pub interval: [u64; 2],
    stored: Vec<StoredTensor>,
}

/// The weight of a module in a GGUF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// Its type.
    pub kind: GgmlType,
    /// Its bytes, without a bias.
    pub bytes: u64,
    /// Bytes of its bias, in float32.
    pub bias_bytes: u64,
}

impl GgufSizes {
    /// The tensors of the language model of `graph`, whose packing does not matter.
    #[must_use]
    pub fn of(graph: &Graph, mix: GgufMix) -> Self {
        let with = stored(graph, mix, true);
        let (bytes, without) = (total(&with), total(&stored(graph, mix, false)));
        let [low, high] = spread(graph, mix);
        let interval = [
            (bytes.min(without) as f64 * low).floor() as u64,
            (bytes.max(without) as f64 * high).ceil() as u64,
        ];
        Self { bytes, interval, stored: with }
    }

    /// The weight of a module; all zero for a module that the file does not hold.
    #[must_use]
    pub fn of_module(&self, id: ModuleId) -> Option<&StoredTensor> {
        self.stored.get(id.index())
    }

    /// The bytes by what they are read for.
    #[must_use]
    pub fn parts(&self, graph: &Graph) -> GgufBytes {
        let category = |m: &Module| places::matrix(m).map(|m| m.category);
        let modules = || graph.params().modules().iter();
        let tied = !modules().any(|m| category(m) == Some(Category::Output));
        let mut parts = GgufBytes::default();
        for (module, stored) in modules().zip(&self.stored) {
            let part = match (module.kind, category(module)) {
                (_, Some(Category::Output)) => &mut parts.head,
                (ModuleKind::Embedding, _) if tied => &mut parts.head,
                (ModuleKind::Embedding, _) => &mut parts.embedding,
                (ModuleKind::SwitchLinear, _) => &mut parts.experts,
                _ => &mut parts.rest,
            };
            *part += stored.bytes + stored.bias_bytes;
        }
        parts
    }

    /// Every tensor of the file by the name of its module.
    pub fn tensors<'a>(
        &'a self,
        graph: &'a Graph,
    ) -> impl Iterator<Item = (&'a Module, &'a StoredTensor)> {
        graph.params().modules().iter().zip(&self.stored).filter(|(_, s)| s.bytes > 0)
    }
}

fn total(stored: &[StoredTensor]) -> u64 {
    stored.iter().map(|s| s.bytes + s.bias_bytes).sum()
}

/// Factors between which published files of a format lie around what the rules give.
///
/// Measured on the files of `tests/data/golden_gguf.json`: Unsloth's files of qwen35 and gemma4 -2 to +2 %, its dynamic
/// mixes +1 to +6 %, bartowski's of the same architectures 0 to +6 %, Q8_0 exact; models with an embedding for every
/// layer -6 to +15 %. Low-bit dynamic mixes and `Q8_K_XL` are estimates.
fn spread(graph: &Graph, mix: GgufMix) -> [f64; 2] {
    let exact = mix.file_type.is_float() || mix.file_type == FileType::MXFP4;
    let own_types = !traits(graph).plain_mixes;
    let modules = graph.params().modules();
    let by_layer = modules.iter().any(|m| m.path.ends_with("embed_tokens_per_layer"));
    match (mix.recipe, mix.publisher) {
        (_, Publisher::Plain) => [1.0, 1.0],
        _ if mix.file_type.is_float() => [1.0, 1.0],
        (MixRecipe::Dynamic, _) => dynamic(mix.file_type),
        _ if exact || !own_types => [1.0, 1.0],
        _ if mix.file_type == FileType::Q8_0 => [1.0, 1.01],
        _ if by_layer => [0.9, 1.18],
        (_, Publisher::Unsloth) => [0.96, 1.06],
        (_, Publisher::Bartowski | Publisher::Unknown) => [0.96, 1.1],
    }
}

const fn dynamic(file_type: FileType) -> [f64; 2] {
    match file_type {
        FileType::Q4_K_S | FileType::Q4_K_M | FileType::Q5_K_S | FileType::Q5_K_M => [0.93, 1.1],
        FileType::Q6_K => [0.98, 1.18],
        FileType::Q8_0 => [1.0, 1.5],
        _ => [0.85, 1.15],
    }
}

fn stored(graph: &Graph, mix: GgufMix, importance: bool) -> Vec<StoredTensor> {
    let modules = graph.params().modules();
    let mut placed: Vec<(usize, &Module, Matrix)> =
        modules.iter().enumerate().filter_map(|(i, m)| Some((i, m, places::matrix(m)?))).collect();
    placed.sort_by_key(|(_, module, matrix)| (matrix.layer, places::rank(module)));
    let matrices: Vec<(&Module, Matrix)> = placed.iter().map(|(_, m, x)| (*m, *x)).collect();
    let mut chooser = Chooser::new(mix, importance, facts(graph, &matrices));
    let native = native_experts(graph);
    let mut stored =
        vec![StoredTensor { kind: GgmlType::F32, bytes: 0, bias_bytes: 0 }; modules.len()];
    for (i, module, matrix) in placed {
        let chosen = chooser.next(&matrix);
        let kind = native.filter(|_| matrix.experts).unwrap_or(chosen);
        let bias_bytes = module.bias.map_or(0, |b| b.elements() * 4);
        stored[i] =
            StoredTensor { kind, bytes: kind.bytes(matrix.rows, matrix.columns), bias_bytes };
    }
    stored
}

/// The type of experts that the converter takes over as they are, whatever the format.
fn native_experts(graph: &Graph) -> Option<GgmlType> {
    let family = families::find(graph.model_type()).ok()?;
    matches!(family.native_scheme?, Scheme::Mxfp4 | Scheme::Mxfp4Q8).then_some(GgmlType::MXFP4)
}

/// What llama.cpp's tools make of the model's family.
fn traits(graph: &Graph) -> GgufTraits {
    families::find(graph.model_type()).map(|family| family.gguf).unwrap_or_default()
}

fn facts(graph: &Graph, matrices: &[(&Module, Matrix)]) -> MixFacts {
    let of = |category| matrices.iter().filter(move |(_, m)| m.category == category);
    let layers = graph.layers();
    MixFacts {
        layers,
        grouped_queries: grouped_queries(graph, matrices),
        experts: graph.experts().map_or(0, |e| e.total),
        values: of(Category::Value).count() as u64,
        tied: of(Category::Output).next().is_none(),
        seventy_billion: layers == 80 && traits(graph).seventy_billion,
        // No family of mlx-lm is the first Falcon.
        falcon: false,
    }
}

/// Query heads per key head, from the shapes of the first attention: the output projection reads all query heads, the
/// values have the key heads. Converters that state heads by layer say 0 for a first layer without attention.
fn grouped_queries(graph: &Graph, matrices: &[(&Module, Matrix)]) -> u64 {
    let output = matrices.iter().find(|(_, m)| m.category == Category::AttentionOutput);
    let Some((_, output)) = output else { return 0 };
    if output.layer > 0 && traits(graph).heads_by_layer {
        return 0;
    }
    // One latent serves all heads.
    if matrices.iter().any(|(m, _)| m.kind == ModuleKind::MultiLinear) {
        return u64::MAX;
    }
    let value =
        matrices.iter().find(|(_, m)| m.category == Category::Value && m.layer == output.layer);
    let key_heads = match value {
        Some((m, v)) if m.path.ends_with("v_proj") || m.path.ends_with("wv") => v.rows,
        Some((_, fused)) => fused.rows.saturating_sub(output.columns) / 2,
        None => output.columns,
    };
    output.columns / key_heads.max(1)
}
