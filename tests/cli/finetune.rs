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
        ("--keys self_attn", "names no matrix"),
        ("--keys input_layernorm", "names no matrix"),
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

/// A folder with files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

#[test]
fn a_configuration_file_is_read_as_mlx_lm_reads_it() {
    let yaml = "model: qwen3-0.6b-4bit\nbatch_size: 2\nmax_seq_length: 513\niters: 600\nitres: 3\n\
                lora_parameters:\n  rank: 16\n  scale: 20.0\n  dropout: 0.1\n  keys: [\"self_attn.q_proj\"]\n";
    let there = folder(&[("config.yaml", yaml)]);
    let path = there.path().join("config.yaml");
    let asked = format!("finetune -c {} --mac m4max-40/64", path.display());
    let (code, v) = json(&format!("{asked} --batch-size 1"));
    assert_eq!(code, 0);
    let r = &v["request"];
    assert_eq!((r["batch_size"].as_u64(), r["rank"].as_u64()), (Some(1), Some(16)));
    assert_eq!((r["iters"].as_u64(), r["seq_tokens"].as_u64()), (Some(600), Some(512)));
    assert_eq!(r["keys"][0], "self_attn.q_proj");
    let warnings = v["warnings"].to_string();
    assert!(warnings.contains("ignores what it does not know, here itres"), "{warnings}");
    assert!(warnings.contains("dropout 0.1"), "{warnings}");
    // The command keeps the file, with what the flags change.
    let (_, out, _) = run(&format!("{asked} --batch-size 1"));
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(out.contains(&format!("-c {} --batch-size 1 ", path.display())), "{out}");
    assert!(!out.contains("lora_parameters") && !out.contains("--iters"), "{out}");
    std::fs::write(&path, "lora_parameters: {rank: 8, alpha: 16, dropout: 0}").expect("written");
    let (code, _, err) = run(&format!("{asked} --model qwen3-0.6b-4bit"));
    assert_eq!(code, 2);
    assert!(err.contains("scale") && err.contains("alpha"), "{err}");
}

#[test]
fn data_decide_lengths_epochs_and_what_counts() {
    let long = "x".repeat(1000);
    let lines: String = (0..9)
        .map(|i| format!("{{\"text\": \"{}\"}}\n", if i == 4 { &long } else { "abcdefg" }))
        .collect();
    let there = folder(&[("train.jsonl", &lines)]);
    let asked = format!("{QWEN} --batch-size 2 --data {}", there.path().display());
    let (code, v) = json(&asked);
    assert_eq!(code, 0);
    let data = &v["data"];
    assert_eq!(
        (data["samples"].as_u64(), data["iterations_per_epoch"].as_u64()),
        (Some(9), Some(4))
    );
    assert_eq!(
        (data["counted_by"].as_str(), data["longest_tokens"].as_u64()),
        (Some("characters"), Some(287))
    );
    assert_eq!(v["request"]["seq_tokens"], 288);
    let share = data["counted_share"].as_f64().expect("a share");
    assert!(
        (share - (287.0 + 3.0 + 6.0 * 3.0) / (2.0 * (288.0 + 3.0 * 32.0))).abs() < 1e-9,
        "{share}"
    );
    let of_epoch = v["speed"]["seconds_per_iteration"].as_f64().map(|s| 4.0 * s);
    let ratio = data["epoch_s"].as_f64().zip(of_epoch).map_or(0.0, |(epoch, four)| epoch / four);
    assert!((ratio - 1.0).abs() < 1e-12, "{ratio}");
    // Characters are a range, and so is the peak.
    let peak = v["memory"]["peak_interval_90_bytes"].clone();
    let (_, known) = json(&format!("{QWEN} --batch-size 2 --longest 287"));
    let exact = known["memory"]["peak_interval_90_bytes"].clone();
    assert!(peak[0].as_u64() < exact[0].as_u64() && peak[1].as_u64() > exact[1].as_u64());
    let (_, out, _) = run(&asked);
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    let folder = format!("--data {}", there.path().display());
    for part in ["9 samples (texts)", "an epoch", "fill no batch", &folder] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn the_tokenizer_of_a_folder_counts() {
    const TOKENIZER: &str = r#"{ "version": "1.0", "model": { "type": "WordLevel", "vocab":
        { "a": 0, "b": 1, "</s>": 2, "[UNK]": 3 }, "unk_token": "[UNK]" }, "pre_tokenizer": { "type": "Whitespace" } }"#;
    let settings = r#"{ "eos_token": "</s>", "chat_template":
        "{% for m in messages %}a {{ m.content }} b {% endfor %}{% if add_generation_prompt %}a{% endif %}" }"#;
    let there = folder(&[
        ("config.json", include_str!("../browser/small.config.json")),
        ("tokenizer.json", TOKENIZER),
        ("tokenizer_config.json", settings),
        ("train.jsonl", "{\"prompt\": \"a b a\", \"completion\": \"b\"}\n"),
    ]);
    let path = there.path().display();
    let (code, v) = json(&format!(
        "finetune --model {path} --quant 4bit --mac m4max-40/64 --batch-size 1 --num-layers 1 --data {path} --mask-prompt"
    ));
    assert_eq!(code, 0, "{v:#}");
    // a a b a b a b b: five of the prompt, with what begins the answer six.
    let data = &v["data"];
    assert_eq!(
        (data["counted_by"].as_str(), data["longest_tokens"].as_u64()),
        (Some("tokenizer"), Some(8))
    );
    assert_eq!(data["counted_share"].as_f64(), Some(3.0 / 32.0));
}

#[test]
fn data_that_cannot_be_trained_on_are_refused() {
    let there = folder(&[("train.jsonl", "{\"text\": \"a\"}\n{\"text\": 3}\n")]);
    let path = there.path().display();
    let (code, _, err) = run(&format!("{QWEN} --data {path}"));
    assert_eq!(code, 2);
    assert!(err.contains("train.jsonl: line 2: the field \"text\""), "{err}");
    std::fs::write(there.path().join("train.jsonl"), "{\"text\": \"a\"}\n").expect("written");
    let (_, _, err) = run(&format!("{QWEN} --data {path}"));
    assert!(err.contains("1 samples are fewer than a batch of 4"), "{err}");
    let (code, _, err) = run(&format!("{QWEN} --data {path}/missing"));
    assert_eq!(code, 2);
    assert!(err.contains("wants a folder with train.jsonl"), "{err}");
}

#[test]
fn keys_that_are_skipped_in_silence_are_named() {
    let (code, v) = json(&format!("{QWEN} --keys self_attn.q_proj,self_attn.qq_proj"));
    assert_eq!(code, 0);
    let warnings = v["warnings"].to_string();
    assert!(warnings.contains("in silence: self_attn.qq_proj; it has"), "{warnings}");
}
