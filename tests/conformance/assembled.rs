//! Configurations of the catalog that were put together from dimensions: each reproduces the parameter count of the
//! published files, which is what their source line claims.

use mlxplan::graph::Graph;
use mlxplan::ledger::weights::Weights;
use mlxplan::model::catalog::Models;
use mlxplan::model::{Config, DType};

/// Whether `more` numbers beyond the parameters are what the source line says the files also hold: for each layer a mask
/// of context × context and some frequencies (GPT-2, GPT-NeoX), or rotary frequencies alone (some Llama files).
fn beyond(source: &str, config: &Config, more: u64) -> bool {
    let first = |keys: [&str; 2]| keys.iter().find_map(|k| config.dim(k).ok()).unwrap_or(1);
    let layers = first(["num_hidden_layers", "n_layer"]);
    let context = first(["max_position_embeddings", "n_positions"]);
    let a_layer = more / layers;
    let mask = if source.contains("masks") { context * context } else { 0 };
    let named = source.contains("masks") || source.contains("rotary frequencies");
    named && more % layers == 0 && (mask..=mask + 128).contains(&a_layer)
}

#[test]
fn assembled_configurations_have_the_published_parameter_count() {
    let catalog = Models::built_in().expect("the built-in catalog");
    let (mut checked, mut wrong) = (0, Vec::new());
    for summary in catalog.models() {
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
        let more = published.saturating_sub(ours);
        if ours != published && !beyond(source, &entry.config, more) {
            wrong.push(format!("{}: {ours} instead of {published}", entry.id));
        }
    }
    assert!(checked > 150, "{checked}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn configurations_written_from_published_architectures_have_the_published_parameter_count() {
    let catalog = Models::built_in().expect("the built-in catalog");
    let mut checked = 0;
    for summary in catalog.models() {
        let entry = summary.entry().expect("an entry");
        let Some(source) = entry.sources.iter().find(|s| s.contains("parameter count is met"))
        else {
            continue;
        };
        let published = entry.published_params.expect("a count");
        let graph = Graph::new(&entry.config, DType::BF16).expect(&entry.id);
        let apart = Weights::of(&graph).parameters.abs_diff(published);
        // Tables of frequencies and coefficients that files hold besides.
        let allowed = if source.contains("but for buffers") { published / 100_000 } else { 0 };
        assert!(apart <= allowed, "{}: {apart} apart", entry.id);
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
}
