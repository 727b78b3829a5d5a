//! Real engines on loopback, with the same weights: `mlx_lm.server` with SmolLM2-135M as MLX safetensors, llama.cpp
//! with the GGUF file, and `mlx_lm.benchmark`. `cargo xtask setup` brings them; on Linux MLX runs on the CPU and
//! decodes about 8 tokens a second, so prompts and answers are short.

use crate::cli::{bench, json, stderr, stdout};
use mlxplan::bench::http::{Address, Limits, Server};
use mlxplan::bench::tokenizer::LocalTokenizer;
use mlxplan::bench::{Counts, Generation, Prompt};
use mlxplan::versions::MLX_LM;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The engines would slow each other down.
static ALONE: Mutex<()> = Mutex::new(());

pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that set-up brings.
pub fn brought(path: &str) -> String {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root.join(target.unwrap_or_else(|| "target".into())).join("mlx").join(path);
    assert!(path.exists(), "{} is missing; run cargo xtask setup", path.display());
    path.to_str().unwrap().to_owned()
}

pub fn mlx_model() -> String {
    brought("models/SmolLM2-135M-Instruct-4bit")
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that ends with the test.
pub struct Served {
    child: Child,
    address: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn serve(command: &[String], port: u16) -> Served {
    let child = Command::new(&command[0])
        .args(&command[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let served = Served { child, address: format!("http://127.0.0.1:{port}") };
    let begin = Instant::now();
    while !is_healthy(port) {
        assert!(begin.elapsed() < Duration::from_secs(120), "{command:?} does not answer");
        std::thread::sleep(Duration::from_millis(100));
    }
    served
}

/// Whether `/health` says that the model is loaded.
fn is_healthy(port: u16) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.lines().next()?.contains(" 200"))
    };
    ask().unwrap_or(false)
}

fn llama_command(port: u16) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/llama_server.py").to_owned();
    let model = brought("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    vec![brought("venv/bin/python"), script, model, port.to_string(), "2048".to_owned()]
}

fn llama() -> Served {
    let port = free_port();
    serve(&llama_command(port), port)
}

fn mlx() -> Served {
    let port = free_port();
    let arguments = ["--model".to_owned(), mlx_model(), "--port".to_owned(), port.to_string()];
    serve(&[&[brought("venv/bin/mlx_lm.server")][..], &arguments[..]].concat(), port)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("a number, not {value}"))
}

#[test]
fn mlx_and_gguf_are_compared_over_real_servers() {
    let _alone = alone();
    let (mlx, llama) = (mlx(), llama());
    let report = json(&[
        "--compare",
        &mlx.address,
        &llama.address,
        "--prompts",
        "question",
        "--trials",
        "3",
        "--generate",
        "8",
    ]);
    let engines = &report["engines"];
    assert_eq!(engines[0]["server"]["kind"], "mlx-lm");
    assert!(engines[0]["server"]["version"].as_str().unwrap().starts_with(MLX_LM), "{engines}");
    assert_eq!(engines[1]["server"]["kind"], "llama-cpp");
    assert_eq!(engines[1]["server"]["model"]["quant"], "Q4_1");
    assert_eq!(engines[1]["server"]["model"]["context_tokens"], 2048);
    let trials = report["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 8);
    for t in trials {
        assert_eq!(t["failure"], Value::Null, "{t}");
        assert_eq!((&t["count_source"], &t["generated_tokens"]), (&"usage".into(), &8.into()));
        assert!(number(&t["decode_tokens_per_s"]) > 0.1 && number(&t["ttft_s"]) > 0.0);
        // Both hold the 98 MB of weights.
        assert!(number(&t["memory"]["resident_bytes"]) > 90e6, "{t}");
    }
    // The same prompt has about as many tokens for both; only the template's default system prompt may differ.
    let prompts = |engine: &str| -> Vec<u64> {
        let mine = trials.iter().filter(|t| t["engine"] == engine);
        mine.map(|t| t["prompt_tokens"].as_u64().unwrap()).collect()
    };
    for (a, b) in prompts("A").into_iter().zip(prompts("B")) {
        assert!(a.abs_diff(b) < 32, "{a} {b}");
    }
    let ratio = &report["comparison"][0]["decode_ratio"];
    assert_eq!(ratio["n"], 3);
    assert!(number(&ratio["interval_95"][0]) <= number(&ratio["median"]));
    // llama.cpp's own clock agrees with ours.
    let b = report["summary"].as_array().unwrap().iter().find(|s| s["engine"] == "B").unwrap();
    let own = number(&b["metrics"]["own_decode_tokens_per_s"]["median"]);
    let ours = number(&b["metrics"]["decode_tokens_per_s"]["median"]);
    assert!((0.5..2.0).contains(&(own / ours)), "{own} {ours}");
}

#[test]
fn llama_cpp_counts_every_depth_and_refuses_what_does_not_fit() {
    let _alone = alone();
    let llama = llama();
    let report = json(&[
        "--server",
        &llama.address,
        "--scenario",
        "depth",
        "--depths",
        "256,1024,4096",
        "--trials",
        "2",
        "--generate",
        "8",
    ]);
    for (case, depth) in [(0, 256.0), (1, 1024.0)] {
        let seen = number(&report["summary"][case]["metrics"]["prompt_tokens"]["median"]);
        assert!((seen / depth - 1.0_f64).abs() < 0.05, "{seen} for {depth}");
    }
    assert_eq!(report["summary"][2]["failures"]["status"], 2);
    let failed = report["trials"].as_array().unwrap().iter().find(|t| t["failure"] != Value::Null);
    let message = failed.unwrap()["failure"]["message"].as_str().unwrap();
    assert!(message.contains("context"), "{message}");
}

#[test]
fn both_servers_keep_a_conversation_in_their_cache() {
    let _alone = alone();
    let (mlx, llama) = (mlx(), llama());
    let report = json(&[
        "--compare",
        &mlx.address,
        &llama.address,
        "--scenario",
        "resume",
        "--depths",
        "120",
        "--trials",
        "2",
        "--generate",
        "4",
    ]);
    for resume in report["resume"].as_array().unwrap() {
        assert!(number(&resume["cached_tokens"]) > 80.0, "{resume}");
        assert!(number(&resume["saved_s"]["median"]) > 0.0, "{resume}");
        let predicted = number(&resume["predicted_saving_s"]);
        let measured = number(&resume["saved_s"]["median"]);
        assert!((0.2..5.0).contains(&(predicted / measured)), "{resume}");
    }
}

#[test]
fn llama_cpp_serves_users_at_once_and_starts_cold() {
    let _alone = alone();
    let llama = llama();
    let report = json(&[
        "--server",
        &llama.address,
        "--scenario",
        "concurrency",
        "--users",
        "1,2",
        "--requests",
        "2",
        "--generate",
        "16",
        "--min-rate",
        "0.1",
        "--max-ttft",
        "60",
    ]);
    assert_eq!((&report["load"][1]["kept"], &report["load"][1]["failed"]), (&4.into(), &0.into()));
    drop(llama);
    let port = free_port();
    let command = llama_command(port).join(" ");
    let address = format!("http://127.0.0.1:{port}");
    let report = json(&[
        "--server",
        &address,
        "--scenario",
        "cold",
        "--launch",
        &command,
        "--trials",
        "2",
        "--generate",
        "4",
    ]);
    let cold = &report["cold"][0];
    assert!(number(&cold["ready_s"]["median"]) > 0.1, "{cold}");
    assert!(number(&cold["load_s"]["median"]) >= number(&cold["ready_s"]["median"]), "{cold}");
    assert_eq!(cold["first_ttft_s"]["n"], 2);
    // Nothing is left running.
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn mlx_lm_benchmark_runs_as_a_subprocess() {
    let _alone = alone();
    let program = brought("venv/bin/mlx_lm.benchmark");
    let model = mlx_model();
    let arguments =
        ["--engine", "mlx-lm", "--mlx-lm", &program, "--generate", "8", "--trials", "2"];
    let report = json(&[&arguments[..], &["--model", &model, "--depths", "16"]].concat());
    let trials = report["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 2);
    for t in trials {
        let (ours, printed) =
            (number(&t["decode_tokens_per_s"]), number(&t["own_decode_tokens_per_s"]));
        // Eight tokens in seven intervals.
        assert!((ours / printed - 7.0 / 8.0).abs() < 1e-9);
        assert!(number(&t["memory"]["mlx_peak_bytes"]) > 90e6, "{t}");
        assert_eq!((&t["prompt_tokens"], &t["generated_tokens"]), (&16.into(), &8.into()));
    }
    let output = bench(&[&arguments[..], &["--model", "/no/such/model"]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(stderr(&output).contains("failed"), "{}", stderr(&output));
}

#[test]
fn mlx_in_process_is_compared_with_a_server_and_with_the_prediction() {
    let _alone = alone();
    let mlx = mlx();
    let model = mlx_model();
    let spec = format!("mlx:{model}");
    let arguments = ["--compare", &spec, &mlx.address, "--prompts", "question"];
    let more = ["--trials", "2", "--generate", "6", "--mac", "m4max-40/64"];
    let report = json(&[&arguments[..], &more].concat());
    assert_eq!(
        (&report["engines"][0]["via"], &report["engines"][0]["model"]),
        (&"mlx".into(), &model.into())
    );
    let trials = report["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 6);
    for t in trials {
        assert_eq!((&t["failure"], &t["generated_tokens"]), (&Value::Null, &6.into()), "{t}");
        assert!(number(&t["memory"]["resident_bytes"]) > 90e6, "{t}");
        let counted = if t["engine"] == "A" { "engine" } else { "usage" };
        assert_eq!(t["count_source"], counted);
        assert_eq!(t["memory"]["mlx_active_bytes"].is_number(), t["engine"] == "A");
    }
    // The same prompt, with the same template, by the same tokenizer.
    for pair in trials.chunks(2) {
        assert_eq!(pair[0]["prompt_tokens"], pair[1]["prompt_tokens"]);
    }
    assert_eq!(report["comparison"][0]["decode_ratio"]["n"], 2);
    let predicted = report["predicted"].as_array().unwrap();
    assert!(
        predicted.iter().any(|p| p["engine"] == "A" && p["metric"] == "decode_tokens_per_s"),
        "{report}"
    );
}

#[test]
fn batches_and_lengths_are_swept_in_process() {
    let _alone = alone();
    let model = mlx_model();
    let arguments = ["--engine", "mlx", "--model", &model, "--depths", "16,40", "--batches", "1,3"];
    let report = json(&[&arguments[..], &["--generate", "6", "--trials", "2"]].concat());
    let cases: Vec<&str> =
        report["summary"].as_array().unwrap().iter().map(|s| s["case"].as_str().unwrap()).collect();
    assert_eq!(cases, ["16 tokens", "16 tokens × 3", "40 tokens", "40 tokens × 3"]);
    for t in report["trials"].as_array().unwrap() {
        let times = t["token_times_s"].as_array().unwrap();
        assert_eq!((times.len(), &t["generated_tokens"]), (6, &6.into()));
        let sequences = t["batch"].as_f64().unwrap_or(1.0);
        let span = number(&times[5]) - number(&times[0]);
        assert!((number(&t["decode_tokens_per_s"]) / (sequences * 5.0 / span) - 1.0).abs() < 1e-9);
    }
}

#[test]
fn memory_of_mlx_in_process_is_watched_over_turns() {
    let _alone = alone();
    let model = mlx_model();
    let soak = ["--engine", "mlx", "--model", &model, "--scenario", "soak", "--turns", "4"];
    let report = json(&[&soak[..], &["--generate", "3"]].concat());
    let growth = report["soak"][0]["growth"].as_array().unwrap();
    let metrics: Vec<&str> = growth.iter().map(|g| g["metric"].as_str().unwrap()).collect();
    assert!(
        metrics.contains(&"resident_bytes") && metrics.contains(&"mlx_active_bytes"),
        "{metrics:?}"
    );
    assert_eq!(report["soak"][0]["turns"], 4);
}

#[test]
fn the_tokenizer_on_this_machine_counts_as_the_server_does() {
    let _alone = alone();
    let mlx = mlx();
    let address = Address::parse(&mlx.address, false).unwrap();
    let server = Server::connect(&address, None, None, Limits::default()).unwrap();
    let tokenizer = LocalTokenizer::load(Path::new(&mlx_model())).unwrap();
    for text in ["Why is the sky blue? Answer briefly.", "Zähle: α, β, γ …"] {
        let prompt = Prompt::user(text, 16);
        let generation = server.generate(&prompt).unwrap();
        let mut counted = Generation { counts: Counts::default(), ..generation.clone() };
        tokenizer.complete(&prompt, &mut counted);
        assert_eq!(counted.counts.prompt, generation.counts.prompt, "{text}");
        let both = [counted, generation].map(|g| g.counts.generated.unwrap());
        assert!(both[0].abs_diff(both[1]) <= 1, "{both:?}");
    }
}

#[test]
fn mlx_in_process_agrees_with_mlx_lm() {
    let _alone = alone();
    let model = mlx_model();
    let shared = ["--model", &model, "--depths", "16", "--generate", "8", "--trials", "3"];
    let program = brought("venv/bin/mlx_lm.benchmark");
    let ours = json(&[&["--engine", "mlx"][..], &shared].concat());
    let theirs = json(&[&["--engine", "mlx-lm", "--mlx-lm", &program][..], &shared].concat());
    let trial = &ours["trials"][1];
    assert_eq!((&trial["count_source"], &trial["generated_tokens"]), (&"engine".into(), &8.into()));
    assert_eq!(trial["token_times_s"].as_array().unwrap().len(), 8);
    assert!(number(&trial["memory"]["mlx_peak_bytes"]) > 90e6, "{trial}");
    let median =
        |report: &Value| number(&report["summary"][0]["metrics"]["decode_tokens_per_s"]["median"]);
    // Same kernels on the same machine; other work on it may disturb either.
    let ratio = median(&ours) / median(&theirs);
    assert!((0.3..3.0).contains(&ratio), "{ratio}");
}
