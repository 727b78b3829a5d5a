//! Weight files that are not as they should be: errors that say what is wrong, and no crash.

use mlxplan::engine::mlx::{EngineError, LayerTimer, LoadedWeights, Model};
use mlxplan::graph::Graph;
use mlxplan::model::{Config, DType};
use std::fs;
use std::path::Path;

/// A small llama; with `layers` layers.
fn graph(layers: u32, hidden: u32) -> Graph {
    let text = format!(
        r#"{{ "model_type": "llama", "hidden_size": {hidden}, "intermediate_size": 128, "num_hidden_layers": {layers},
            "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 64, "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "tie_word_embeddings": true }}"#
    );
    Graph::new(&Config::parse(&text).expect("valid"), DType::F32).expect("a llama")
}

/// Stores random weights of `of` and loads them for `into`.
fn load(
    of: &Graph,
    into: &Graph,
    change: impl FnOnce(&Path),
) -> Result<LoadedWeights, EngineError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("model.safetensors");
    let weights = LoadedWeights::random(of.params(), 1).expect("weights");
    weights.save(of.params(), &file).expect("written");
    change(&file);
    LoadedWeights::load(into.params(), folder.path())
}

fn message(outcome: Result<LoadedWeights, EngineError>) -> String {
    outcome.err().expect("an error").to_string()
}

#[test]
fn whole_files_load() {
    let graph = graph(2, 64);
    let loaded = load(&graph, &graph, |_| {}).expect("weights");
    let random = LoadedWeights::random(graph.params(), 1).expect("weights");
    assert_eq!(loaded.bytes(), random.bytes());
}

#[test]
fn cut_files_are_refused() {
    let graph = graph(2, 64);
    for share in [0, 5, 50, 99] {
        let cut = |file: &Path| {
            let bytes = fs::read(file).expect("readable");
            fs::write(file, &bytes[..bytes.len() * share / 100]).expect("writable");
        };
        let text = message(load(&graph, &graph, cut));
        assert!(text.contains("model.safetensors"), "{share} %: {text}");
    }
}

#[test]
fn missing_tensors_and_other_shapes_are_named() {
    let text = message(load(&graph(1, 64), &graph(2, 64), |_| {}));
    assert!(text.contains("model.layers.1.") && text.contains("mlx_lm.convert"), "{text}");
    let text = message(load(&graph(1, 32), &graph(1, 64), |_| {}));
    assert!(text.contains("has the shape") && text.contains("needs"), "{text}");
    let text = message(load(&graph(1, 64), &graph(1, 64), |f| fs::remove_file(f).expect("there")));
    assert!(text.contains("--random-weights"), "{text}");
}

#[test]
fn layers_are_timed_within_the_memory_they_may_use() {
    let graph = graph(12, 64);
    let error = LayerTimer::new(&graph, 300, None, 1000).err().expect("too little memory");
    assert!(error.to_string().contains("--force"), "{error}");
    let mut timer = LayerTimer::new(&graph, 300, None, u64::MAX).expect("a timer");
    assert!(timer.estimate().is_none());
    for _ in 0..3 {
        timer.round(2).expect("timed");
    }
    let estimate = timer.estimate().expect("an estimate");
    assert_eq!(estimate.layers.iter().map(|l| l.1).collect::<Vec<_>>(), [12]);
    assert!(estimate.seconds_per_token > 0.0 && estimate.rounds == 3);
}

#[test]
fn tokens_beyond_the_vocabulary_are_refused() {
    let graph = graph(1, 64);
    let weights = LoadedWeights::random(graph.params(), 1).expect("weights");
    let model = Model::new(&graph, weights).expect("a model");
    assert!(model.tokens(&[0, 63], 1).is_ok());
    let error = model.tokens(&[1, 64], 1).expect_err("an error").to_string();
    assert!(error.contains("64"), "{error}");
}
