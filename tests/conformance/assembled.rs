//! Configurations of the catalogue that were put together from dimensions: each reproduces the parameter count of the
//! published files, which is what their source line claims.

use mlxplan::graph::Graph;
use mlxplan::ledger::weights::Weights;
use mlxplan::model::DType;
use mlxplan::model::catalogue::Catalogue;

/// Parameters that the published files hold beyond those that the model computes with.
fn beyond(source: &str, model_type: &str, published: u64, ours: u64) -> bool {
    // GPT-2 and GPT-NeoX files carry attention masks, some Llama files rotary frequencies.
    let more = published.saturating_sub(ours);
    match (source.contains("masks"), source.contains("rotary frequencies")) {
        (true, _) => ["gpt2", "gpt_neox"].contains(&model_type) && more * 2 < published,
        (_, true) => more <= 5000,
        _ => false,
    }
}

#[test]
fn assembled_configurations_have_the_published_parameter_count() {
    let catalogue = Catalogue::built_in().expect("the built-in catalogue");
    let (mut checked, mut wrong) = (0, Vec::new());
    for summary in catalogue.models() {
        let entry = summary.entry().expect("an entry");
        let Some(source) = entry.sources.iter().find(|s| s.contains("published files reproduced"))
        else {
            continue;
        };
        let Some(published) = entry.published_params.filter(|_| source.starts_with("dimensions"))
        else {
            continue;
        };
        let graph = Graph::new(&entry.config, DType::BF16).expect(&entry.id);
        let ours = Weights::of(&graph).parameters;
        checked += 1;
        if ours != published && !beyond(source, &entry.model_type, published, ours) {
            wrong.push(format!("{}: {ours} instead of {published}", entry.id));
        }
    }
    assert!(checked > 150, "{checked}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
