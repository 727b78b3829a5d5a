//! `mlxplan predict`.

use crate::{json, run};
use serde_json::Value;

const QWEN: &str = "predict --model qwen3-32b-4bit --mac m4max-40/64 --context 32768";

fn number(v: &Value, path: &str) -> f64 {
    let found = v.pointer(path).unwrap_or_else(|| panic!("no {path} in {v:#}"));
    found.as_f64().unwrap_or_else(|| panic!("{path} is {found}"))
}

#[test]
fn json_has_every_key_of_the_contract() {
    let (code, v) = json(QWEN);
    assert_eq!(code, 0);
    assert_eq!(v["schema"], "mlxplan.prediction/2");
    assert_eq!(v["model"]["id"], "Qwen/Qwen3-32B");
    assert_eq!(v["model"]["family"], "qwen3");
    assert_eq!(v["model"]["quant"], "affine-4-g64");
    assert_eq!(v["machine"]["id"], "m4max-40/64");
    assert_eq!(v["machine"]["chip"], "m4max-40");
    assert_eq!(v["machine"]["memory_gib"], 64);
    assert_eq!(v["request"]["context_tokens"], 32768);
    assert_eq!(v["request"]["kv_bits"], Value::Null);
    assert_eq!(v["request"]["engine"], "mlx-lm");
    assert_eq!(v["engine"]["program"], "mlx-lm");
    assert_eq!(v["engine"]["kv_type"], "f16");
    assert_eq!(v["memory"]["fits"], "yes");
    assert_eq!(v["memory"]["max_context_tokens"], 40960);
    assert_eq!(v["fidelity"], "spec");
    for path in [
        "/model/parameters",
        "/model/active_parameters",
        "/machine/gpu_cores",
        "/machine/bandwidth_gbs",
        "/machine/gpu_limit_bytes",
        "/machine/gpu_limit_range_bytes/1",
        "/request/generate_tokens",
        "/request/batch",
        "/request/prefill_step",
        "/memory/weights_bytes",
        "/memory/kv_bytes",
        "/memory/state_bytes",
        "/memory/run_ahead_bytes",
        "/memory/peak_bytes",
        "/memory/peak_interval_90_bytes/0",
        "/decode/tokens_per_s",
        "/decode/interval_80/0",
        "/decode/interval_90/1",
        "/decode/seconds_per_token",
        "/decode/bytes_per_token",
        "/decode/dispatches_per_token",
        "/prefill/tokens_per_s",
        "/prefill/ttft_s",
        "/prefill/interval_80/1",
        "/prefill/interval_90/0",
    ] {
        number(&v, path);
    }
    assert!(v["provenance"].is_array() && v["warnings"].is_array());
    // Whole numbers of bytes and of GiB are written as such.
    assert!(v["memory"]["peak_bytes"].is_u64() && v["machine"]["memory_gib"].is_u64());
}

#[test]
fn the_intervals_contain_the_prediction_and_each_other() {
    let (_, v) = json(QWEN);
    for part in ["decode", "prefill"] {
        let at = |path: &str| number(&v, &format!("/{part}/{path}"));
        let all = [
            at("interval_90/0"),
            at("interval_80/0"),
            at("tokens_per_s"),
            at("interval_80/1"),
            at("interval_90/1"),
        ];
        assert!(all.is_sorted(), "{part}: {all:?}");
    }
    let peak = number(&v, "/memory/peak_bytes");
    assert!(number(&v, "/memory/peak_interval_90_bytes/0") <= peak);
    assert!(number(&v, "/memory/peak_interval_90_bytes/1") >= peak);
}

#[test]
fn the_parts_of_the_peak_add_up() {
    for model in
        ["qwen3-32b-4bit", "gpt-oss-20b-mxfp4-q8", "qwen3.5-4b-4bit", "gemma-3-27b-it-4bit"]
    {
        let (_, v) = json(&format!("predict --model {model} --mac m3ultra-80/512 --context 5000"));
        let m = |key: &str| v["memory"][key].as_u64().unwrap_or_else(|| panic!("{model} {key}"));
        let parts = v["memory"]["parts"].as_array().expect("parts");
        let bytes = |p: &Value| p["bytes"].as_u64().expect("bytes");
        assert_eq!(parts.iter().map(bytes).sum::<u64>(), m("peak_bytes"), "{model}");
        assert!(m("max_context_tokens") <= m("max_context_at_most_tokens"), "{model}");
        assert!(m("weights_active_bytes") >= m("weights_bytes"), "{model}");
    }
}

#[test]
fn exit_codes_tell_fit_no_fit_and_doubt() {
    let code = |rest: &str| json(&format!("predict --model llama-3.3-70b-4bit {rest}")).0;
    assert_eq!(code("--mac m4max-40/64"), 0);
    assert_eq!(code("--mac m4max-40/48"), 1);
    assert_eq!(code("--mac m4max-40/64 --reserve 30"), 1);
    // 38.65 GB before macOS 26, 40.20 GB since.
    let (code, v) = json("predict --model qwen3-32b-8bit --mac m4max-40/48 --context 12000");
    assert_eq!((code, v["memory"]["fits"].as_str()), (3, Some("uncertain")), "{:#}", v["memory"]);
}

#[test]
fn depths_are_slower_the_deeper() {
    let (_, v) =
        json("predict --model qwen3-8b-4bit --mac m2max-38/64 --depths 0,4096,16384,65536");
    let rates: Vec<f64> =
        (0..4).map(|i| number(&v, &format!("/decode/at_depth/{i}/tokens_per_s"))).collect();
    assert!(rates.is_sorted_by(|a, b| a > b), "{rates:?}");
}

#[test]
fn a_machine_that_is_not_in_the_catalog_can_be_described() {
    let (code, v) =
        json("predict --model qwen3-8b-4bit --bandwidth 546 --gpu-cores 40 --memory 128");
    assert_eq!(code, 0);
    assert_eq!(v["machine"]["bandwidth_gbs"], 546);
    assert_eq!(v["machine"]["chip"], Value::Null);
}

fn added(list: &Value, key: &str) -> f64 {
    list.as_array().expect("a list").iter().map(|t| t[key].as_f64().expect("a number")).sum()
}

/// Whatever a speed rests on, and with one bin or several.
#[test]
fn terms_add_up_to_times_and_parts_to_the_peak() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let own = crate::agreement::own_run(folder.path(), 70.0);
    for rest in [
        "--mac m4max-40/64 --context 1",
        "--mac m4max-40/64 --batch 16",
        "--mac m1max/32 --engine mlx-lm-server",
        "--mac m4max-40/64 --engine llama.cpp",
        &format!("--mac m4max-40/64 --evidence {own}"),
    ] {
        let (_, v) = json(&format!("predict --model qwen3-8b-4bit {rest}"));
        let same = |sum: f64, pointer: &str| {
            let whole = number(&v, pointer);
            assert!((sum / whole - 1.0).abs() < 1e-9, "{rest}: {sum}, {pointer} is {whole}");
        };
        same(added(&v["decode"]["terms"], "seconds"), "/decode/seconds_per_token");
        same(added(&v["prefill"]["terms"], "seconds"), "/prefill/ttft_s");
        same(added(&v["memory"]["parts"], "bytes"), "/memory/peak_bytes");
    }
}

#[test]
fn explain_shows_ledgers_that_add_up() {
    let (code, v) = json(&format!("{QWEN} --explain"));
    assert_eq!(code, 0);
    let weights: u64 = v["explain"]["weights"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|line| line["bytes"].as_u64().expect("bytes"))
        .sum();
    assert_eq!(weights, v["memory"]["weights_bytes"].as_u64().expect("bytes"));
    let terms = added(&v["decode"]["terms"], "seconds");
    let total = number(&v, "/decode/seconds_per_token");
    assert!((terms / total - 1.0).abs() < 1e-9, "{terms} {total}");
    let (_, text, _) = run(&format!("{QWEN} --explain"));
    for word in ["run-ahead", "maxBufferLength", "Simulated steps", "µs"] {
        assert!(text.contains(word), "{word} in\n{text}");
    }
}

#[test]
fn a_quantized_cache_is_smaller() {
    let kv = |rest: &str| {
        let (_, v) = json(&format!("{QWEN} {rest}"));
        v["memory"]["kv_bytes"].as_u64().expect("bytes")
    };
    let (plain, eight, four) = (kv(""), kv("--kv-bits 8"), kv("--kv-bits 4"));
    assert!(plain > eight && eight > four, "{plain} {eight} {four}");
}

/// A run of this very model on this machine decides the speed at its depth, is carried to others, and the prediction
/// without it stays in sight.
#[test]
fn own_runs_shift_a_prediction_and_say_so() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |context: u32| {
        format!("predict --model qwen3-8b-4bit --mac m4max-40/64 --context {context} --generate 1")
    };
    let (_, plain) = json(&at(4096));
    let rate = |p: &Value| p["decode"]["tokens_per_s"].as_f64().expect("a rate");
    let file = crate::agreement::own_run(folder.path(), 0.8 * rate(&plain));
    let (_, own) = json(&format!("{} --evidence {file} --depths 0,65536", at(4096)));
    assert_eq!(
        (&own["fidelity"], &own["prefill"]["fidelity"]),
        (&"measured".into(), &"spec".into())
    );
    assert!((rate(&own) / (0.8 * rate(&plain)) - 1.0).abs() < 1e-3, "{own}");
    assert_eq!(own["evidence"].as_array().map(Vec::len), Some(1));
    assert_eq!(own["without_evidence"]["decode"]["interval_90"], plain["decode"]["interval_90"]);
    assert_eq!(plain["evidence"], serde_json::json!([]));
    let (_, far) = json(&format!("{} --evidence {file}", at(65_536)));
    let width = |p: &Value| {
        let ends = &p["decode"]["interval_90"];
        ends[1].as_f64().expect("an end") / ends[0].as_f64().expect("an end")
    };
    assert!(width(&far) > width(&own), "{far}");
    let causes: Vec<&str> = far["widenings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|w| w["cause"].as_str())
        .collect();
    assert!(causes.iter().any(|c| c.contains("nearest measured 4096")), "{causes:?}");
    let (code, _, text) =
        run(&format!("{} --evidence {file}", at(4096).replace("m4max-40/64", "m4-10/32")));
    assert!(code == 2 && text.contains("measured on Apple M4 Max, 40 GPU cores, 64 GB"), "{text}");
    let (code, _, text) = run(&format!("{} --evidence {file}", at(4096).replace("8b", "14b")));
    assert!(code == 2 && text.contains("no run of"), "{text}");
}

/// A file of runs is somebody's word: what a machine cannot do is no run, and the reason is told.
#[test]
fn a_run_that_cannot_be_is_not_believed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let asked = "predict --model qwen3-8b-4bit --mac m4max-40/64";
    for (rate, word) in [
        (1e300, "more than the machine can do"),
        (900.0, "more than the machine can do"),
        (1e-300, "no run of this model"),
    ] {
        let file = crate::agreement::own_run(folder.path(), rate);
        let (code, out, err) = run(&format!("{asked} --evidence {file}"));
        assert!(code == 2 && err.contains(word), "{rate}: {out}{err}");
    }
    let file = crate::agreement::own_run(folder.path(), 80.0);
    let good = std::fs::read_to_string(&file).expect("readable");
    for (key, value, word) in [
        ("\"noise\":0.01", "\"noise\":1e300", "no run"),
        ("\"noise\":0.01", "\"noise\":-5", "no run"),
        ("\"context_tokens\":4096", "\"context_tokens\":4294967295", "no prompt has"),
    ] {
        assert!(good.contains(key), "{good}");
        std::fs::write(&file, good.replace(key, value)).expect("written");
        let (code, out, err) = run(&format!("{asked} --evidence {file}"));
        assert!(code == 2 && err.contains(word), "{value}: {out}{err}");
    }
    let long = good.replace("qwen3-8b-4bit", &"x".repeat(100_000));
    std::fs::write(&file, long).expect("written");
    let (code, _, err) = run(&format!("{asked} --evidence {file}"));
    assert!(code == 2 && err.len() < 1000, "{} bytes", err.len());
}

/// Who made a GGUF file narrows what its format means: some publishers choose types of their own.
#[test]
fn the_publisher_of_a_gguf_file_counts() {
    let width = |publisher: &str| {
        let model = format!("{publisher}Qwen3.5-9B-GGUF:Q4_K_M");
        let (_, p) = json(&format!("predict --model {model} --mac m4max-40/64 --engine llama.cpp"));
        let ends = &p["format"]["weights_interval_bytes"];
        ends[1].as_u64().expect("bytes") - ends[0].as_u64().expect("bytes")
    };
    let [plain, unsloth, unknown] = ["lmstudio-community/", "unsloth/", ""].map(width);
    assert!(plain == 0 && unsloth > 0 && unsloth < unknown, "{plain} {unsloth} {unknown}");
}

/// M13: a limit that was raised is an input, and advice starts from it.
#[test]
fn a_raised_gpu_limit_is_where_judgment_and_advice_start() {
    let at = |rest: &str| {
        json(&format!("predict --model qwen3-32b-8bit --mac m4pro-20/48 --context 20000 {rest}"))
    };
    let (code, stock) = at("");
    assert_eq!(code, 1, "{stock:#}");
    let (_, raised) = at("--gpu-limit 40GiB --explain");
    let limit = number(&raised, "/machine/gpu_limit_bytes");
    assert_eq!(limit, (40_u64 << 30) as f64);
    assert_eq!(raised["request"]["gpu_limit_bytes"], raised["machine"]["gpu_limit_bytes"]);
    let longer = number(&raised, "/memory/max_context_tokens")
        > number(&stock, "/memory/max_context_tokens");
    assert!(longer, "{raised:#}");
    let (_, much) = at("--gpu-limit 60GB");
    assert_eq!(number(&much, "/machine/gpu_limit_bytes"), (48_u64 << 30) as f64);
    assert!(
        much["warnings"].to_string().contains("--gpu-limit 60.00 GB is more than the 48 GiB"),
        "{much:#}"
    );
    let (_, low) = at("--gpu-limit 34GiB --explain");
    let wired = low["memory"]["changes"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|c| c["change"] == "wired_limit");
    let wired = wired.unwrap_or_else(|| panic!("{low:#}"));
    assert_eq!(wired["undo"], "sudo sysctl iogpu.wired_limit_mb=34816");
    let (code, _, err) = run("predict --model qwen3-8b-4bit --mac m4pro-20/48 --gpu-limit 58");
    assert!(code == 2 && err.contains("'58' is no size"), "{err}");
}

/// "Only 24 GB of my 64 are for this": a limit of its own, which the longest context respects.
#[test]
fn memory_meant_for_the_run_is_a_limit() {
    let at = |rest: &str| {
        json(&format!("predict --model qwen3-32b-4bit --mac m4max-40/64 --context 8192 {rest}"))
    };
    let (_, all) = at("");
    let (_, some) = at("--budget-memory 24GB");
    let most = number(&some, "/memory/max_context_tokens");
    assert!(most < number(&all, "/memory/max_context_tokens"), "{some:#}");
    let (code, _) = json(&format!(
        "predict --model qwen3-32b-4bit --mac m4max-40/64 --generate 256 --context {} --budget-memory 24GB",
        most as u64 - 256
    ));
    assert_eq!(code, 0);
    let (code, little) = at("--budget-memory 16GB");
    assert_eq!(code, 1);
    let limits = little["memory"]["limits"].as_array().expect("a list");
    assert!(limits.iter().any(|l| l["kind"] == "budget" && l["fits"] == "no"), "{little:#}");
}

/// What the name did not say, or said of another repository, is in the answer.
#[test]
fn an_answer_says_how_its_model_was_read() {
    for (name, said) in [
        ("ornith-1.5-9b-4bit", "is read as Qwen/Qwen3.5-9B"),
        ("qwen3-8b", "no format was given: 4 bit"),
    ] {
        let (_, answer) = json(&format!("predict --model {name} --mac m4max-40/64"));
        assert!(answer["warnings"].to_string().contains(said), "{answer:#}");
        let (_, text, _) = run(&format!("predict --model {name} --mac m4max-40/64"));
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(words.join(" ").contains(said), "{text}");
    }
}

/// What reads only has no decode speed anywhere in its answer.
#[test]
fn a_model_that_generates_nothing_has_no_decode_speed() {
    let asked = "predict --model qwen3-embedding-0.6b --mac mbp16-m5max-40-2026/128";
    let (code, v) = json(asked);
    assert_eq!(code, 0);
    assert!(v["decode"].is_null() && v["power"]["burst"]["decode_tokens_per_s"].is_null());
    assert!(v["prefill"]["tokens_per_s"].as_f64() > Some(0.0));
    let widened = v["widenings"].as_array().expect("a list");
    assert!(widened.iter().all(|w| w["of"] != "decode"), "{widened:?}");
    let (_, out, _) = run(asked);
    assert!(!out.contains("tokens generated") && !out.contains("decode from"), "{out}");
}

/// What MLX does in other versions or without matrix units is nothing to a program that does not run on it.
#[test]
fn llama_cpp_has_no_other_mlx() {
    for engine in ["ollama", "llama.cpp"] {
        let (_, out, _) = crate::run(&format!(
            "predict --model qwen3-30b-a3b-4bit --mac m5max-40/128 --engine {engine}"
        ));
        assert!(!out.contains("--nax") && !out.contains("--mlx"), "{out}");
    }
    let (_, out, _) =
        crate::run("compare --model qwen3-30b-a3b-4bit --mac m5max-40/128 --engines mlx-lm,ollama");
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(out.contains("weights in gguf-q4_k_m"), "{out}");
}
