//! scratch
#![allow(clippy::unwrap_used, reason = "a scratch tool")]
use mlxplan::graph::Graph;
use mlxplan::ledger::replay::{ArchClass, Gpu};
use mlxplan::ledger::{cache::Growth, peak};
use mlxplan::model::catalogue::Catalogue;
use mlxplan::model::source::ModelSource;
use mlxplan::predict::Request;
use std::time::Instant;
fn main() {
    let models = Catalogue::built_in().unwrap();
    for id in ["Qwen/Qwen3-32B", "Qwen/Qwen3-30B-A3B-Instruct-2507", "google/gemma-3-27b-it"] {
        let e = models.get(id).unwrap().entry().unwrap();
        let t = Instant::now();
        let s = ModelSource::from_entry(&e).unwrap();
        let g = Graph::quantised(s.config.as_ref().unwrap(), "4bit".parse().unwrap()).unwrap();
        println!("{id} build {:?}", t.elapsed());
        let gpu = Gpu { class: ArchClass::Max, generation: 16, nax: false };
        for n in [4096, 4096, 32768, 40704] {
            let r = Request { context_tokens: n, ..Request::default() }.on(gpu);
            let t = Instant::now();
            let p = peak::peak(&g, &r).unwrap();
            let a = t.elapsed();
            let t = Instant::now();
            let q = peak::end(&g, &r).unwrap();
            let b = t.elapsed();
            println!(
                "{n} peak {} ({} steps) {a:?} end {} ({}) {b:?}",
                p.peak_bytes,
                p.steps.len(),
                q.peak_bytes,
                q.steps.len()
            );
        }
        let t = Instant::now();
        let gr = Growth::of(&g, 2048, 1, None).unwrap();
        let a = t.elapsed();
        let t = Instant::now();
        let x = gr.bytes(100_000).unwrap();
        println!("growth {a:?} {:?} {x}", t.elapsed());
    }
}
