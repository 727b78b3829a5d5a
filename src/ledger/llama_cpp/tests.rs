//! Buffers against the logs of the real llama.cpp.

use super::*;
use crate::graph::Graph;
use crate::model::catalog::Models;
use crate::model::{Config, DType};
use serde::Deserialize;

const LOGS: &str = include_str!("../../../tests/data/llama_cpp_buffers.csv");
const MIB: f64 = 1_048_576.0;

/// A log of llama.cpp on a Mac.
#[derive(Debug, Deserialize)]
struct Logged {
    model: String,
    build: u32,
    context: u64,
    slots: u64,
    unified: bool,
    micro_batch: u64,
    flash: String,
    keys: String,
    values: String,
    logits: String,
    kv_mib: Option<f64>,
    state_mib: Option<f64>,
    compute_mib: f64,
    host_mib: Option<f64>,
}

impl Logged {
    fn settings(&self) -> LlamaSettings {
        LlamaSettings {
            context: self.context,
            slots: self.slots,
            unified: self.unified,
            micro_batch: self.micro_batch,
            flash: self.flash == "on",
            kv: [&self.keys, &self.values].map(|t| t.parse().expect("a type")),
            all_logits: self.logits == "all",
            release: LlamaRelease::of(self.build),
        }
    }
}

fn layout_of(model: &str) -> std::sync::Arc<Layout> {
    let catalog = Models::built_in().expect("built in");
    let entry = catalog.get(model).expect(model);
    let entry = entry.entry().expect("an entry");
    let graph = Graph::new(&entry.config, DType::F16).expect("a family");
    Layout::of(&graph).expect("runs")
}

/// Published logs: caches and states to the digit, inputs within 2 %, intermediate results within 15 %.
#[test]
fn buffers_are_those_of_published_logs() {
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(LOGS.as_bytes());
    let logs: Vec<Logged> = reader.deserialize().collect::<Result<_, _>>().expect("readable");
    assert!(logs.len() >= 12, "{}", logs.len());
    let mut wrong = Vec::new();
    for log in &logs {
        let layout = layout_of(&log.model);
        let found = LlamaBuffers::of(&layout, 0, &log.settings());
        let mut near = |what: &str, bytes: u64, logged: Option<f64>, share: f64| {
            let Some(logged) = logged else { return };
            let mib = bytes as f64 / MIB;
            if (mib - logged).abs() > share * logged + 0.006 {
                wrong.push(format!(
                    "{} {what}: {mib:.2} for {logged:.2} ({})",
                    log.model, log.context
                ));
            }
        };
        near("cache", found.kv_bytes, log.kv_mib, 0.0);
        near("states", found.state_bytes, log.state_mib, 0.0);
        near("host", found.host_compute_bytes, log.host_mib, 0.02);
        near("compute", found.compute_bytes, Some(log.compute_mib), 0.15);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// SmolLM2-135M, of which llama.cpp b11549 printed these buffers on the CPU.
#[test]
fn a_small_model_on_the_cpu_is_exact() {
    let config = Config::parse(
        r#"{"model_type":"llama","hidden_size":576,"num_hidden_layers":30,"num_attention_heads":9,
            "num_key_value_heads":3,"intermediate_size":1536,"vocab_size":49152,"tie_word_embeddings":true,
            "rms_norm_eps":1e-5}"#,
    );
    let graph = Graph::new(&config.expect("valid JSON"), DType::F16).expect("a known family");
    let layout = Layout::of(&graph).expect("runs");
    let usual = LlamaSettings {
        context: 2048,
        slots: 2,
        unified: true,
        micro_batch: 512,
        flash: true,
        kv: [KvType::F16; 2],
        all_logits: false,
        release: LlamaRelease::NEWEST,
    };
    let cases = [
        (usual, 45.0, 16.64),
        (LlamaSettings { context: 4096, ..usual }, 90.0, 18.64),
        (LlamaSettings { micro_batch: 256, ..usual }, 45.0, 8.32),
        (LlamaSettings { unified: false, ..usual }, 45.0, 15.64),
        (LlamaSettings { slots: 1, kv: [KvType::Q8_0; 2], ..usual }, 23.91, 16.67),
        (LlamaSettings { context: 8192, slots: 1, ..usual }, 180.0, 22.64),
        (LlamaSettings { flash: false, ..usual }, 45.0, 47.51),
        (LlamaSettings { flash: false, context: 512, slots: 1, ..usual }, 11.25, 17.51),
    ];
    for (settings, kv, compute) in cases {
        let cache = LlamaBuffers::of(&layout, 0, &settings).kv_bytes as f64 / MIB;
        assert!((cache - kv).abs() < 0.006, "{settings:?}: {cache}");
        let found = cpu_compute_bytes(&layout, &settings) as f64 / MIB;
        assert!((found / compute - 1.0).abs() < 0.001, "{settings:?}: {found}");
    }
}

const SMALL: &str = include_str!("../../../tests/data/llama_cpp_small.json");

/// A small model with random weights, and what llama.cpp b11549 printed of its buffers on the CPU.
#[derive(Debug, Deserialize)]
struct SmallModel {
    config: serde_json::Map<String, serde_json::Value>,
    runs: Vec<SmallRun>,
}

#[derive(Debug, Deserialize)]
struct SmallRun {
    context: u64,
    slots: u64,
    unified: bool,
    micro_batch: u64,
    flash: bool,
    kv: String,
    kv_mib: f64,
    state_mib: f64,
    compute_mib: f64,
}

/// Dense models, experts, windows, convolutions and recurrences with other slots, types of the cache, batches and without
/// flash attention: caches and states to the digit, intermediate results within 2 %.
#[test]
fn small_models_of_all_kinds_are_within_two_percent() {
    let models: Vec<SmallModel> = serde_json::from_str(SMALL).expect("readable");
    let mut wrong = Vec::new();
    for model in models {
        let graph = Graph::new(&Config::new(model.config), DType::F16).expect("a known family");
        let layout = Layout::of(&graph).expect("runs");
        for run in &model.runs {
            let settings = LlamaSettings {
                context: run.context,
                slots: run.slots,
                unified: run.unified,
                micro_batch: run.micro_batch,
                flash: run.flash,
                kv: [run.kv.parse().expect("a type"); 2],
                all_logits: false,
                release: LlamaRelease::NEWEST,
            };
            let found = LlamaBuffers::of(&layout, 0, &settings);
            let compute = cpu_compute_bytes(&layout, &settings);
            for (what, bytes, printed, share) in [
                ("cache", found.kv_bytes, run.kv_mib, 0.0),
                ("states", found.state_bytes, run.state_mib, 0.0),
                ("compute", compute, run.compute_mib, 0.02),
            ] {
                let mib = bytes as f64 / MIB;
                if (mib - printed).abs() > share * printed + 0.011 {
                    let kind = graph.model_type();
                    wrong.push(format!("{kind} {what}: {mib:.2} for {printed:.2}: {run:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
