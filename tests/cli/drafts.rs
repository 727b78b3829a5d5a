//! `--draft` on `predict` and `recommend`.

use crate::{json, mlxplan, run};
use serde_json::Value;
use std::fs;

const QWEN: &str = "predict --model qwen3-32b-4bit --mac m4max-40/64";

fn draft(v: &Value) -> &Value {
    &v["speculation"]["drafts"][0]
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or_else(|| panic!("a number, not {v}"))
}

#[test]
fn a_draft_has_a_speed_up_at_every_acceptance_and_counts_in_memory() {
    let (code, without) = json(QWEN);
    assert_eq!((code, &without["speculation"]), (0, &Value::Null));
    let (code, with) = json(&format!("{QWEN} --draft qwen3-0.6b --acceptance 0.6..0.8"));
    assert_eq!(code, 0);
    let (s, d) = (&with["speculation"], draft(&with));
    assert_eq!((&s["tokenizer"], &d["tokenizer"]), (&"qwen3".into(), &"same".into()));
    assert_eq!((&s["acceptance"]["assumed"], &d["draft_tokens"]), (&false.into(), &3.into()));
    let at = d["at"].as_array().unwrap();
    let speedups: Vec<f64> = at.iter().map(|at| number(&at["speedup"])).collect();
    assert!(at.len() == 3 && speedups.is_sorted(), "{speedups:?}");
    assert!(number(&d["break_even_acceptance"]) < 0.6 && speedups[0] > 1.0);
    let peak = |v: &Value| v["memory"]["peak_bytes"].as_u64().unwrap();
    let more = d["draft_bytes"].as_u64().unwrap();
    assert_eq!(peak(&with), peak(&without) + more);
    assert_eq!(d["peak_bytes"], with["memory"]["peak_bytes"]);
    assert!(more > 335_000_000, "weights and a cache: {more}");
    let parts = with["memory"]["parts"].as_array().unwrap();
    assert!(parts.iter().any(|p| p["part"] == "draft" && p["bytes"] == more));
    // The speed itself stays that of the model alone.
    assert_eq!(with["decode"]["tokens_per_s"], without["decode"]["tokens_per_s"]);
}

/// What the draft keeps leaves less for the model's own cache.
#[test]
fn the_longest_context_leaves_room_for_the_draft() {
    let line = "predict --model qwen3-14b-4bit --mac m4-10/16";
    let longest = |v: &Value| v["memory"]["max_context_tokens"].as_u64().unwrap();
    let without = longest(&json(line).1);
    let with = longest(&json(&format!("{line} --draft qwen3-1.7b")).1);
    assert!(with < without && with > 0, "{with} {without}");
}

#[test]
fn an_acceptance_that_was_not_said_is_called_an_assumption() {
    let (_, out, _) = run(&format!("{QWEN} --draft qwen3-0.6b"));
    assert!(out.contains("assumed") && out.contains("assumption"), "{out}");
    let (_, v) = json(&format!("{QWEN} --draft qwen3-0.6b"));
    assert_eq!(v["speculation"]["acceptance"]["assumed"], true);
    assert!(draft(&v)["at"].as_array().unwrap().iter().all(|at| at["task"].is_string()));
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let cases = [
        ("gemma-3-27b-it-4bit", "gemma-3-1b-it", "", "goes wrong without an error"),
        ("qwen3.5-27b-4bit", "qwen3.5-0.8b", "", "states that cannot be taken back"),
        ("phi-4-4bit", "granite-4.1-3b", "", "tokenizers differ"),
        ("qwen3-8b-4bit", "qwen3-0.6b", "--batch 4", "one at a time"),
        ("qwen3-8b-4bit", "qwen3-32b", "", "no smaller than the model"),
        ("qwen3-8b", "qwen3-0.6b", "--engine ollama", "takes no draft model"),
        ("qwen3.5-27b-4bit", "mtp", "", "drops them on load"),
        ("qwen3-32b-4bit", "mtp", "--engine omlx", "no prediction heads"),
    ];
    for (model, by, more, reason) in cases {
        let line = format!("predict --model {model} --mac m4max-40/128 --draft {by} {more}");
        let (code, v) = json(&line);
        assert_eq!((code, &draft(&v)["verdict"]), (1, &"impossible".into()), "{line}: {v:#}");
        let found = draft(&v)["reason"].as_str().unwrap();
        assert!(found.contains(reason), "{line}: {found}");
        assert_eq!(draft(&v)["speedup"], Value::Null);
    }
}

#[test]
fn windows_are_right_below_and_wrong_from_where_drafts_fill_them() {
    let verdict = |context: u32, drafts: u32| {
        let line = format!(
            "predict --model gemma-3-27b-it-4bit --mac m4max-40/64 --draft gemma-3-1b-it --generate 100 \
             --context {context} --draft-tokens {drafts}"
        );
        draft(&json(&line).1)["verdict"].as_str().unwrap().to_owned()
    };
    assert_ne!(verdict(920, 3), "impossible");
    assert_eq!(verdict(921, 3), "impossible");
    assert_eq!(verdict(920, 4), "impossible");
}

#[test]
fn recommend_lists_the_drafts_that_share_the_tokenizer() {
    let (code, v) =
        json("recommend --model qwen3-32b-4bit --mac m4max-40/64 --draft auto --draft-tokens auto");
    assert_eq!((code, &v["schema"]), (0, &"mlxplan.speculation/1".into()));
    let drafts = v["drafts"].as_array().unwrap();
    let names: Vec<&str> = drafts.iter().filter_map(|d| d["model"].as_str()).collect();
    assert!(names.contains(&"Qwen/Qwen3-0.6B") && names.contains(&"Qwen/Qwen3-1.7B"), "{names:?}");
    for d in drafts {
        assert_eq!(d["tokenizer"], "same");
        assert_eq!(d["draft_tokens"], d["best_draft_tokens"]);
    }
    let (code, v) = json("recommend --model phi-4-4bit --mac m4max-40/64 --draft auto");
    assert_eq!((code, v["drafts"].as_array().map(Vec::len)), (1, Some(0)));
}

#[test]
fn folders_are_compared_token_by_token() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{"model_type": "qwen3", "hidden_size": 1024, "num_hidden_layers": 28, "intermediate_size": 3072,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000, "max_position_embeddings": 40960, "tie_word_embeddings": true}"#;
    let tokenizer = |tokens: &str| {
        format!(r#"{{"model": {{"type": "BPE", "vocab": {{{tokens}}}}}, "added_tokens": []}}"#)
    };
    let model = |name: &str, layers: &str, tokens: &str| {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        let config = config
            .replace("\"num_hidden_layers\": 28", &format!("\"num_hidden_layers\": {layers}"));
        fs::write(path.join("config.json"), config).unwrap();
        fs::write(path.join("tokenizer.json"), tokenizer(tokens)).unwrap();
        path.display().to_string()
    };
    let main = model("main", "28", r#""a": 0, "b": 1"#);
    let alike = model("alike", "2", r#""b": 1, "a": 0"#);
    let other = model("other", "2", r#""a": 1, "b": 0"#);
    let found = |by: &str| {
        let mut command = mlxplan("predict --mac m4max-40/64 --json");
        let output = command.args(["--model", &main, "--draft", by]).output().unwrap();
        let v: Value = serde_json::from_slice(&output.stdout).unwrap();
        draft(&v).clone()
    };
    assert_eq!(found(&alike)["tokenizer"], "same");
    assert!(found(&other)["reason"].as_str().unwrap().contains("tokenizers differ"));
}

#[test]
fn plans_take_drafts() {
    let folder = tempfile::tempdir().unwrap();
    let check = |keys: &str| {
        let plan = folder.path().join("plan.toml");
        let text = format!(
            "macs = [\"m4max-40/64\"]\n[[workload]]\nmodel = \"qwen3-32b-4bit\"\nmin_tok_s = 1\n{keys}\n"
        );
        fs::write(&plan, text).unwrap();
        run(&format!("check {} --json", plan.display()))
    };
    let peak = |out: &str| {
        let v: Value = serde_json::from_str(out).unwrap();
        v.to_string()
    };
    let (plain, drafted) =
        (check(""), check("draft = \"qwen3-0.6b\"\nacceptance = \"0.6..0.8\"\ndraft_tokens = 2"));
    assert_eq!((plain.0, drafted.0), (0, 0), "{} {}", plain.2, drafted.2);
    assert_ne!(peak(&plain.1), peak(&drafted.1));
    let (code, _, err) = check("draft = \"phi-4-4bit\"");
    assert!(code == 2 && err.contains("tokenizers differ"), "{code} {err}");
    let (code, _, err) = check("acceptance = 0.7");
    assert!(code == 2 && err.contains("there is no draft"), "{code} {err}");
    let (code, _, err) = check("draft = \"qwen3-0.6b\"\nacceptance = 1.7");
    assert!(code == 2 && err.contains("acceptance"), "{code} {err}");
}

#[test]
fn wrong_values_are_errors_that_say_what_to_write() {
    for (more, hint) in [
        ("--draft qwen3-0.6b --acceptance 60%", "0.6..0.8"),
        ("--draft qwen3-0.6b --draft-tokens 99", "1 to 16"),
        ("--acceptance 0.5", "--draft"),
        ("--draft no-such-model-at-all", "--draft no-such-model-at-all"),
    ] {
        let (code, _, err) = run(&format!("{QWEN} {more}"));
        assert!(code == 2 && err.contains(hint), "{more}: {code} {err}");
    }
}
