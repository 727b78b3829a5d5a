//! The answer of `mlxplan inspect`.

use super::operations::{self, Operation};
use super::{STEP_CONTEXT, Sizes, growth_span};
use crate::cli::shared::words::parts_text;
use crate::estimate::OpenedModel;
use crate::graph::towers::ModelPart;
use crate::ledger::peak::Peak;
use crate::ledger::weights::{PartSize, Tensor, Weights};
use crate::report::{Column, Document, Present, Table};
use crate::run::Program;
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::collections::HashMap;

/// The object `mlxplan.inspect/1`.
#[derive(Serialize, JsonSchema)]
pub(in crate::cli) struct InspectAnswer {
    /// The model.
    model: Inspected,
    /// The program that loads it.
    engine: Program,
    /// Bytes of its weights.
    weights_bytes: u64,
    /// The same by part of the model.
    parts: Vec<PartSize>,
    /// Number of its tensors; as `tensor_count`.
    tensors: u64,
    /// Number of its tensors.
    tensor_count: u64,
    /// Parameters.
    parameters: u64,
    /// Parameters that a token uses.
    active_parameters: u64,
    /// Bytes in memory after loading, in whole pages.
    active_bytes: u64,
    /// Least and most bytes of them, where only the file tells.
    weights_interval_bytes: [u64; 2],
    /// Bits of a weight, quantization included, to four digits.
    #[serde(serialize_with = "four_digits")]
    bits_per_weight: f64,
    /// Experts of a layer.
    experts: Option<u64>,
    /// Experts that a token uses.
    experts_per_token: Option<u64>,
    /// Bytes of the routed experts.
    routed_expert_bytes: Option<u64>,
    /// Bytes of the embedding.
    embedding_bytes: u64,
    /// Layers.
    layers: u64,
    /// Tokens that the model was made for.
    max_context_tokens: Option<u64>,
    /// Bytes that the cache grows by with a token, from 4096 to 8192 tokens; of a quantized one from 8192 to 12288, since
    /// it is packed in between.
    #[serde(serialize_with = "whole")]
    kv_bytes_per_token: f64,
    /// Tokens between which that growth is read off.
    kv_growth_tokens: [u32; 2],
    /// Tokens from which the cache is quantized, where it is.
    kv_quantized_from_tokens: Option<u32>,
    /// Bytes of the cache after so many tokens.
    #[serde(serialize_with = "in_order")]
    #[schemars(with = "HashMap<String, u64>")]
    cache_bytes: Vec<(String, u64)>,
    /// Layers by the class of their cache.
    #[serde(serialize_with = "in_order")]
    #[schemars(with = "HashMap<String, u64>")]
    cache_classes: Vec<(String, u64)>,
    /// Tokens in the cache at the decode step that is counted.
    decode_step_context_tokens: u32,
    /// Bytes that the step reads.
    bytes_per_decode_token: u64,
    /// Weights among them.
    weight_bytes_per_decode_token: u64,
    /// Keys and values among them.
    kv_bytes_read: u64,
    /// States among them.
    state_bytes_read: u64,
    /// Kernels that the step launches.
    dispatches_per_token: u64,
    /// Operations of the prompt, a token.
    flops_per_prefill_token: f64,
    /// Peak memory of mlx-lm; `null` for a GGUF file, which other programs run.
    peak: Option<PeakKeys>,
    /// Bytes of the files.
    stored_bytes: Option<u64>,
    /// Bytes of the vision part.
    vision_bytes: Option<u64>,
    /// Bytes of the audio part.
    audio_bytes: Option<u64>,
    /// Bytes of the part that drafts tokens.
    mtp_bytes: Option<u64>,
    /// Where the model's description comes from.
    provenance: String,
    /// Remarks.
    notes: Vec<String>,
    /// Doubts.
    warnings: Vec<String>,
    /// Every tensor, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tensor_list: Option<Vec<Tensor>>,
    /// Every operation of a decode step, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    ops: Option<Vec<Operation>>,
    /// The parts of the peak in words.
    #[serde(skip)]
    peak_parts: String,
}

/// A model as `inspect` names it.
#[derive(Serialize, JsonSchema)]
struct Inspected {
    /// Its name.
    id: String,
    /// `model_type`.
    family: String,
    /// Format of its weights.
    quant: String,
}

/// Peak memory of a run of mlx-lm.
#[derive(Serialize, JsonSchema)]
struct PeakKeys {
    /// Tokens of the prompt.
    context_tokens: u32,
    /// The peak.
    peak_bytes: u64,
    /// Weights in it.
    weights_bytes: u64,
    /// Keys and values in it.
    kv_bytes: u64,
    /// States in it.
    state_bytes: u64,
    /// Attention scores in it.
    attention_scratch_bytes: u64,
    /// Buffers that run ahead.
    run_ahead_bytes: u64,
    /// The largest single buffer.
    largest_buffer_bytes: u64,
}

impl PeakKeys {
    fn of(p: &Peak) -> Self {
        Self {
            context_tokens: STEP_CONTEXT,
            peak_bytes: p.peak_bytes,
            weights_bytes: p.weights_bytes,
            kv_bytes: p.kv_bytes,
            state_bytes: p.state_bytes,
            attention_scratch_bytes: p.attention_scratch_bytes,
            run_ahead_bytes: p.run_ahead_bytes,
            largest_buffer_bytes: p.largest_buffer_bytes,
        }
    }
}

fn four_digits<S: Serializer>(x: &f64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_f64((x * 1e4).round() / 1e4)
}

/// A whole number as an integer.
fn whole<S: Serializer>(x: &f64, s: S) -> Result<S::Ok, S::Error> {
    if x.fract() == 0.0 { s.serialize_i64(*x as i64) } else { s.serialize_f64(*x) }
}

/// Pairs as an object whose keys keep their order.
fn in_order<S: Serializer>(pairs: &[(String, u64)], s: S) -> Result<S::Ok, S::Error> {
    s.collect_map(pairs.iter().map(|(name, n)| (name, n)))
}

impl InspectAnswer {
    /// What a model's sizes are.
    pub(super) fn of(
        subject: &OpenedModel,
        engine: Program,
        sizes: Sizes,
        tensor_list: Option<Vec<Tensor>>,
        ops: Option<Vec<Operation>>,
    ) -> Self {
        let Sizes {
            weights,
            cache,
            kv,
            kv_per_token,
            classes,
            step,
            flops_per_prefill_token,
            peak,
            gguf,
        } = sizes;
        let graph = &subject.graph;
        let Weights { tensors, .. } = weights;
        let experts = graph.experts();
        let parts = subject.source.parts.as_ref();
        Self {
            model: Inspected {
                id: subject.id.clone(),
                family: graph.model_type().to_owned(),
                quant: subject.quant.clone(),
            },
            engine,
            weights_bytes: weights.bytes,
            parts: match &gguf {
                Some(_) => vec![PartSize {
                    part: ModelPart::Language,
                    bytes: weights.bytes,
                    active_bytes: weights.active_bytes,
                }],
                None => PartSize::of(graph),
            },
            tensors,
            tensor_count: tensors,
            parameters: weights.parameters,
            active_parameters: weights.active_parameters,
            active_bytes: weights.active_bytes,
            weights_interval_bytes: gguf.map_or([weights.bytes; 2], |g| g.interval),
            bits_per_weight: weights.bytes as f64 * 8.0 / weights.parameters.max(1) as f64,
            experts: experts.map(|e| e.total),
            experts_per_token: experts.map(|e| e.chosen),
            routed_expert_bytes: experts.map(|_| weights.routed_expert_bytes),
            embedding_bytes: weights.embedding_bytes,
            layers: graph.layers(),
            max_context_tokens: graph.max_context(),
            kv_bytes_per_token: kv_per_token,
            kv_growth_tokens: growth_span(kv),
            kv_quantized_from_tokens: kv.map(|q| q.start),
            cache_bytes: cache.into_iter().map(|(n, bytes)| (n.to_string(), bytes)).collect(),
            cache_classes: classes.into_iter().map(|(c, n)| (c, n as u64)).collect(),
            decode_step_context_tokens: STEP_CONTEXT,
            bytes_per_decode_token: step.weight_bytes + step.kv_bytes + step.state_bytes,
            weight_bytes_per_decode_token: step.weight_bytes,
            kv_bytes_read: step.kv_bytes,
            state_bytes_read: step.state_bytes,
            dispatches_per_token: step.dispatches,
            flops_per_prefill_token: flops_per_prefill_token.round(),
            peak: peak.as_ref().map(PeakKeys::of),
            stored_bytes: subject.source.stored_bytes(),
            vision_bytes: parts.map(|p| p.vision),
            audio_bytes: parts.map(|p| p.audio),
            mtp_bytes: parts.map(|p| p.mtp),
            provenance: subject.source.origin.to_string(),
            notes: subject.notes.clone(),
            warnings: subject.warnings.clone(),
            tensor_list,
            ops,
            peak_parts: peak.as_ref().map(parts_text).unwrap_or_default(),
        }
    }
}

impl Present for InspectAnswer {
    const SCHEMA: &'static str = "mlxplan.inspect/1";

    fn document(&self) -> Document {
        let mut d = Document::default();
        d.heading(format!("{}  {}", self.model.id, self.model.quant));
        d.pairs(self.pairs());
        let mut table = Table::new(vec![
            Column::number("tokens"),
            Column::number("cache, bytes"),
            Column::number(""),
        ]);
        for (tokens, bytes) in &self.cache_bytes {
            table.row([tokens.clone(), bytes.to_string(), Bytes(*bytes).to_string()]);
        }
        d.table(table);
        let mut notes = self.warnings.clone();
        notes.extend(self.notes.iter().cloned());
        notes.push(format!("from {}", self.provenance));
        d.notes(notes);
        if let Some(tensors) = &self.tensor_list {
            d.main_table(tensors_table(tensors));
        }
        if let Some(ops) = &self.ops {
            d.main_table(operations::table(ops));
        }
        d
    }
}

impl InspectAnswer {
    fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut add = |n: &str, v: String| pairs.push((n.to_owned(), v));
        let exact = |bytes: u64| format!("{} ({bytes} B)", Bytes(bytes));
        add("family", format!("{}, {} layers", self.model.family, self.layers));
        add("parameters", self.parameters_text());
        add("weights", format!("{} in {} tensors", exact(self.weights_bytes), self.tensor_count));
        add("", format!("{:.3} bits per weight", self.bits_per_weight));
        let [low, high] = self.weights_interval_bytes;
        if low < high {
            add("", format!("{} to {}, as publishers differ", Bytes(low), Bytes(high)));
        }
        for size in self.parts.iter().filter(|_| self.parts.len() > 1) {
            add("", format!("{} of it {}", Bytes(size.bytes), size.part));
        }
        if let Some(bytes) = self.routed_expert_bytes.filter(|bytes| *bytes > 0) {
            add("", format!("{} of it routed experts", Bytes(bytes)));
        }
        add("in memory", format!("{} after loading, whole pages", exact(self.active_bytes)));
        if let Some(stored) = self.stored_bytes {
            add("files", exact(stored));
        }
        if let Some(n) = self.max_context_tokens {
            add("made for", format!("{n} tokens"));
        }
        let classes: Vec<String> =
            self.cache_classes.iter().map(|(class, n)| format!("{n} × {class}")).collect();
        add("cache", classes.join(", "));
        let growth = Bytes(self.kv_bytes_per_token.max(0.0).round() as u64);
        let [from, to] = self.kv_growth_tokens;
        add("", format!("{growth} a token (from {from} to {to} tokens)"));
        if let Some(start) = self.kv_quantized_from_tokens {
            add("", format!("quantized from token {start} on, as mlx-lm does it; 16 bits before"));
        }
        let read = Bytes(self.bytes_per_decode_token);
        add("decode step", format!("reads {read} at {STEP_CONTEXT} tokens:"));
        add("", self.traffic_text());
        add("", format!("launches {} kernels", self.dispatches_per_token));
        add("prefill", format!("{:.1} GFLOP a token", self.flops_per_prefill_token / 1e9));
        if let Some(keys) = &self.peak {
            let peak = Bytes(keys.peak_bytes);
            add(
                "peak memory",
                format!("{peak} for a prompt of {STEP_CONTEXT} tokens on a Max chip:"),
            );
            add("", self.peak_parts.clone());
        }
        pairs
    }

    fn traffic_text(&self) -> String {
        let state = match self.state_bytes_read {
            0 => String::new(),
            bytes => format!(", states {}", Bytes(bytes)),
        };
        let weights = Bytes(self.weight_bytes_per_decode_token);
        format!("weights {weights}, cache {}{state}", Bytes(self.kv_bytes_read))
    }

    fn parameters_text(&self) -> String {
        let all = billions(self.parameters);
        match (self.experts, self.experts_per_token) {
            (Some(total), Some(chosen)) => {
                let active = billions(self.active_parameters);
                format!("{all} ({active} active: {chosen} of {total} experts)")
            }
            _ => format!("{all} ({})", self.parameters),
        }
    }
}

fn tensors_table(tensors: &[Tensor]) -> Table {
    let mut table = Table::new(vec![
        Column::text("tensor"),
        Column::text("shape"),
        Column::text("type"),
        Column::number("bytes"),
    ]);
    for t in tensors {
        let shape = format!("{:?}", t.shape);
        table.row([t.name.clone(), shape, t.dtype.to_string(), t.bytes.to_string()]);
    }
    table
}

fn billions(n: u64) -> String {
    if n >= 1_000_000_000 {
        format!("{:.2} B", n as f64 / 1e9)
    } else {
        format!("{:.1} M", n as f64 / 1e6)
    }
}
