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

/// The growth of a cache that is packed at token 5000 is that of the packed one, and where it is packed is said.
#[test]
fn a_quantized_cache_grows_by_what_a_packed_token_takes() {
    for (bits, bytes) in [(3, 32_256.0), (4, 41_472.0), (8, 78_336.0)] {
        let (code, v) =
            json(&format!("inspect qwen3-8b-4bit --kv-bits {bits} --tokens 8192,12288"));
        assert_eq!(code, 0);
        let found = v["kv_bytes_per_token"].as_f64().expect("a number");
        let of = |n: &str| v["cache_bytes"][n].as_f64().expect("bytes");
        assert_eq!(found, (of("12288") - of("8192")) / 4096.0, "{bits}");
        assert_eq!(found, bytes, "{bits}");
        assert_eq!(v["kv_growth_tokens"], serde_json::json!([8192, 12288]));
        assert_eq!(v["kv_quantized_from_tokens"], 5000);
        let text = run(&format!("inspect qwen3-8b-4bit --kv-bits {bits}")).1;
        assert!(text.contains("from 8192 to 12288 tokens"), "{text}");
        assert!(text.contains("quantized from token 5000 on"), "{text}");
    }
}

#[test]
fn the_tensors_of_a_list_add_up_to_the_weights() {
    let (_, v) = json("inspect smollm2-135m-4bit --tensors");
    let tensors = v["tensor_list"].as_array().expect("a list");
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

const GGUF: &[u8] = include_bytes!("../fixtures/smollm2-135m-instruct-q4_1.gguf-header");
const MLX_HEADER: &[u8] = include_bytes!("../fixtures/mlx-lm-mxfp4.safetensors-header");
const MLX_CONFIG: &[u8] = include_bytes!("../fixtures/mlx-lm-mxfp4.config.json");

/// Writes a header and lets the file be as long as its data would make it.
fn sparse(path: &std::path::Path, header: &[u8], bytes: u64) {
    fs::write(path, header).expect("written");
    let file = fs::File::options().write(true).open(path).expect("opened");
    file.set_len(bytes).expect("a sparse file");
}

#[test]
fn a_gguf_file_is_predicted_for_llama_cpp_with_its_own_sizes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("SmolLM2-135M-Instruct.Q4_1.gguf");
    let info = mlxplan::model::source::gguf::GgufInfo::parse_header(GGUF, None).expect("a header");
    sparse(&path, GGUF, info.data_start + info.total_bytes());
    let (code, v) = json(&format!("predict --model {} --mac m4max-40/64", path.display()));
    assert_eq!(code, 0, "{v:#}");
    assert_eq!(v["request"]["engine"], "llama.cpp");
    assert_eq!(v["memory"]["weights_bytes"], 96_576_768);
    let llama = &v["memory"]["llama_cpp"];
    assert_eq!(llama["weights_bytes"], 96_576_768);
    // 4352 tokens of 30 layers with 3 heads of 64, keys and values in 16 bits.
    assert_eq!((&llama["context_tokens"], &llama["kv_bytes"]), (&4352.into(), &100_270_080.into()));
    let sum: u64 = ["weights", "kv", "state", "compute", "host_compute", "output"]
        .iter()
        .map(|part| llama[format!("{part}_bytes")].as_u64().expect(part))
        .sum();
    assert_eq!(v["memory"]["peak_bytes"].as_u64(), Some(sum));
    assert_eq!(v["memory"]["fits"], "yes");
    let model = path.display();
    let (_, eight) = json(&format!("predict --model {model} --mac m4max-40/64 --kv-type q8_0"));
    assert_eq!(eight["memory"]["llama_cpp"]["kv_bytes"], 100_270_080 / 64 * 34);
    let ollama = format!("predict --model {model} --mac m4max-40/64 --engine ollama");
    assert_eq!(json(&ollama).1["memory"]["llama_cpp"]["context_tokens"], 8192, "the model's own");
    let (code, v) = json(&format!("inspect {}", path.display()));
    assert_eq!((code, v["stored_bytes"].as_u64()), (0, Some(96_576_768)));
    assert_eq!(v["weights_bytes"].as_u64(), Some(96_576_768));
    assert!(v["peak"].is_null());
    let (code, v) = json(&format!("recommend --model {} --mac m4max-40/64", path.display()));
    assert_eq!((code, v["choices"].as_array().map(Vec::len)), (0, Some(1)), "{v:#}");
}

#[test]
fn a_gguf_format_by_name_has_the_sizes_of_its_rules() {
    // The maker's own file of Qwen3-4B in Q4_K_M has 2 491 323 904 bytes of tensors.
    for quant in ["Q4_K_M", "q4_k_m"] {
        let (code, v) = json(&format!("inspect qwen3-4b --quant {quant}"));
        assert_eq!((code, v["weights_bytes"].as_u64()), (0, Some(2_491_323_904)), "{v:#}");
        let request = format!("predict --model qwen3-4b --quant {quant} --mac m4max-40/64");
        let (code, v) = json(&request);
        assert_eq!(code, 0, "{v:#}");
        assert_eq!(v["request"]["engine"], "llama.cpp");
        let exact = serde_json::json!([2_491_323_904_u64, 2_491_323_904_u64]);
        assert_eq!(
            (&v["format"]["origin"], &v["format"]["weights_interval_bytes"]),
            (&"name".into(), &exact)
        );
    }
    // Without a format these programs run their default, not bf16.
    let (code, v) = json("predict --model qwen3-4b --engine ollama --mac m4max-40/64");
    assert_eq!((code, v["format"]["origin"].as_str()), (0, Some("engine_default")), "{v:#}");
    assert_eq!(v["memory"]["weights_bytes"].as_u64(), Some(2_491_323_904));
    // Dynamic mixes are a range.
    let (code, v) = json("inspect qwen3-4b --quant UD-Q4_K_XL");
    let interval = v["weights_interval_bytes"].as_array().expect("two bytes");
    assert_eq!(code, 0);
    assert!(interval[0].as_u64() < interval[1].as_u64(), "{v:#}");
}

#[test]
fn the_files_of_a_folder_decide_its_sizes() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("config.json"), MLX_CONFIG).expect("written");
    let data = 1_330_432;
    let path = folder.path().join("model.safetensors");
    sparse(&path, MLX_HEADER, MLX_HEADER.len() as u64 + data);
    let (code, v) = json(&format!("inspect {}", folder.path().display()));
    assert_eq!(code, 0, "{v:#}");
    assert_eq!(v["weights_bytes"].as_u64(), Some(data));
    assert_eq!(v["stored_bytes"].as_u64(), Some(data));
    let (code, v) = json(&format!("predict --model {} --mac m3-10/16", folder.path().display()));
    assert_eq!((code, v["memory"]["fits"].as_str()), (0, Some("yes")), "{v:#}");
}
