//! Prints the join and the features of every usable row of a measurement file, one JSON object a line.
//!
//! `cargo run --example dump_features -- data/measurements.csv OUT_FEATURES OUT_ROWS`

use mlxplan::graph::Graph;
use mlxplan::hardware::Catalogue;
use mlxplan::model::{DType, Scheme};
use mlxplan::roofline::StepFeatures;
use mlxplan::validation::join::Weights;
use mlxplan::validation::{join, read};
use std::collections::BTreeMap;
use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rows = read(&args[0], &std::fs::read_to_string(&args[0])?)?;
    let models = mlxplan::model::catalogue::Catalogue::built_in()?;
    let hardware = Catalogue::embedded();
    let mut done: BTreeMap<String, Result<(), String>> = BTreeMap::new();
    let mut features = std::fs::File::create(&args[1])?;
    let mut out = std::fs::File::create(&args[2])?;
    let start = std::time::Instant::now();
    for row in &rows {
        let joined = match join(row, &models, hardware.chips()?) {
            Ok(j) => j,
            Err(e) => {
                writeln!(out, "{}", serde_json::json!({"id": row.id, "reason": e.to_string()}))?;
                continue;
            }
        };
        let key = format!("{}|{}", joined.model, row.quant);
        if !done.contains_key(&key) {
            let entry = models.get(joined.model).ok_or("entry")?.entry()?;
            let made = match joined.weights {
                Weights::Mlx(s) => Graph::quantised(&entry.config, s)
                    .map_err(|e| e.to_string())
                    .and_then(|g| StepFeatures::of(&g, None).map_err(|e| e.to_string())),
                Weights::Gguf(mix) => Graph::quantised(&entry.config, Scheme::Float(DType::BF16))
                    .map_err(|e| e.to_string())
                    .and_then(|g| StepFeatures::of_gguf(&g, mix).map_err(|e| e.to_string())),
            };
            if let Ok(f) = &made {
                let mut v = serde_json::to_value(f)?;
                v["key"] = key.clone().into();
                v["model_type"] = entry.model_type.clone().into();
                writeln!(features, "{v}")?;
            }
            done.insert(key.clone(), made.map(|_| ()));
        }
        match &done[&key] {
            Err(e) => writeln!(out, "{}", serde_json::json!({"id": row.id, "reason": e}))?,
            Ok(()) => {
                let chips: Vec<_> = joined.chips.iter().map(|c| c.id.clone()).collect();
                writeln!(
                    out,
                    "{}",
                    serde_json::json!({"id": row.id, "key": key, "chips": chips, "owner": row.owner(), "plain": row.is_plain()})
                )?;
            }
        }
    }
    eprintln!("{} graphs in {:?}", done.len(), start.elapsed());
    Ok(())
}
