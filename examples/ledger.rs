//! The readings of one graph: exact sizes, cache, traffic and peak of a configuration that is in no catalog.
//!
//! `cargo run --example ledger`

use mlxplan::graph::{Graph, SkippedLayers};
use mlxplan::ledger::replay::Gpu;
use mlxplan::ledger::{cache, peak, traffic, weights::Weights};
use mlxplan::model::{Config, Scheme};
use mlxplan::run::Run;

const CONFIG: &str = r#"{
    "model_type": "qwen3", "hidden_size": 2048, "num_hidden_layers": 28, "intermediate_size": 6144,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    "max_position_embeddings": 40960, "tie_word_embeddings": true
}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let graph = Graph::quantized(&Config::parse(CONFIG)?, Scheme::DEFAULT)?;
    let gpu = Gpu::REFERENCE;

    let w = Weights::of(&graph);
    println!("{} parameters, {} bytes in {} tensors", w.parameters, w.bytes, w.tensors);
    for (tokens, bytes) in
        [1, 4096, 32_768].into_iter().zip(cache::bytes_after(&graph, &[1, 4096, 32_768])?)
    {
        println!("cache after {tokens} tokens: {bytes} bytes");
    }
    let step = traffic::decode_step(&graph, 4096, 1, gpu, None, SkippedLayers::NONE)?;
    println!(
        "a decode step launches {} kernels and reads {} bytes of weights",
        step.dispatches, step.weight_bytes
    );
    let peak = peak::peak(&graph, &Run::default(), gpu)?;
    println!(
        "peak {} bytes, of which {} run ahead of the GPU",
        peak.peak_bytes, peak.run_ahead_bytes
    );
    Ok(())
}
