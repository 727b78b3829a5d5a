//! What users do wrong: every error says what, where, and what to do, and leaves with code 2.

use crate::{mlxplan, run};

/// Arguments, and words that the error must contain.
const WRONG: [(&str, &[&str]); 29] = [
    ("predict --model 32B-4bit --mac m4max-40/128", &["size class", "Qwen/Qwen3-32B-4bit"]),
    ("predict --model qwen3-23b-4bit --mac m4max-40/128", &["qwen3-23b", "Qwen3-32B"]),
    ("predict --model qwen3-32b-4bit --mac m4max-40/100", &["100", "128"]),
    ("predict --model qwen3-32b-4bit --mac m3", &["m3-8/16", "m3-10/16"]),
    ("predict --model qwen3-32b-4bit --mac pentium/64", &["pentium"]),
    ("predict --model qwen3-32b-7bit --mac m4max-40/64", &["7bit"]),
    ("predict --model qwen3-32b --quant 9bit --mac m4max-40/64", &["9bit"]),
    ("predict --model qwen3-32b-4bit --mac m4max-40/64 --kv-bits 7", &["'7' for '--kv-bits", "8"]),
    ("predict --model qwen3-32b-4bit --mac m4max-40/64 --engine a/b", &["a/b", "llama.cpp"]),
    ("predict --model qwen3-32b-4bit --mac m4max-40/64 --engine mlx-lm@new", &["new", "0.32.2"]),
    ("predict --model qwen3-32b-4bit --mac m4max-40/64 --reserve=-3", &["--reserve"]),
    ("predict --model qwen3-32b-4bit --mac m4max-40/64 --context 0", &["--context"]),
    ("predict --model qwen3-32b-4bit --bandwidth 500", &["--gpu-cores"]),
    ("inspect /nonexistent/config.json", &["/nonexistent/config.json"]),
    ("recomend --model 32B-4bit", &["recommend"]),
    (
        "predict --model zzqqxxyy --mac m4max-40/64 --offline",
        &["zzqqxxyy", "mlxplan models", "hf:"],
    ),
    ("predict --model qwen3-8b-4bit --mac m4max-40/64 --reserve 1e300", &["--reserve", "100000"]),
    ("compare --buy --model qwen3-8b-4bit --max-ttft NaN", &["--max-ttft", "from 0.001"]),
    ("compare --buy --model qwen3-8b-4bit --years 1e-300", &["--years", "from 0.01 to 100"]),
    ("compare --buy --model qwen3-8b-4bit --tokens-per-day 1e300", &["--tokens-per-day"]),
    ("update --offline", &["offline run", "leave out --offline"]),
    (
        "why --model qwen3-8b-4bit --mac m4max-40/64 --measured 12 --evidence runs.json",
        &["--evidence", "leave it out"],
    ),
    (
        "why --model qwen3-8b-4bit --mac m4max-40/64 --measured 1e300",
        &["--measured", "from 0.001 to 1000000"],
    ),
    ("why --model qwen3-8b-4bit --mac m4max-40/64 --ttft nan", &["--ttft", "from 0.0001"]),
    (
        "why --model qwen3-8b-4bit --mac m4max-40/64 --measured 9 --cached 4096",
        &["--cached 4096", "the last token", "--context"],
    ),
    (
        "recommend --model qwen3-8b-4bit --mac m4max-40/64 --users 4 --output 0",
        &["--output 0", "1048576", "./0"],
    ),
    (
        "predict --model qwen3-8b-4bit --mac m4max-40/64 --evidence Cargo.toml",
        &["Cargo.toml", "no run", "bench or validate"],
    ),
    ("probe --from Cargo.toml", &["Cargo.toml", "sysctl"]),
    ("predict --model qwen3-8b-4bit --mac m4max-40/64 --generate 1e9", &["--generate"]),
];

/// A configuration whose sizes do not go together, and one far outside all that was measured.
const UNSOUND: [(&str, &str, &[&str]); 2] = [
    (r#""num_key_value_heads":3"#, "", &["config.json", "num_key_value_heads", "compare"]),
    (
        r#""num_key_value_heads":8,"head_dim":1048576"#,
        "--kv-bits 4",
        &["there is no time to first token", "attention", "head_dim"],
    ),
];

#[test]
fn what_cannot_be_is_no_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    for (sizes, flags, words) in UNSOUND {
        let text = format!(
            r#"{{"model_type":"llama","hidden_size":512,"num_hidden_layers":2,"num_attention_heads":8,
            "intermediate_size":1024,"vocab_size":1000,"rms_norm_eps":1e-5,{sizes}}}"#
        );
        std::fs::write(&path, text).expect("it can be written");
        let path = path.display();
        let (code, out, err) = run(&format!("predict --model {path} --mac m4max-40/64 {flags}"));
        assert_eq!(code, 2, "{out}");
        for word in words {
            assert!(err.contains(word), "'{word}' is not in\n{err}");
        }
    }
}

/// Whichever command opens it, and in whatever role.
#[test]
fn sizes_that_do_not_go_together_are_named_with_their_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model");
    std::fs::create_dir(&model).expect("a folder");
    let text = r#"{"model_type":"llama","hidden_size":512,"num_hidden_layers":2,"num_attention_heads":8,
        "num_key_value_heads":3,"intermediate_size":1024,"vocab_size":1000,"rms_norm_eps":1e-5}"#;
    std::fs::write(model.join("config.json"), text).expect("it can be written");
    let model = model.display();
    let plan = folder.path().join("plan.toml");
    let workload = format!("macs = [\"m4max-40/64\"]\n[[workload]]\nmodel = \"{model}\"\n");
    std::fs::write(&plan, workload).expect("it can be written");
    for command in [
        format!("predict --model qwen3-8b-4bit --mac m4max-40/64 --draft {model}"),
        format!("recommend --model {model} --mac m4max-40/64"),
        format!("recommend --model {model} --mac m4max-40/64 --users 4"),
        format!("compare --model {model} --mac m4max-40/64"),
        format!("compare --model {model} --mac m4max-40/64 --vary kv"),
        format!("compare --buy --model {model}"),
        format!("compare --model {model} --cluster 2xm3ultra-80/512"),
        format!("report --model {model} --mac m4max-40/64"),
        format!("finetune --model {model} --mac m4max-40/64"),
        format!("check {}", plan.display()),
    ] {
        let (code, out, err) = run(&command);
        assert_eq!(code, 2, "{command}: {out}");
        for word in ["config.json in", "keys [1, 3, 1, 64]", "compare hidden_size"] {
            assert!(err.contains(word), "{command}: '{word}' is not in\n{err}");
        }
    }
}

/// The file is named, and not only the folder that it is in.
#[test]
fn a_wrong_key_is_named_with_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.json");
    let text = r#"{"model_type":"llama","hidden_size":512,"num_hidden_layers":400000,"num_attention_heads":8,
        "intermediate_size":1024,"vocab_size":1000,"rms_norm_eps":1e-5}"#;
    std::fs::write(&path, text).expect("it can be written");
    let (code, _, err) = run(&format!("inspect {}", path.display()));
    assert_eq!(code, 2);
    assert!(err.contains("c.json: ") && err.contains("num_hidden_layers"), "{err}");
}

#[test]
fn every_mistake_is_explained() {
    for (arguments, words) in WRONG {
        let (code, out, err) = run(arguments);
        assert_eq!(code, 2, "{arguments}\n{out}{err}");
        assert!(out.is_empty(), "{arguments} writes to standard output: {out}");
        for word in words {
            assert!(err.contains(word), "{arguments}: '{word}' is not in\n{err}");
        }
    }
}

#[test]
fn an_unknown_family_is_named_and_never_guessed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    let text = r#"{"model_type":"lama","hidden_size":512,"num_hidden_layers":2,"num_attention_heads":8,
        "num_key_value_heads":8,"intermediate_size":1024,"vocab_size":1000,"rms_norm_eps":1e-5}"#;
    std::fs::write(&path, text).expect("it can be written");
    let arguments = format!("inspect {}", path.display());
    let (code, _, err) = run(&arguments);
    assert_eq!(code, 2);
    assert!(
        err.contains("lama") && err.contains("llama") && err.contains("--assume llama"),
        "{err}"
    );
    let (code, out, _) = run(&format!("{arguments} --assume llama"));
    assert_eq!(code, 0);
    assert!(out.contains("as if its model_type were 'llama'"), "{out}");
}

#[test]
fn an_output_file_is_replaced_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.json");
    std::fs::write(&path, "before").expect("it can be written");
    let to = path.display();
    mlxplan(&format!("predict --model nothing-like-it-4bit --mac m4max-40/64 --json -o {to}"))
        .assert()
        .code(2);
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "before");
    mlxplan(&format!("predict --model qwen3-4b-4bit --mac m4max-40/64 --json -o {to}"))
        .assert()
        .code(0);
    let text = std::fs::read_to_string(&path).expect("still there");
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
}
