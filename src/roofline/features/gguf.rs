//! Features of a model in a GGUF file, as llama.cpp and Ollama run it.

use super::extract::matrices;
use super::{Coding, FeatureError, Matrices, MatrixRole, StepFeatures};
use crate::graph::{Graph, SkippedLayers};
use crate::ledger::gguf::GgufSizes;
use crate::ledger::traffic::Product;
use crate::model::gguf::{GgmlType, GgufMix};
use crate::run::GgufBytes;

impl StepFeatures {
    /// Reads the features of an unquantized graph as a GGUF file of format `mix` stores it, with the bytes of a file
    /// that was read where there is one. Launches are counted as
    /// MLX would launch them; the coefficients of llama.cpp belong to that count.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn of_gguf(
        graph: &Graph,
        mix: GgufMix,
        file: Option<GgufBytes>,
    ) -> Result<Self, FeatureError> {
        let sizes = GgufSizes::of(graph, mix);
        // A mixture stores equal layers in different formats, so all of them are read.
        let mut features =
            Self::read(graph, None, SkippedLayers::NONE, &|p| stored(graph, p, &sizes))?;
        features.weight_bytes = sizes.bytes as f64;
        if let Some(file) = file {
            features.weight_bytes = file.total() as f64;
            features.scale(graph, &sizes, file);
        }
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

    /// Makes the matrices of head, experts and layers as large together as they are in the file.
    fn scale(&mut self, graph: &Graph, sizes: &GgufSizes, file: GgufBytes) {
        let by_rule = sizes.parts(graph);
        let factor = |file: u64, rule: u64| file as f64 / rule.max(1) as f64;
        for m in &mut self.matrices {
            m.bytes *= match m.part {
                MatrixRole::Head => factor(file.head, by_rule.head),
                MatrixRole::Expert => factor(file.experts, by_rule.experts),
                MatrixRole::Layer => factor(file.rest, by_rule.rest),
            };
        }
    }
}

fn stored(graph: &Graph, p: &Product, sizes: &GgufSizes) -> Matrices {
    let plain = matrices(graph, p);
    let Some(stored) = sizes.of_module(p.module) else { return plain };
    let of_matrix = p.weights / (p.inner * p.outer).max(1);
    let bytes = stored.kind.bytes(p.outer, p.inner) * of_matrix;
    Matrices { bytes: bytes as f64, coding: coding(stored.kind), ..plain }
}

fn coding(kind: GgmlType) -> Coding {
    if kind.block_weights() == 1 {
        return Coding::Plain;
    }
    match kind {
        GgmlType::Q8_0 | GgmlType::Q4_0 | GgmlType::IQ4_NL | GgmlType::MXFP4 => Coding::Simple,
        _ => Coding::Grouped,
    }
}
