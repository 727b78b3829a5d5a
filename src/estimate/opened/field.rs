//! Files and names as people reported them, with the bytes that the engine holds.

use super::*;
use crate::ledger::weights::Weights;
use crate::model::names::NameSpec;
use serde_json::{Value, json};

fn sources(models: &Models) -> Sources<'_, '_> {
    Sources {
        catalog: models,
        hub: HubOptions { offline: true, ..HubOptions::from_env(&|_| None, None) },
        progress: &|_| (),
        assume: None,
        program: Program::MlxLm,
    }
}

/// The model of a configuration file with this text.
fn of_text(text: &str) -> Result<OpenedModel, OpenError> {
    let models = Models::built_in().expect("the built-in catalog");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.json");
    std::fs::write(&file, text).expect("written");
    match OpenedModel::open(file.to_str().expect("a path"), None, &sources(&models))? {
        Opened::Model(model) => Ok(*model),
        Opened::Class(_) => panic!("one model"),
    }
}

/// The configuration of a model of the catalog, with some keys more.
fn known_with(id: &str, more: &Value) -> String {
    let models = Models::built_in().expect("the built-in catalog");
    let mut config = models.get(id).expect(id).entry().expect("an entry").config.values().clone();
    config.extend(more.as_object().expect("an object").clone());
    Value::Object(config).to_string()
}

fn named(name: &str) -> OpenedModel {
    let models = Models::built_in().expect("the built-in catalog");
    match OpenedModel::named(&NameSpec::parse(name), (None, None), &sources(&models)) {
        Ok(Opened::Model(model)) => *model,
        Ok(Opened::Class(_)) => panic!("{name} is one model"),
        Err(e) => panic!("{name}: {e}"),
    }
}

fn bytes(model: &OpenedModel) -> u64 {
    Weights::of(&model.graph).bytes
}

#[test]
fn originals_that_load_have_the_bytes_of_what_is_loaded() {
    let awq = json!({"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}});
    let model = of_text(&known_with("Qwen/Qwen3-8B", &awq)).expect("loads");
    assert_eq!(bytes(&model), 6_179_874_816);
    assert_eq!(bytes(&named("openai/gpt-oss-20b")), 13_761_264_768);
    assert_eq!(bytes(&named("moonshotai/Kimi-K2.5")), 657_623_228_416);
    // The same experts: a tower less, which mlx-lm drops anyway.
    assert_eq!(bytes(&named("moonshotai/Kimi-K2-Thinking")), 657_623_228_416);
}

#[test]
fn what_an_engine_refuses_is_refused_in_its_words_with_the_one_that_loads_it() {
    for (block, words, instead) in [
        (json!({"quant_method": "gptq", "bits": 4, "group_size": 128}), "ValueError", ""),
        (
            json!({"quant_method": "modelopt", "quant_algo": "NVFP4"}),
            "not in model",
            "mlx-vlm would hold",
        ),
        (
            json!({"quant_method": "fp8", "weight_block_size": [128, 128]}),
            "not in model",
            "mlx-vlm would hold 9.65 GB",
        ),
        (json!({"bits": 4, "group_size": 64}), "KeyError: 'quant_method'", ""),
    ] {
        let config = known_with("Qwen/Qwen3-8B", &json!({"quantization_config": block}));
        let error = of_text(&config).map(|m| m.quant).expect_err("refused").to_string();
        assert!(error.contains("mlx-lm") && error.contains(words), "{block}: {error}");
        assert!(error.contains(instead), "{block}: {error}");
    }
}

#[test]
fn odd_spellings_of_configurations_are_read() {
    let float = json!({"rope_scaling": null, "some_limit": {"__float__": "Infinity"}});
    assert!(of_text(&known_with("Qwen/Qwen3-8B", &float)).is_ok());
    let eight = json!({"quantization": {"bits": 8, "group_size": 64}});
    let model = of_text(&known_with("Qwen/Qwen3-8B", &eight)).expect("loads");
    assert_eq!(model.quant, "affine-8-g64");
    assert_eq!(named("moonshotai/Kimi-K2-Instruct-0905").graph.max_context(), Some(262_144));
}

#[test]
fn a_wrapper_of_unknown_type_is_its_text_part_and_says_so() {
    let text = known_with("Qwen/Qwen3-8B", &json!({}));
    let text: Value = serde_json::from_str(&text).expect("JSON");
    let alone = bytes(&named("qwen3-8b-bf16"));
    for key in ["text_config", "llm_config", "language_config"] {
        let config = json!({"model_type": "quite_new_vl", key: text, "vision_config": {}});
        let model = of_text(&config.to_string()).expect("the text part");
        assert_eq!(bytes(&model), alone);
        assert!(model.warnings.iter().any(|w| w.contains("quite_new_vl")), "{:?}", model.warnings);
    }
}

#[test]
fn reading_as_another_type_is_offered_only_where_it_is_right() {
    let hint = |config: &Value| {
        let error = of_text(&config.to_string()).map(|m| m.id).expect_err("unknown");
        error.hint().map_or_else(String::new, str::to_owned)
    };
    let plain = json!({
        "model_type": "quite_new", "hidden_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8,
        "intermediate_size": 1024, "vocab_size": 1000
    });
    assert!(hint(&plain).contains("--assume"), "{}", hint(&plain));
    for odd in [
        json!({"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
            "intermediate_size": 3072, "vocab_size": 30522}),
        json!({"model_type": "molmo", "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
            "intermediate_size": 37888, "vocab_size": 152064, "vision_config": {}}),
        json!({"model_type": "quite_new", "architectures": ["QuiteNewForSequenceClassification"],
            "hidden_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8, "intermediate_size": 1024,
            "vocab_size": 1000}),
    ] {
        assert!(!hint(&odd).contains("--assume"), "{odd}: {}", hint(&odd));
    }
}
