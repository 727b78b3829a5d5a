//! `mlxplan recommend` and bare `mlxplan`.

use crate::{json, run};

#[test]
fn clocks_are_spoken_of_where_a_laptop_may_be_meant() {
    let out = |mac: &str| run(&format!("recommend --model qwen3-8b-4bit --mac {mac}")).1;
    assert!(out("m4max-40/64").contains("Speeds are of full clocks"));
    assert!(!out("studio-m3ultra-60-2025/96").contains("full clocks"));
    assert!(out("studio-m3ultra-60-2025/96 --power low").contains("full clocks"));
}

#[test]
fn a_size_class_lists_its_models_most_popular_first() {
    let (code, v) = json("recommend --model 32B-4bit --mac m4max-40/128");
    assert_eq!(code, 0);
    assert_eq!(v["schema"], "mlxplan.recommendation/1");
    let choices = v["choices"].as_array().expect("a list");
    assert_eq!(choices.len(), 8);
    assert_eq!(choices[0]["model"]["id"], "Qwen/Qwen3-32B");
    for c in choices {
        assert_eq!(c["model"]["quant"], "affine-4-g64");
        assert_eq!(c["memory"]["fits"], "yes");
        assert!(c["decode"]["tokens_per_s"].as_f64().expect("a rate") > 5.0);
    }
}

#[test]
fn recommend_and_predict_say_the_same() {
    let (_, v) = json("recommend --model qwen3-14b-4bit --mac m3pro-18/36 --context 10000");
    let (_, p) = json("predict --model qwen3-14b-4bit --mac m3pro-18/36 --context 10000");
    assert_eq!(v["choices"][0]["memory"]["peak_bytes"], p["memory"]["peak_bytes"]);
    assert_eq!(v["choices"][0]["memory"]["max_context_tokens"], p["memory"]["max_context_tokens"]);
    assert_eq!(v["choices"][0]["decode"]["tokens_per_s"], p["decode"]["tokens_per_s"]);
}

/// On a Mac, the machine itself is planned for.
#[cfg(not(target_os = "macos"))]
#[test]
fn away_from_a_mac_it_names_macs() {
    let (code, v) = json("recommend --model 32B-4bit");
    assert_eq!(code, 0);
    assert_eq!(v["schema"], "mlxplan.which_mac/1");
    let macs = v["macs"].as_array().expect("a list");
    assert!(macs.len() > 3, "{macs:?}");
    let prices: Vec<u64> = macs.iter().filter_map(|m| m["usd_now"].as_u64()).collect();
    assert!(prices.is_sorted(), "{prices:?}");
    assert!(macs.iter().all(|m| m["fits"] != "no"));
    let (code, text, _) = run("");
    assert_eq!(code, 0);
    assert!(text.contains("not an Apple Silicon Mac") && text.contains("--mac"), "{text}");
}

#[test]
fn what_does_not_fit_comes_with_a_way_out() {
    let (code, v) = json("recommend --model llama-3.3-70b-4bit --mac m4max-40/48");
    assert_eq!(code, 1);
    let changes = v["choices"][0]["memory"]["changes"].as_array().expect("a list");
    assert!(
        changes.iter().any(|c| c["change"] == "quantization" && c["fits"] == "yes"),
        "{changes:?}"
    );
    let wired = changes.iter().find(|c| c["change"] == "wired_limit").expect("a wired limit");
    assert_eq!(wired["command"], "sudo sysctl iogpu.wired_limit_mb=40960");
    assert_eq!(wired["undo"], "sudo sysctl iogpu.wired_limit_mb=0");
    assert!(!v["macs"].as_array().expect("a list").is_empty());
}

#[test]
fn without_a_model_every_size_that_fits_is_shown() {
    let (code, v) = json("recommend --mac m4pro-20/48");
    assert_eq!(code, 0);
    let choices = v["choices"].as_array().expect("a list");
    assert!(choices.len() >= 5, "{}", choices.len());
    let sizes: Vec<u64> =
        choices.iter().filter_map(|c| c["model"]["parameters"].as_u64()).collect();
    assert!(sizes.is_sorted(), "{sizes:?}");
    assert!(choices.iter().all(|c| c["memory"]["fits"] != "no"));
}

/// `--for` ends with the command that starts the engine with what was predicted.
#[test]
fn an_engine_is_started_with_what_was_predicted() {
    let at = |engine: &str| {
        let (_, v) = json(&format!(
            "recommend --model qwen3-8b-4bit --mac m4-10/16 --context 8192 --kv-bits 8 --for {engine}"
        ));
        v["settings"].clone()
    };
    let server = at("mlx-lm-server");
    let command = server["commands"][0].as_str().expect("a command");
    assert!(
        command.starts_with("mlx_lm.server --model ") && command.contains("--kv-bits 8"),
        "{server}"
    );
    let bytes = server["prompt_cache_bytes"].as_u64().expect("bytes");
    assert!(command.contains(&format!("--prompt-cache-bytes {bytes}")), "{server}");
    let llama = at("llama.cpp");
    let command = llama["commands"][0].as_str().expect("a command");
    let declared = format!("--ctx-size {} --parallel 4 --kv-unified", llama["context_tokens"]);
    assert!(command.contains(&declared) && command.contains("--cache-type-v q8_0"), "{llama}");
    assert_eq!(llama["context_tokens"], 8448);
    let ollama = at("ollama");
    let command = ollama["commands"][0].as_str().expect("a command");
    assert!(command.starts_with("OLLAMA_CONTEXT_LENGTH=8448 "), "{ollama}");
    let (code, _, err) = run("recommend --model qwen3-8b-4bit --mac m4-10/16 --for vllm");
    assert!(code == 2 && err.contains("llama.cpp"), "{err}");
}

/// youssofal/MTPLX#72: a cache that a family cannot quantize makes a row with its reason and never ends the answer.
#[test]
fn what_cannot_run_is_a_row_with_its_reason() {
    let asked = "recommend --mac m4max-40/64 --reserve 44 --context 180000 --kv-bits 8";
    let (code, v) = json(asked);
    assert_ne!(code, 2);
    let cannot = v["cannot_run"].as_array().expect("rows");
    assert!(!cannot.is_empty());
    let said = |row: &serde_json::Value| row["reason"].as_str().is_some_and(|r| !r.is_empty());
    assert!(cannot.iter().all(said), "{cannot:?}");
}

/// A length that was given stays, though it be the default of other questions.
#[test]
fn a_task_leaves_what_was_given() {
    let of = |given: &str| {
        let (_, v) = json(&format!("recommend --mac m4pro-20/48 --task agent {given}"));
        let r = &v["request"];
        (r["context_tokens"].as_u64(), r["generate_tokens"].as_u64(), r["engine"].clone())
    };
    assert_eq!(of(""), (Some(32_768), Some(1_024), "mlx-lm".into()));
    assert_eq!(of("--context 4096 --generate 256"), (Some(4_096), Some(256), "mlx-lm".into()));
    let (_, v) = json("recommend --mac m4pro-20/48 --task vision --for llama.cpp");
    assert_eq!(v["request"]["engine"], "llama.cpp");
}
