//! Questions that people who do this job published, asked as they would ask them: each with the published figure.

use crate::{json, run};
use serde_json::Value;

fn gb(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no bytes: {value}")) / 1e9
}

/// lmstudio-bug-tracker#2191 and mlx-lm#1610: `qwen3.6-35b-a3b-ud-mlx` is 21.66 GB in LM Studio. Its name does not tell the
/// bits of the layers, so that the answer is a range.
#[test]
fn a_name_of_mixed_bits_is_a_range_with_its_size() {
    let (_, v) = json(
        "predict --model qwen3.6-35b-a3b-ud-mlx --mac m4max-40/64 --engine lm-studio --context 512 --generate 16",
    );
    let range = &v["format"]["weights_interval_bytes"];
    assert!((gb(&range[0])..=gb(&range[1])).contains(&21.66), "{range}");
    assert_eq!(v["format"]["origin"], "name");
}

/// lmstudio-bug-tracker#2404: a 14B of Qwen 3 in Q5_K_M with 65 536 tokens on an M4 Pro with 24 GB. A q8_0 cache is 5.73 GB
/// where f16 takes 10.78, and with it the run fits.
#[test]
fn a_quantized_cache_of_llama_cpp_decides() {
    let asked = "predict --model qwen3-14b --quant Q5_K_M --mac m4pro-20/24 --engine lm-studio-gguf --context 65280 \
                 --generate 256 --parallel 1";
    let [(plain_code, plain), (code, eight)] =
        ["f16", "q8_0"].map(|kind| json(&format!("{asked} --kv-type {kind}")));
    let [plain_kv, kv] = [&plain, &eight].map(|v| gb(&v["memory"]["kv_bytes"]));
    assert!((kv - 5.73).abs() < 0.06 && (plain_kv - 10.78).abs() < 0.06, "{kv} {plain_kv}");
    let [most, peak] = [&plain, &eight].map(|v| gb(&v["memory"]["peak_bytes"]));
    assert!((15.7..16.9).contains(&peak) && (20.7..21.9).contains(&most), "{peak} {most}");
    assert_eq!((plain_code, &plain["memory"]["fits"]), (1, &"no".into()));
    assert_eq!((code, &eight["memory"]["fits"]), (0, &"tight".into()));
}

/// ollama#17024: `qwen3-coder:30b` is a file of 18.55 GB.
#[test]
fn a_tag_of_ollama_is_its_file() {
    let (_, v) =
        json("predict --model qwen3-coder:30b --engine ollama --mac m1max-32/32 --context 512");
    assert!((gb(&v["memory"]["weights_bytes"]) - 18.55).abs() < 0.01, "{}", v["memory"]);
    let range = &v["format"]["weights_interval_bytes"];
    assert!((gb(&range[0])..=gb(&range[1])).contains(&18.55), "{range}");
}

/// jundot/omlx#1331, #1533 and others: limits that were raised, in the units that people use; the verdict follows.
#[test]
fn a_raised_limit_is_an_input_everywhere() {
    for (mac, limit, gib) in [
        ("m4pro-20/48", "49152MiB", 48.0),
        ("m4pro-20/48", "42GiB", 42.0),
        ("m4pro-20/24", "22GiB", 22.0),
        ("m4max-40/64", "58GiB", 58.0),
    ] {
        let (_, v) = json(&format!(
            "predict --model qwen3-0.6b-4bit --mac {mac} --gpu-limit {limit} --context 512 --generate 16"
        ));
        let bytes = v["machine"]["gpu_limit_bytes"].as_f64().expect("a number");
        assert!((bytes / 1_073_741_824.0 - gib).abs() < 0.01, "{limit}: {bytes}");
    }
    for command in [
        "recommend --model qwen3-0.6b-4bit --mac m4pro-20/24",
        "compare --engines mlx-lm,llama.cpp --model qwen3-0.6b-4bit --mac m4pro-20/24",
    ] {
        let (code, _, error) = run(&format!("{command} --gpu-limit 22GiB --context 512"));
        assert_eq!(code, 0, "{command}: {error}");
    }
}

/// There is one verdict: the limits have the same words, and nothing contradicts it.
#[test]
fn there_is_one_verdict() {
    let (_, v) = json("predict --model qwen3-14b-8bit --mac m4-10/16 --context 512 --generate 16");
    let memory = v["memory"].as_object().expect("an object");
    assert!(!memory.contains_key("verdict"), "{memory:?}");
    assert_eq!(memory["fits"], "no");
    let limits = memory["limits"].as_array().expect("limits");
    assert!(limits.iter().any(|l| l["fits"] == "no"), "{limits:?}");
}

/// Every program answers with its own settings: command, file or the figures to set.
#[test]
fn every_engine_ends_with_its_settings() {
    for engine in ["omlx", "vllm-mlx", "vllm-metal", "rapid-mlx", "mlx-vlm", "vmlx", "exo"] {
        let (_, v) = json(&format!(
            "recommend --model qwen3-0.6b-4bit --mac m4-10/16 --context 512 --generate 16 --for {engine}"
        ));
        let settings = &v["settings"];
        assert_eq!(settings["engine"], engine, "{v}");
        let commands = settings["commands"].as_array().expect("a list");
        let notes = settings["notes"].as_array().expect("a list");
        assert!(
            !commands.is_empty() || notes.iter().any(|n| n.to_string().contains("context of 768"))
        );
        assert_eq!(v["request"]["engine"], engine, "{v}");
    }
    let (_, v) = json("recommend --model qwen3-0.6b-4bit --mac m4-10/16 --context 512 --for omlx");
    let file = &v["settings"]["file"];
    assert_eq!(file["path"], "~/.omlx/settings.json");
    let keys: Value = serde_json::from_str(file["content"].as_str().expect("text")).expect("JSON");
    assert_eq!(keys["sampling"]["max_context_window"], 768);
}
