//! `mlxplan finetune`.

use crate::{json, run};

const QWEN: &str = "finetune --model qwen3-0.6b-4bit --mac m4max-40/64 --max-seq-length 513";

#[test]
fn json_has_every_key_of_the_contract() {
    let (code, v) = json(QWEN);
    assert_eq!(code, 0);
    assert_eq!(v["schema"], "mlxplan.finetune/1");
    // 16 blocks of seven matrices, rank 8, as mlx_lm.lora prints it: 2.884 M.
    assert_eq!(v["trainable_parameters"], 2_883_584);
    assert_eq!(v["optimizer_bytes"], 8 * 2_883_584 + 12);
    assert_eq!(v["request"]["seq_tokens"], 512);
    assert_eq!(v["memory"]["fits"], "yes");
    let parts = v["memory"]["parts"].as_array().expect("parts");
    let sum: u64 = parts.iter().filter_map(|p| p["bytes"].as_u64()).sum();
    assert_eq!(Some(sum), v["memory"]["peak_bytes"].as_u64());
    let speed = &v["speed"];
    for key in ["tokens_per_s", "iterations_per_s", "seconds_per_1000_iterations", "run_s"] {
        assert!(speed[key].as_f64().is_some_and(|x| x > 0.0), "{key}: {speed}");
    }
    let first = &v["changes"][0];
    assert_eq!(first["change"], "--grad-checkpoint");
    assert!(first["gains_bytes"].as_i64() > Some(0));
    let largest = &v["largest"];
    assert!(largest["batch"].as_u64() >= Some(4) && largest["tokens"].as_u64() >= Some(512));
}

#[test]
fn what_mlx_lm_refuses_is_refused_with_a_way_out() {
    for (arguments, reason) in [
        ("--num-layers 99", "this model has 28"),
        ("--fine-tune-type full", "16 bit"),
        ("--keys self_attn.wrong", "no module"),
        ("--engine ollama", "only mlx-lm"),
    ] {
        let (code, out, err) = run(&format!("{QWEN} {arguments}"));
        assert_eq!(code, 2, "{arguments}: {out}");
        assert!(err.contains(reason), "{arguments}: {err}");
    }
}

#[test]
fn gguf_files_are_not_trained() {
    let (code, out, err) = run("finetune --model qwen3-0.6b --quant q4_k_m --mac m4max-40/64");
    assert_eq!(code, 2, "{out}");
    assert!(err.contains("trains no GGUF"), "{err}");
}

#[test]
fn the_command_names_a_repository_that_can_be_loaded() {
    let (_, out, _) = run(&format!("{QWEN} --iters 1000"));
    assert!(out.contains("mlx_lm.lora --model mlx-community/Qwen3-0.6B-4bit --train"), "{out}");
    assert!(out.contains("for 1000 iterations\n") && !out.contains("chunks of"), "{out}");
}

#[test]
#[cfg(not(target_os = "macos"))]
fn tokens_that_count_are_those_of_the_macs_too() {
    let rate = |fill: &str| {
        let run = format!("finetune --model qwen3-0.6b-4bit --max-seq-length 513 --fill {fill}");
        json(&run).1["macs"][0]["tokens_per_s"].as_f64().expect("a rate")
    };
    assert!((rate("0.5") / rate("1") - 0.5).abs() < 1e-9);
}

#[test]
fn what_does_not_fit_says_what_would() {
    let (code, v) = json("finetune --model llama-3.1-8b-bf16 --mac m4-10/16");
    assert_eq!(code, 1);
    assert_eq!(v["memory"]["fits"], "no");
    let changes = v["changes"].as_array().expect("changes");
    assert!(changes.iter().any(|c| c["change"].as_str().is_some_and(|t| t.contains("4 bit"))));
}
