//! scratch
#![allow(clippy::unwrap_used, reason = "a scratch tool")]
use mlxplan::graph::Graph;
use mlxplan::hardware::Catalogue as Chips;
use mlxplan::hardware::machine::Machine;
use mlxplan::ledger::peak;
use mlxplan::model::catalogue::Catalogue;
use mlxplan::model::source::ModelSource;
use mlxplan::predict::{Request, gpu};
use mlxplan::validation::join::{Weights, join};
use mlxplan::validation::measurement::{EngineKind, read};
fn main() {
    let text = std::fs::read_to_string("data/measurements.csv").unwrap();
    let rows = read("m", &text).unwrap();
    let models = Catalogue::built_in().unwrap();
    let chips = Chips::embedded();
    let mut cache: std::collections::HashMap<(String, String, u32, u32, String), u64> =
        Default::default();
    for row in &rows {
        let Some(gb) = row.peak_memory_gb else { continue };
        if row.engine.kind() != EngineKind::Mlx {
            continue;
        }
        let j = match join(row, &models, chips.chips().unwrap()) {
            Ok(j) => j,
            Err(e) => {
                println!("SKIP\t{}\t{e}", row.id);
                continue;
            }
        };
        let Weights::Mlx(scheme) = j.weights else { continue };
        let Some(prompt) = row.prompt_tokens.or(row.context_tokens) else {
            println!("SKIP\t{}\tno prompt", row.id);
            continue;
        };
        let prompt = prompt.max(row.context_tokens.unwrap_or(0)).max(1);
        let generate = row.gen_tokens.unwrap_or(128);
        let key = (j.model.to_owned(), row.quant.clone(), prompt, generate, j.chips[0].id.clone());
        let p = *cache.entry(key).or_insert_with(|| {
            let e = models.get(j.model).unwrap().entry().unwrap();
            let s = ModelSource::from_entry(&e).unwrap();
            let g = Graph::quantised(s.config.as_ref().unwrap(), scheme).unwrap();
            let m = Machine::from_chip(
                j.chips[0],
                row.memory_gib.unwrap_or(64),
                chips.limits().unwrap(),
            );
            let r = Request {
                context_tokens: prompt,
                generate_tokens: generate,
                batch: row.batch,
                ..Request::default()
            };
            peak::peak(&g, &r.on(gpu(&m))).map(|p| p.peak_bytes).unwrap_or(0)
        });
        println!(
            "{}\t{}\t{}\t{:?}\t{:?}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
            row.id,
            row.engine.name(),
            row.engine_version,
            row.confidence,
            row.flags,
            row.owner(),
            j.chips[0].id,
            j.model,
            row.quant,
            prompt,
            generate,
            row.kv_quant,
            gb,
            p as f64 / 1e9
        );
    }
}
