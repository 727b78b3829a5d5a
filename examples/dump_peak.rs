//! Prints the simulated peak memory of a generation.
//!
//! `cargo run --example dump_peak -- CONFIG.json SCHEME PROMPT STEP CLASS(g|s|d) [nax]`

use mlxplan::graph::Graph;
use mlxplan::ledger::peak::{Request, full, peak};
use mlxplan::ledger::replay::{ArchClass, Gpu};
use mlxplan::model::Config;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let config = Config::parse(&std::fs::read_to_string(&args[0])?)?;
    let graph = Graph::quantised(&config, args[1].parse()?)?;
    let nax = args.get(5).is_some_and(|a| a == "nax");
    let class = match args[4].as_str() {
        "g" => ArchClass::Base,
        "d" => ArchClass::Ultra,
        _ => ArchClass::Max,
    };
    let gpu = Gpu { class, generation: if nax { 17 } else { 15 }, nax };
    let request = Request {
        gpu,
        prompt: args[2].parse()?,
        generate: 3,
        batch: 1,
        prefill_step: args[3].parse()?,
        kv: None,
    };
    let start = std::time::Instant::now();
    let peak = if args.last().is_some_and(|a| a == "sampled") {
        peak(&graph, &request)?
    } else {
        full(&graph, &request)?
    };
    eprintln!("{:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    println!("{}", serde_json::to_string(&peak)?);
    Ok(())
}
