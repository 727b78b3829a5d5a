//! Prints sizes of a configuration under all given schemes as JSON, with the field names of the conformance vectors.
//!
//! `cargo run --example dump_sizes -- CONFIG.json TOKENS,TOKENS… SCHEME…`

use mlxplan::graph::Graph;
use mlxplan::ledger::{cache, weights::Weights};
use mlxplan::model::{Config, DType};
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let config = Config::parse(&std::fs::read_to_string(&args[0])?)?;
    let tokens: Vec<u32> = args[1].split(',').map(str::parse).collect::<Result<_, _>>()?;
    let plain = Graph::new(&config, DType::BF16)?;
    let base = Weights::of(&plain);
    let (mut weight, mut active, mut routed, mut embedding, mut errors) =
        (Map::new(), Map::new(), Map::new(), Map::new(), Map::new());
    let mut tensors_4bit = None;
    for name in &args[2..] {
        match Graph::quantised(&config, name.parse()?) {
            Err(e) => {
                errors.insert(name.clone(), json!(e.to_string()));
            }
            Ok(graph) => {
                let w = Weights::of(&graph);
                weight.insert(name.clone(), json!(w.bytes));
                active.insert(name.clone(), json!(w.active_bytes));
                routed.insert(name.clone(), json!(w.routed_expert_bytes));
                embedding.insert(name.clone(), json!(w.embedding_bytes));
                if name == "affine_4_g64" {
                    tensors_4bit = Some(w.tensors);
                }
            }
        }
    }
    let kv: Map<String, Value> = cache::bytes_after(&plain, &tokens)?
        .into_iter()
        .zip(&tokens)
        .map(|(bytes, n)| (n.to_string(), json!(bytes)))
        .collect();
    let out = json!({
        "params": base.parameters, "active_params": base.active_parameters,
        "experts": plain.experts().map(|e| e.total), "experts_per_token": plain.experts().map(|e| e.chosen),
        "n_tensors_bf16": base.tensors, "n_tensors_4bit": tensors_4bit,
        "weight_bytes": weight, "active_memory_bytes": active, "routed_expert_bytes": routed,
        "embedding_bytes": embedding, "scheme_errors": errors, "kv_bytes_after_n_tokens": kv,
    });
    println!("{out}");
    Ok(())
}
