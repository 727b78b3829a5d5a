//! Names as people write them (`tests/data/names.tsv`): model, format, and what decided it.

use super::*;
use crate::model::Models;

/// What a model is opened with: a catalog, and no network.
fn offline(catalog: &Models) -> Sources<'_, '_> {
    Sources {
        catalog,
        hub: HubOptions { offline: true, ..HubOptions::from_env(&|_| None, None) },
        progress: &|_| (),
        assume: None,
        program: Program::MlxLm,
    }
}

fn opened(name: &str, models: &Models) -> Result<(String, String, String), String> {
    let sources = offline(models);
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
        let sources = offline(&models);
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

fn of_config(config: serde_json::Value) -> Result<OpenedModel, OpenError> {
    let models = Models::built_in().expect("the built-in catalog");
    let sources = offline(&models);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.json");
    std::fs::write(&file, config.to_string()).expect("written");
    match OpenedModel::open(file.to_str().expect("a path"), None, &sources)? {
        Opened::Model(model) => Ok(*model),
        Opened::Class(_) => panic!("one model"),
    }
}

#[test]
fn networks_that_embed_or_judge_are_opened_and_others_named() {
    let config = |model_type: &str, class: &str| {
        serde_json::json!({
            "model_type": model_type, "architectures": [class], "hidden_size": 512, "num_hidden_layers": 2,
            "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "intermediate_size": 1024,
            "vocab_size": 1000, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "max_position_embeddings": 4096,
            "tie_word_embeddings": true
        })
    };
    let purpose = |class| of_config(config("qwen3", class)).map(|m| m.purpose).expect("opened");
    assert_eq!(purpose("Qwen3ForCausalLM"), PromptUse::Generates);
    assert_eq!(purpose("Qwen3EmbeddingModel"), PromptUse::Embeds);
    assert_eq!(purpose("Qwen3ForSequenceClassification"), PromptUse::Judges);
    for (model_type, class) in [("bert", "BertModel"), ("qwen3", "Qwen3ForTokenClassification")] {
        let error = of_config(config(model_type, class)).map(|m| m.id).expect_err("refused");
        assert!(error.to_string().contains("not a language model"), "{error}");
    }
}

#[test]
fn stored_tensors_that_nothing_uses_are_listed_with_their_bytes() {
    let models = Models::built_in().expect("the built-in catalog");
    let sources = offline(&models);
    let folder = tempfile::tempdir().expect("a folder");
    let config = serde_json::json!({
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "intermediate_size": 64, "vocab_size": 100, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": true
    });
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    let square = |name: &str| (format!("model.layers.0.{name}.weight"), vec![64_u64, 64]);
    let layer = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];
    let mlp = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];
    let mut all: Vec<(String, Vec<u64>)> = layer.iter().chain(&mlp).map(|n| square(n)).collect();
    let norms = ["layers.0.input_layernorm", "layers.0.post_attention_layernorm", "norm"];
    all.extend(norms.iter().map(|n| (format!("model.{n}.weight"), vec![64])));
    all.push(("model.embed_tokens.weight".to_owned(), vec![100, 64]));
    all.push(("lm_head.weight".to_owned(), vec![100, 64]));
    let entries: Vec<(&str, &str, &[u64])> =
        all.iter().map(|(n, shape)| (n.as_str(), "BF16", shape.as_slice())).collect();
    let bytes = crate::model::source::testing::safetensors(&entries);
    std::fs::write(folder.path().join("model.safetensors"), bytes).expect("written");
    let opened = OpenedModel::open(folder.path().to_str().expect("a path"), None, &sources);
    let Ok(Opened::Model(model)) = opened else { panic!("one model") };
    let said = model.warnings.join("; ");
    assert!(said.contains("that nothing uses: lm_head.weight (12.8 kB)"), "{said}");
}
