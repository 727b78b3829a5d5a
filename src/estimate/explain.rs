//! Every byte of a prediction, with the rule behind it.

use super::gpu::gpu;
use super::memory::Memory;
use super::opened::OpenedModel;
use crate::graph::params::ModuleKind;
use crate::hardware::machine::Machine;
use crate::ledger::peak::{PeakError, Step, full};
use crate::run::Run;
use schemars::JsonSchema;
use serde::Serialize;

/// A line of a ledger.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct ExplanationLine {
    /// What it is.
    pub part: String,
    /// Its bytes.
    pub bytes: u64,
    /// The rule behind them.
    pub rule: &'static str,
}

/// The ledgers of a prediction.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Explanation {
    /// Weights by kind of module.
    pub weights: Vec<ExplanationLine>,
    /// What the peak consists of; `null` where memory is not simulated.
    pub peak: Option<Vec<ExplanationLine>>,
    /// Every simulated step; `null` where memory is not simulated.
    pub steps: Option<Vec<Step>>,
}

impl Explanation {
    /// Explains the bytes of a run with the memory that was predicted, if it was. This simulates every chunk and many
    /// tokens.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn of(
        model: &OpenedModel,
        machine: &Machine,
        run: &Run,
        memory: Option<&Memory>,
    ) -> Result<Self, PeakError> {
        let steps = match memory {
            Some(_) => Some(full(&model.graph, run, gpu(machine, &run.engine))?.steps),
            None => None,
        };
        Ok(Self { weights: weights(model), peak: memory.map(peak), steps })
    }
}

fn weights(model: &OpenedModel) -> Vec<ExplanationLine> {
    let mut out: Vec<ExplanationLine> = Vec::new();
    for module in model.graph.params().modules() {
        let (name, rule) = kind(module.kind);
        let packing = match module.packing {
            Some(p) => format!("{} {} bit, group {}", p.mode.name(), p.bits, p.group),
            None => "unquantized".to_owned(),
        };
        let part = format!("{name}, {packing}");
        let bytes: u64 = module.tensors().map(|(_, s, t)| s.elements() * t.bytes()).sum();
        match out.iter_mut().find(|known| known.part == part) {
            Some(line) => line.bytes += bytes,
            None => out.push(ExplanationLine { part, bytes, rule }),
        }
    }
    out
}

fn kind(kind: ModuleKind) -> (&'static str, &'static str) {
    match kind {
        ModuleKind::Linear => {
            ("matrices", "rows × columns × bits / 8, and a scale and a bias per group")
        }
        ModuleKind::Embedding => ("embeddings", "the same; only the rows of the tokens are read"),
        ModuleKind::SwitchLinear => {
            ("routed experts", "all are loaded; those that a token is routed to are read")
        }
        ModuleKind::MultiLinear => ("matrices per head", "one matrix per head"),
        _ => ("other tensors", "as stored"),
    }
}

fn peak(memory: &Memory) -> Vec<ExplanationLine> {
    let (p, process) = (&memory.peak, &memory.process);
    let line = |part: &str, bytes, rule| ExplanationLine { part: part.to_owned(), bytes, rule };
    vec![
        line("weights", p.weights_bytes, "every tensor rounded up to whole pages of 16 KiB"),
        line("cache", p.kv_bytes, "keys and values, grown 256 tokens at a time"),
        line("states", p.state_bytes, "recurrent and convolution states"),
        line(
            "attention scores",
            p.attention_scratch_bytes,
            "heads × chunk × context where attention is not one fused kernel",
        ),
        line(
            "run-ahead",
            p.run_ahead_bytes,
            "intermediates of the command buffers that wait for the GPU, and caches being replaced",
        ),
        line("kept caches", p.kept_bytes, "caches of earlier prompts, and of other sequences"),
        line("MLX's peak", p.peak_bytes, "mx.get_peak_memory()"),
        line(
            "kept for reuse",
            process.mlx_resident_bytes - process.mlx_peak_bytes,
            "freed buffers that MLX keeps, up to 0.95 of the GPU limit (mx.get_cache_memory())",
        ),
        line("largest buffer", p.largest_buffer_bytes, "Metal's maxBufferLength limits it"),
    ]
}
