//! Peaks of memory that users published, by engine and version: each with the published value, the answer and its
//! interval.

use mlxplan::engine::programs::AskedEngine;
use mlxplan::estimate::{Estimator, Memory};
use mlxplan::graph::Graph;
use mlxplan::hardware::machine::Machine;
use mlxplan::hardware::{Macs, spec};
use mlxplan::model::Scheme;
use mlxplan::model::catalog::Models;
use mlxplan::roofline::Coefficients;
use mlxplan::run::Run;

pub fn graph(model: &str, quant: &str) -> Graph {
    let models = Models::built_in().expect("a good catalog");
    let entry = models.get(model).expect("in the catalog").entry().expect("a good entry");
    let scheme: Scheme = quant.parse().expect("a scheme");
    Graph::quantized(&entry.config, scheme).expect("a graph")
}

/// A run by an engine, as it is asked for: `mlx-lm@0.31.3 mlx=0.32.0 macos=26.6.1 chunk=4096`.
pub fn asked(engine: &str, context: u32, generate: u32) -> Run {
    let mut asked = AskedEngine::default();
    for word in engine.split_whitespace() {
        match word.split_once('=') {
            Some(("mlx", version)) => asked.mlx = version.parse().ok(),
            Some(("macos", version)) => asked.macos = version.parse().ok(),
            Some(("chunk", tokens)) => asked.prefill_step = tokens.parse().ok(),
            _ => asked.engine = Some(word.parse().expect("an engine")),
        }
    }
    let setup = asked.setup().expect("a good file");
    Run::default().with_engine(setup).with_context(context).with_generated(generate)
}

pub fn mac(text: &str) -> Machine {
    spec::resolve(text, &Macs::embedded()).expect("a Mac")
}

fn memory(graph: &Graph, mac: &str, run: Run) -> Memory {
    let mac = self::mac(mac);
    let coefficients = Coefficients::embedded().expect("built in");
    Estimator::of_graph(coefficients, graph, run).memory(&mac).expect("runs")
}

/// What is wrong with the peak of a run, if anything: it must lie within `near` of the published one.
pub fn differs(graph: &Graph, mac: &str, run: Run, published: f64, near: f64) -> Option<String> {
    let memory = memory(graph, mac, run);
    let peak = memory.peak.peak_bytes as f64 / 1e9;
    let [low, high] = memory.peak_interval_90.map(|b| b.gb());
    let line = format!(
        "{mac}, {} tokens: published {published}, {peak:.2} [{low:.2}, {high:.2}]",
        run.work.context_tokens
    );
    println!("{line}");
    ((peak / published - 1.0).abs() > near).then_some(line)
}

const LADDER: [(u32, f64); 7] = [
    (8_192, 21.7),
    (32_768, 23.8),
    (65_536, 26.7),
    (100_000, 29.8),
    (130_000, 32.5),
    (160_000, 35.2),
    (192_000, 38.0),
];

/// ml-explore/mlx-lm#1480: M5 Max, macOS 26.6.1, MLX 0.32.0, mlx-lm 0.31.3. Heads of 256 were not fused then, not even on
/// matrix units; an M4 Max needs the same.
#[test]
fn a_ladder_of_contexts_on_mlx_0_32_0() {
    let four = graph("Qwen/Qwen3.6-35B-A3B", "4bit");
    let eight = graph("Qwen/Qwen3.6-35B-A3B", "8bit");
    let mut wrong = Vec::new();
    let engine = "mlx-lm@0.31.3 mlx=0.32.0 macos=26.6.1";
    for mac in ["m5max-40/128", "m4max-40/128"] {
        for (context, published) in LADDER {
            wrong.extend(differs(&four, mac, asked(engine, context, 128), published, 0.01));
        }
        wrong.extend(differs(&eight, mac, asked(engine, 192_000, 128), 55.3, 0.01));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// ml-explore/mlx#4505: one chunk of 16384 tokens on an M4 Pro, before and after heads of 256 were fused where the chunk is
/// all there is to see.
#[test]
fn a_prompt_in_one_chunk_is_fused_since_0_32_3() {
    let model = graph("Qwen/Qwen3.8-27B", "nvfp4");
    let mut wrong = Vec::new();
    for (mlx, published) in [("0.32.2", 46.92), ("0.32.3", 35.46)] {
        let engine = format!("mlx-lm mlx={mlx} chunk=16384");
        wrong.extend(differs(&model, "m4pro-20/64", asked(&engine, 16_384, 128), published, 0.02));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// mlx-lm before 0.27.0 computed the logits of all that the chunks left of a prompt.
#[test]
fn logits_of_the_last_chunk_before_0_27_0() {
    let model = graph("Qwen/Qwen3-4B", "4bit");
    let peak = |engine: &str| {
        let run = asked(&format!("{engine} mlx=0.26.3"), 2048, 128);
        memory(&model, "m4max-40/128", run).peak.peak_bytes as f64
    };
    let logits = 2048.0 * 151_936.0 * 2.0;
    let more = (peak("mlx-lm@0.26.4") - peak("mlx-lm@0.27.0")) / logits;
    assert!((0.7..=1.5).contains(&more), "{more} times the logits");
}
