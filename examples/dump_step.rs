//! Prints the totals of one decode step.
//!
//! `cargo run --example dump_step -- CONFIG.json SCHEME CONTEXT BATCH CLASS(g|s|d) [nax]`

use mlxplan::graph::Graph;
use mlxplan::ledger::replay::{ArchClass, Gpu};
use mlxplan::ledger::traffic;
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
    let t = traffic::decode_step(&graph, args[2].parse()?, args[3].parse()?, gpu, None)?;
    println!("{}", serde_json::to_string(&t.totals())?);
    Ok(())
}
