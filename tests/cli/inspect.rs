//! `mlxplan inspect` of what users have: folders, bare configurations, broken ones.

use crate::{json, run};
use std::fs;

/// Configurations of six families, with the smallest sets of keys that mlx-lm accepts.
const CONFIGS: [(&str, &str); 6] = [
    (
        "llama",
        r#""hidden_size":512,"num_hidden_layers":2,"num_attention_heads":8,"num_key_value_heads":2,
           "intermediate_size":1024,"vocab_size":1000,"rms_norm_eps":1e-5"#,
    ),
    (
        "qwen2",
        r#""hidden_size":512,"num_hidden_layers":2,"num_attention_heads":8,"num_key_value_heads":2,
           "intermediate_size":1024,"vocab_size":1000,"rms_norm_eps":1e-6"#,
    ),
    (
        "qwen3",
        r#""hidden_size":512,"num_hidden_layers":2,"num_attention_heads":8,"num_key_value_heads":2,"head_dim":64,
           "intermediate_size":1024,"vocab_size":1000,"rms_norm_eps":1e-6,"rope_theta":1000000,
           "max_position_embeddings":4096,"tie_word_embeddings":true"#,
    ),
    (
        "phi3",
        r#""hidden_size":512,"num_hidden_layers":2,"num_attention_heads":8,"num_key_value_heads":8,
           "intermediate_size":1024,"vocab_size":1000,"rms_norm_eps":1e-5"#,
    ),
    (
        "mixtral",
        r#""hidden_size":512,"num_hidden_layers":2,"num_attention_heads":8,"num_key_value_heads":2,
           "intermediate_size":1024,"vocab_size":1000,"num_local_experts":4,"num_experts_per_tok":2"#,
    ),
    (
        "gemma2",
        r#""hidden_size":512,"num_hidden_layers":2,"num_attention_heads":8,"num_key_value_heads":2,"head_dim":64,
           "intermediate_size":1024,"vocab_size":1000"#,
    ),
];

#[test]
fn bare_configurations_of_six_families_have_sizes() {
    let folder = tempfile::tempdir().expect("a folder");
    for (family, keys) in CONFIGS {
        let path = folder.path().join("config.json");
        fs::write(&path, format!(r#"{{"model_type":"{family}",{keys}}}"#)).expect("written");
        let path = path.display();
        let (code, plain) = json(&format!("inspect {path}"));
        assert_eq!(code, 0, "{family}");
        let (code, four) = json(&format!("inspect {path} --quant 4bit --tokens 1,100,1000"));
        assert_eq!(code, 0, "{family}");
        let bytes = |v: &serde_json::Value| v["weights_bytes"].as_u64().expect("bytes");
        assert!(bytes(&four) < bytes(&plain) / 3, "{family}");
        assert_eq!(four["model"]["family"], family);
        assert_eq!(four["cache_bytes"].as_object().expect("an object").len(), 3);
        assert!(four["kv_bytes_per_token"].is_number());
    }
}

#[test]
fn the_tensors_of_a_list_add_up_to_the_weights() {
    let (_, v) = json("inspect smollm2-135m-4bit --tensors");
    let tensors = v["tensors"].as_array().expect("a list");
    let sum: u64 = tensors.iter().map(|t| t["bytes"].as_u64().expect("bytes")).sum();
    assert_eq!(sum, v["weights_bytes"].as_u64().expect("bytes"));
    assert_eq!(tensors.len() as u64, v["tensor_count"].as_u64().expect("a count"));
    for key in ["name", "shape", "dtype", "bytes", "quantized"] {
        assert!(!tensors[0][key].is_null(), "{key}");
    }
}

#[test]
fn a_broken_configuration_is_an_error_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    for (text, words) in [
        ("{\"model_type\":\"llama\",", vec!["config.json", "line 1"]),
        ("[]", vec!["config.json"]),
        ("{\"model_type\":\"llama\"}", vec!["hidden_size"]),
        ("{\"model_type\":\"llama\",\"hidden_size\":\"big\"}", vec!["hidden_size"]),
        ("{}", vec!["model_type"]),
    ] {
        fs::write(&path, text).expect("written");
        let (code, out, err) = run(&format!("inspect {}", path.display()));
        assert_eq!((code, out.as_str()), (2, ""), "{text}: {err}");
        for word in words {
            assert!(err.contains(word), "{text}: '{word}' is not in\n{err}");
        }
    }
}
