//! The commands that run MLX, as users run them.

use crate::signals::with_default_signals;
use mlxplan::calibration::evidence;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder with the configuration of a small llama, and a home for what is stored.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let out = Self { folder };
        fs::create_dir(out.model()).expect("a new folder");
        let config = r#"{ "model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 8,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 2048, "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "tie_word_embeddings": true, "torch_dtype": "float32" }"#;
        fs::write(out.model().join("config.json"), config).expect("written");
        out
    }

    fn model(&self) -> PathBuf {
        self.folder.path().join("small")
    }

    fn command(&self, words: &str) -> Command {
        let model = self.model();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mlxplan"));
        command.env("XDG_CONFIG_HOME", self.folder.path().join("home")).env("NO_COLOR", "1");
        let model = model.to_str().expect("a name");
        command.args(words.split_whitespace().map(|w| if w == "MODEL" { model } else { w }));
        command
    }

    fn run(&self, words: &str) -> Output {
        self.command(words).output().expect("it runs")
    }

    fn json(&self, words: &str) -> Value {
        let out = self.run(&format!("--json {words}"));
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{words}: {error}");
        let answer = serde_json::from_slice(&out.stdout).expect("JSON");
        let problems = crate::schema::problems(&answer);
        assert!(problems.is_empty(), "{words}:\n{}", problems.join("\n"));
        answer
    }

    fn error(&self, words: &str) -> String {
        let out = self.run(words);
        assert!(!out.status.success() && out.stdout.is_empty(), "{words}: {out:?}");
        String::from_utf8(out.stderr).expect("UTF-8")
    }

    fn evidence(&self) -> PathBuf {
        self.folder.path().join("home/mlxplan/evidence.jsonl")
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn calibration_is_stored_used_and_cited() {
    let place = Place::new();
    let profile = place.json("calibrate --quick");
    assert_eq!(profile["schema"], "mlxplan.profile/1");
    let stopping = &profile["stopping"];
    let passes = number(&stopping["passes"]);
    assert!(passes >= 3.0, "{stopping}");
    // A machine that is too slow for the limit makes the least number of passes.
    let in_time = number(&profile["duration_s"]) < number(&stopping["limit_s"]) + 2.5;
    assert!(in_time || passes == 3.0, "{} s, {stopping}", profile["duration_s"]);
    for class in ["matvec-affine-4-float32", "matmul-affine-8-float32", "attention-float32", "sum"]
    {
        let fit = &profile["classes"][class];
        let n = fit["coefficients"].as_array().expect(class).len();
        assert_eq!(fit["covariance"].as_array().expect("a matrix").len(), n, "{class}");
        for point in fit["points"].as_array().expect("points") {
            assert!(number(&point["n"]) >= 3.0 && number(&point["error"]) >= 0.0, "{point}");
        }
    }
    let predicted = place.json("predict --model MODEL --context 64 --generate 8");
    assert_eq!(predicted["fidelity"], "calibrated");
    assert!(number(&predicted["decode"]["tokens_per_s"]) > 0.0);
    assert!(number(&predicted["prefill"]["tokens_per_s"]) > 0.0);
    assert!(number(&predicted["prefill"]["ttft_s"]) > 0.0);
    assert_eq!(predicted["decode"]["runs_here"], Value::Null);
    // Runs are stored row by row, and later predictions cite them.
    let live = place.json("validate --model MODEL --random-weights --depths 0,64 --rounds 4");
    let rows = live["rows"].as_array().expect("rows");
    let of = |metric: &str, fidelity: &str| {
        rows.iter().filter(|r| r["metric"] == metric && r["fidelity"] == fidelity).count()
    };
    assert_eq!([of("decode", "calibrated"), of("decode", "layer_timed")], [2, 2]);
    assert_eq!(of("prefill", "calibrated"), 1);
    for row in rows {
        let error = number(&row["predicted"]) / number(&row["measured"]) - 1.0;
        assert!((number(&row["error"]) - error).abs() < 1e-9, "{row}");
    }
    let (stored, damaged) = evidence::read(&place.evidence()).expect("rows");
    assert_eq!((stored.len(), damaged), (rows.len(), 0));
    let predicted = place.json("predict --model MODEL --context 64 --generate 8");
    assert_eq!(predicted["decode"]["runs_here"]["n"], 2);
    assert_eq!(predicted["prefill"]["runs_here"]["n"], 1);
    let text = predicted["provenance"].to_string();
    assert!(text.contains("2 runs here"), "{text}");
    let timed = place.json("predict --model MODEL --context 64 --generate 8 --time-layers");
    assert_eq!(timed["fidelity"], "layer_timed");
    assert_eq!(timed["decode"]["runs_here"]["n"], 2);
    // A profile can be compared with another, here itself.
    let path = profile["path"].as_str().expect("a path");
    let same = place.json(&format!("calibrate --compare {path} {path}"));
    let classes = same["classes"].as_array().expect("classes");
    assert!(classes.len() > 10);
    assert!(classes.iter().all(|c| c["launch_ratio"] == 1.0 || c["launch_ratio"].is_null()));
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_is_stored() {
    let place = Place::new();
    let huge = "--model meta-llama/Llama-3.1-70B-Instruct --quant 8bit --random-weights --depths 1";
    let text = place.error(&format!("validate {huge}"));
    assert!(text.contains("--force"), "{text}");
    let text = place.error("validate --model MODEL --depths 1");
    assert!(text.contains("--random-weights"), "{text}");
    let text = place.error("validate --model Qwen/Qwen3-0.6B --quant 4bit --depths 1");
    assert!(text.contains("no folder with weights"), "{text}");
    assert!(!place.evidence().exists());
}

#[test]
fn damaged_weights_are_an_error() {
    let place = Place::new();
    fs::write(place.model().join("model.safetensors"), b"\xff\xff\xff\xff\0\0\0\0{}")
        .expect("written");
    let text = place.error("validate --model MODEL --depths 1");
    assert!(text.contains("model.safetensors"), "{text}");
}

/// A run that is interrupted leaves whole rows, no temporary files and no process.
#[test]
fn an_interrupt_loses_nothing_stored() {
    let place = Place::new();
    let depths: Vec<String> = (1..200).map(|d| d.to_string()).collect();
    let words =
        format!("validate --model MODEL --random-weights --rounds 4 --depths {}", depths.join(","));
    let mut command = place.command(&words);
    command.stderr(Stdio::piped()).stdout(Stdio::null());
    let mut child = with_default_signals(&mut command).spawn().expect("it runs");
    let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let rows = lines.map_while(Result::ok).filter(|l| l.contains("tok/s"));
    assert_eq!(rows.take(3).count(), 3, "it ended by itself");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
    let status = child.wait().expect("it ends");
    assert!(!status.success());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    let (rows, damaged) = evidence::read(&place.evidence()).expect("rows");
    assert!(rows.len() >= 3 && damaged == 0, "{} rows, {damaged} damaged", rows.len());
    let files = fs::read_dir(place.evidence().parent().expect("a folder")).expect("a folder");
    assert_eq!(files.count(), 1);
}
