//! Scratch timing.
use mlxplan::graph::tape::Routing;
use mlxplan::graph::{Call, Graph};
use mlxplan::ledger::peak::{Request, full};
use mlxplan::ledger::replay::{ArchClass, Gpu};
use mlxplan::model::Config;
use std::time::Instant;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let text = std::fs::read_to_string(&args[0])?;
    for _ in 0..3 {
        let t = Instant::now();
        let config = Config::parse(&text)?;
        let graph = Graph::quantised(&config, args[1].parse()?)?;
        let build = t.elapsed();
        let t = Instant::now();
        let w = mlxplan::ledger::weights::Weights::of(&graph);
        let sizes = t.elapsed();
        let t = Instant::now();
        let mut caches = graph.make_cache();
        let call = Call::prefill(2048);
        let trace = graph.trace(&mut caches, call, Routing::default())?;
        let first = t.elapsed();
        let t = Instant::now();
        for _ in 0..10 {
            let tr = graph.trace(&mut caches, call, Routing::default())?;
            std::hint::black_box(&tr);
        }
        let more = t.elapsed() / 10;
        let gpu = Gpu { class: ArchClass::Max, generation: 16, nax: false };
        let r = Request { gpu, prompt: 20481, generate: 1, batch: 1, prefill_step: 2048, kv: None };
        let t = Instant::now();
        let p = full(&graph, &r)?;
        let full = t.elapsed() / 11;
        println!(
            "build {build:?} sizes {sizes:?} first trace {first:?} next {more:?} nodes {} values {} ; per step with replay {full:?} {} {}",
            trace.nodes().len(),
            trace.values().len(),
            w.bytes,
            p.peak_bytes
        );
    }
    Ok(())
}
