//! Features of a model in a GGUF file, as llama.cpp and Ollama run it.

use super::extract::matrices;
use super::{Coding, FeatureError, Matrices, MatrixRole, StepFeatures};
use crate::graph::tape::Stage;
use crate::graph::{Graph, SkippedLayers};
use crate::ledger::traffic::Product;
use crate::model::gguf_mix::{GgmlType, GgufMix, Role};

impl StepFeatures {
    /// Reads the features of an unquantised graph as a GGUF file of format `mix` stores it. Launches are counted as
    /// MLX would launch them; the coefficients of llama.cpp belong to that count.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn of_gguf(graph: &Graph, mix: GgufMix) -> Result<Self, FeatureError> {
        // A mixture stores equal layers in different formats, so all of them are read.
        let mut features =
            Self::read(graph, None, SkippedLayers::NONE, &|p| stored(graph, p, mix))?;
        features.weight_bytes = file_bytes(graph, mix);
        features.fp16 = true;
        let p = &mut features.prefill;
        if p.expert_bytes > 0.0 {
            let (used, all) = features
                .matrices
                .iter()
                .filter(|m| m.part == MatrixRole::Expert)
                .fold((0.0, 0.0), |(used, all), m| {
                    let bytes = m.launches * m.bytes;
                    (used + bytes, all + bytes * m.experts as f64 / m.chosen.max(1) as f64)
                });
            p.expert_bytes = if used > 0.0 { all } else { p.expert_bytes };
        }
        Ok(features)
    }
}

fn stored(graph: &Graph, p: &Product, mix: GgufMix) -> Matrices {
    let plain = matrices(graph, p);
    let path = &graph.params().module(p.module).path;
    let layer = match p.stage {
        Stage::Layer(i) => u64::from(i),
        Stage::Embed | Stage::Head => 0,
    };
    let role = if plain.part == MatrixRole::Head { Role::Output } else { role(path) };
    let role = match (plain.part, role) {
        (MatrixRole::Expert, Role::Other) => Role::Expert,
        (_, role) => role,
    };
    let kind = mix.tensor_type(role, layer, graph.layers());
    let matrices = p.weights / (p.inner * p.outer).max(1);
    Matrices {
        bytes: (kind.bytes(p.outer, p.inner) * matrices) as f64,
        coding: coding(kind),
        ..plain
    }
}

fn coding(kind: GgmlType) -> Coding {
    match kind {
        GgmlType::F16 | GgmlType::BF16 => Coding::Plain,
        GgmlType::Q8_0 | GgmlType::Q4_0 | GgmlType::Iq4Nl | GgmlType::Mxfp4 => Coding::Simple,
        _ => Coding::Grouped,
    }
}

fn role(path: &str) -> Role {
    let last = path.rsplit('.').next().unwrap_or(path);
    match last {
        "v_proj" => Role::Value,
        "down_proj" | "w2" | "fc2" | "c_proj" | "down" => Role::Down,
        "lm_head" => Role::Output,
        "embed_tokens" | "wte" => Role::Embedding,
        _ => Role::Other,
    }
}

/// Bytes of the matrices of a file, without its header.
fn file_bytes(graph: &Graph, mix: GgufMix) -> f64 {
    let mut total = 0;
    for module in graph.params().modules() {
        if !module.packable() {
            total += module.bytes();
            continue;
        }
        let layer = module.path.split('.').find_map(|part| part.parse::<u64>().ok()).unwrap_or(0);
        let kind = mix.tensor_type(role(&module.path), layer, graph.layers());
        let columns = u64::from(module.shape.dim(-1)).max(1);
        total += kind.bytes(module.shape.elements() / columns, columns);
    }
    total as f64
}
