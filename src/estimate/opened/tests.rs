//! Names as people write them (`tests/data/names.tsv`): model, format, and what decided it.

use super::*;
use crate::model::Models;

fn opened(name: &str, models: &Models) -> Result<(String, String, String), String> {
    let sources = Sources {
        catalog: models,
        hub: HubOptions { offline: true, ..HubOptions::from_env(&|_| None, None) },
        progress: &|_| (),
        assume: None,
        program: Program::MlxLm,
    };
    match OpenedModel::open(name, None, &sources) {
        Ok(Opened::Model(model)) => {
            let origin = serde_json::to_value(model.origin).expect("a word");
            Ok((model.id.clone(), model.quant.clone(), origin.as_str().unwrap_or("").to_owned()))
        }
        Ok(Opened::Class(_)) => Err("a size class".to_owned()),
        Err(e) => Err(e.to_string()),
    }
}

#[test]
fn names_mean_what_people_mean() {
    let models = Models::built_in().expect("the built-in catalog");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/names.tsv");
    let table = std::fs::read_to_string(path).expect("the table");
    let rows = table.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    let (mut wrong, mut all) = (Vec::new(), 0);
    for row in rows {
        all += 1;
        let cells: Vec<&str> = row.split('\t').collect();
        let [name, id, format, origin] = cells[..] else { panic!("{row}") };
        let found = opened(name, &models);
        let right = match &found {
            Ok((a, b, c)) => (a.as_str(), b.as_str(), c.as_str()) == (id, format, origin),
            Err(text) => id == "error" && text.contains(format),
        };
        if !right {
            wrong.push(format!("{name}: {found:?}, expected {id} {format} {origin}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {all}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_only_the_file_tells_is_a_range() {
    let models = Models::built_in().expect("the built-in catalog");
    let open = |name: &str| {
        let sources = Sources {
            catalog: &models,
            hub: HubOptions::from_env(&|_| None, None),
            progress: &|_| (),
            assume: None,
            program: Program::MlxLm,
        };
        match OpenedModel::open(name, None, &sources) {
            Ok(Opened::Model(model)) => *model,
            _ => panic!("{name}"),
        }
    };
    let bytes = |m: &OpenedModel| crate::ledger::weights::Weights::of(&m.graph).bytes as f64;
    // lmstudio-bug-tracker#2191: the file holds 21.66 GB.
    let model = open("qwen3.6-35b-a3b-ud-mlx");
    let [low, high] = model.weights_range.expect("a range").map(|over| over * bytes(&model));
    assert!(low < 21.66e9 && 21.66e9 < high, "{low} to {high}");
    let uniform = bytes(&open("qwen3.6-35b-a3b-4bit"));
    assert!((low / uniform - 1.0).abs() < 0.02, "{low} against {uniform}");
    assert_eq!(open("qwen3-8b-4bit").weights_range, None);
}
