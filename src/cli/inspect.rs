//! `mlxplan inspect`: exact sizes of a model and the traffic of a decode step.

use super::args::InspectArgs;
use super::run_args::kv_quantisation;
use super::words::parts_text;
use super::{Context, Verdict};
use crate::estimate::OpenedModel;
use crate::graph::tape::Stage;
use crate::graph::{Call, SkippedLayers};
use crate::ledger::cache::{self, PREFILL_STEP};
use crate::ledger::peak::{self, Peak};
use crate::ledger::replay::{ArchClass, Gpu};
use crate::ledger::traffic::{self, Traffic};
use crate::ledger::weights::{self, Weights};
use crate::report::{Answer, Column, Document, Table};
use crate::run::Run;
use crate::units::Bytes;
use anyhow::Result;
use serde_json::{Map, Value, json};

/// Tokens in the cache at the decode step whose traffic is shown.
const STEP_CONTEXT: u32 = 4096;
/// The GPU whose launch rules count kernels: a Max chip without matrix units.
const REFERENCE_GPU: Gpu = Gpu { class: ArchClass::Max, generation: 16, nax: false };

pub(super) fn run(context: &Context, args: &InspectArgs) -> Result<(Answer, Verdict)> {
    let quant = args.quant.as_deref();
    let subject = context.one_model(&args.model, quant, args.assume.as_deref())?;
    let kv = kv_quantisation(args.kv_bits)?;
    let sizes = Sizes::of(&subject, &args.tokens, kv)?;
    let mut json = sizes.json(&subject);
    let mut document = sizes.document(&subject);
    if args.tensors {
        let list = weights::tensors(&subject.graph);
        json["tensors"] = serde_json::to_value(&list)?;
        let mut table = Table::new(vec![
            Column::text("tensor"),
            Column::text("shape"),
            Column::text("type"),
            Column::number("bytes"),
        ]);
        for t in list {
            let shape = format!("{:?}", t.shape);
            table.row([t.name, shape, t.dtype.to_string(), t.bytes.to_string()]);
        }
        document.main_table(table);
    }
    if args.ops {
        let (table, ops) = operations(&subject)?;
        document.main_table(table);
        json["ops"] = Value::Array(ops);
    }
    Ok((Answer::untyped(json, document), Verdict::Ok))
}

struct Sizes {
    weights: Weights,
    /// Tokens and the bytes of the cache after them.
    cache: Vec<(u32, u64)>,
    kv_per_token: f64,
    classes: Vec<(String, usize)>,
    step: Traffic,
    flops_per_prefill_token: f64,
    peak: Peak,
}

impl Sizes {
    fn of(
        subject: &OpenedModel,
        tokens: &[u32],
        kv: Option<crate::graph::cache::KvQuantisation>,
    ) -> Result<Self> {
        let graph = &subject.graph;
        let after = |n: u32| -> Result<u64> {
            let caches = cache::after_prompt(graph, n, PREFILL_STEP, 1, kv)?;
            Ok(cache::bytes(&caches))
        };
        let slope = (after(8192)? as f64 - after(4096)? as f64) / 4096.0;
        let mut classes: Vec<(String, usize)> = Vec::new();
        for c in cache::after_prompt(graph, 8192, PREFILL_STEP, 1, kv)? {
            match classes.iter_mut().find(|(name, _)| *name == c.class()) {
                Some((_, n)) => *n += 1,
                None => classes.push((c.class(), 1)),
            }
        }
        let step =
            traffic::decode_step(graph, STEP_CONTEXT, 1, REFERENCE_GPU, kv, SkippedLayers::NONE)?;
        let call = Call { kv, ..Call::prefill(PREFILL_STEP) };
        let prefill = traffic::step(graph, &mut graph.make_cache(), call, REFERENCE_GPU)?;
        let run = Run::default().with_context(STEP_CONTEXT).with_kv(kv);
        Ok(Self {
            peak: peak::peak(graph, &run, REFERENCE_GPU)?,
            weights: Weights::of(graph),
            cache: tokens.iter().map(|&n| Ok((n, after(n)?))).collect::<Result<_>>()?,
            kv_per_token: slope,
            classes,
            step,
            flops_per_prefill_token: prefill.flops / f64::from(PREFILL_STEP),
        })
    }

    fn json(&self, subject: &OpenedModel) -> Value {
        let w = &self.weights;
        let cache: Map<String, Value> =
            self.cache.iter().map(|(n, b)| (n.to_string(), json!(b))).collect();
        let classes: Map<String, Value> =
            self.classes.iter().map(|(c, n)| (c.clone(), json!(n))).collect();
        let experts = subject.graph.experts();
        let parts = subject.source.parts.as_ref();
        json!({
            "schema": "mlxplan.inspect/1",
            "model": { "id": subject.id, "family": subject.graph.model_type(), "quant": subject.quant },
            "weights_bytes": w.bytes, "tensors": w.tensors, "tensor_count": w.tensors,
            "parameters": w.parameters, "active_parameters": w.active_parameters,
            "active_bytes": w.active_bytes,
            "bits_per_weight": round(subject.graph.bits_per_weight(), 4),
            "experts": experts.map(|e| e.total), "experts_per_token": experts.map(|e| e.chosen),
            "routed_expert_bytes": experts.map(|_| w.routed_expert_bytes),
            "embedding_bytes": w.embedding_bytes,
            "layers": subject.graph.layers(),
            "max_context_tokens": subject.graph.max_context(),
            "kv_bytes_per_token": whole(self.kv_per_token), "cache_bytes": cache, "cache_classes": classes,
            "decode_step_context_tokens": STEP_CONTEXT,
            "bytes_per_decode_token": self.step.weight_bytes + self.step.kv_bytes + self.step.state_bytes,
            "weight_bytes_per_decode_token": self.step.weight_bytes,
            "kv_bytes_read": self.step.kv_bytes, "state_bytes_read": self.step.state_bytes,
            "dispatches_per_token": self.step.dispatches,
            "flops_per_prefill_token": round(self.flops_per_prefill_token, 0),
            "peak": {
                "context_tokens": STEP_CONTEXT, "peak_bytes": self.peak.peak_bytes,
                "weights_bytes": self.peak.weights_bytes, "kv_bytes": self.peak.kv_bytes,
                "state_bytes": self.peak.state_bytes,
                "attention_scratch_bytes": self.peak.attention_scratch_bytes,
                "run_ahead_bytes": self.peak.run_ahead_bytes,
                "largest_buffer_bytes": self.peak.largest_buffer_bytes,
            },
            "stored_bytes": subject.source.stored_bytes(),
            "vision_bytes": parts.map(|p| p.vision), "audio_bytes": parts.map(|p| p.audio),
            "mtp_bytes": parts.map(|p| p.mtp),
            "provenance": subject.source.origin.to_string(),
            "notes": subject.notes, "warnings": subject.warnings,
        })
    }

    fn document(&self, subject: &OpenedModel) -> Document {
        let w = &self.weights;
        let mut d = Document::default();
        d.heading(format!("{}  {}", subject.id, subject.quant));
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut add = |n: &str, v: String| pairs.push((n.to_owned(), v));
        add("family", format!("{}, {} layers", subject.graph.model_type(), subject.graph.layers()));
        add("parameters", parameters(w, subject));
        add("weights", format!("{} ({} B) in {} tensors", Bytes(w.bytes), w.bytes, w.tensors));
        add("", format!("{:.3} bits per weight", subject.graph.bits_per_weight()));
        if w.routed_expert_bytes > 0 {
            add("", format!("{} of it routed experts", Bytes(w.routed_expert_bytes)));
        }
        add(
            "in memory",
            format!("{} ({} B) after loading, whole pages", Bytes(w.active_bytes), w.active_bytes),
        );
        if let Some(stored) = subject.source.stored_bytes() {
            add("files", format!("{} ({stored} B)", Bytes(stored)));
        }
        if let Some(n) = subject.graph.max_context() {
            add("made for", format!("{n} tokens"));
        }
        let classes: Vec<String> = self.classes.iter().map(|(c, n)| format!("{n} × {c}")).collect();
        add("cache", classes.join(", "));
        add(
            "",
            format!(
                "{} a token (from 4096 to 8192 tokens)",
                Bytes(self.kv_per_token.max(0.0).round() as u64)
            ),
        );
        let read = self.step.weight_bytes + self.step.kv_bytes + self.step.state_bytes;
        add("decode step", format!("reads {} at {STEP_CONTEXT} tokens:", Bytes(read)));
        let state = if self.step.state_bytes > 0 {
            format!(", states {}", Bytes(self.step.state_bytes))
        } else {
            String::new()
        };
        add(
            "",
            format!(
                "weights {}, cache {}{state}",
                Bytes(self.step.weight_bytes),
                Bytes(self.step.kv_bytes)
            ),
        );
        add("", format!("launches {} kernels", self.step.dispatches));
        add("prefill", format!("{:.1} GFLOP a token", self.flops_per_prefill_token / 1e9));
        let add =
            |pairs: &mut Vec<(String, String)>, n: &str, v: String| pairs.push((n.to_owned(), v));
        add(
            &mut pairs,
            "peak memory",
            format!(
                "{} for a prompt of {STEP_CONTEXT} tokens on a Max chip:",
                Bytes(self.peak.peak_bytes)
            ),
        );
        add(&mut pairs, "", parts_text(&self.peak));
        d.pairs(pairs);
        let mut table = Table::new(vec![
            Column::number("tokens"),
            Column::number("cache, bytes"),
            Column::number(""),
        ]);
        for &(n, bytes) in &self.cache {
            table.row([n.to_string(), bytes.to_string(), Bytes(bytes).to_string()]);
        }
        d.table(table);
        let mut notes = subject.warnings.clone();
        notes.extend(subject.notes.iter().cloned());
        notes.push(format!("from {}", subject.source.origin));
        d.notes(notes);
        d
    }
}

fn parameters(w: &Weights, subject: &OpenedModel) -> String {
    match subject.graph.experts() {
        Some(e) => format!(
            "{} ({} active: {} of {} experts)",
            billions(w.parameters),
            billions(w.active_parameters),
            e.chosen,
            e.total
        ),
        None => format!("{} ({})", billions(w.parameters), w.parameters),
    }
}

fn billions(n: u64) -> String {
    if n >= 1_000_000_000 {
        format!("{:.2} B", n as f64 / 1e9)
    } else {
        format!("{:.1} M", n as f64 / 1e6)
    }
}

fn round(x: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (x * scale).round() / scale
}

/// A whole number as an integer.
fn whole(x: f64) -> Value {
    if x.fract() == 0.0 { json!(x as i64) } else { json!(x) }
}

/// Every operation of a decode step.
fn operations(subject: &OpenedModel) -> Result<(Table, Vec<Value>)> {
    let graph = &subject.graph;
    let mut caches = cache::after_prompt(graph, STEP_CONTEXT - 1, PREFILL_STEP, 1, None)?;
    let trace = graph.trace(&mut caches, Call::decode(), REFERENCE_GPU.routing())?;
    let mut table = Table::new(vec![
        Column::text("part"),
        Column::text("operation"),
        Column::text("inputs"),
        Column::text("output"),
    ]);
    let mut ops = Vec::new();
    for node in trace.nodes() {
        let stage = match node.stage {
            Stage::Embed => "embed".to_owned(),
            Stage::Head => "head".to_owned(),
            Stage::Layer(i) => i.to_string(),
        };
        let shapes: Vec<_> = trace.inputs(node).iter().map(|v| trace.value(*v).shape).collect();
        let out = trace.value(trace.outputs(node)[0]);
        let inputs = shapes.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(" ");
        table.row([stage.clone(), trace.name(node), inputs, format!("{:?}", out.shape)]);
        ops.push(json!({
            "stage": stage, "op": trace.name(node), "inputs": shapes, "output": out.shape, "dtype": out.dtype,
        }));
    }
    Ok((table, ops))
}
