//! What `recommend --for` prints is tried on the real programs: mlx_lm.server is started with it, llama.cpp too, whose
//! buffers are those that were predicted.

use crate::real::{Served, alone, brought, free_port, mlx_model, serve};
use mlxplan::graph::Graph;
use mlxplan::ledger::llama_cpp::{
    KvType, Layout, LlamaBuffers, LlamaRelease, LlamaSettings, cpu_compute_bytes,
};
use mlxplan::model::DType;
use mlxplan::model::source::ModelSource;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// The settings that are recommended for a program and a model on this machine.
fn recommended(program: &str, model: &str, options: &str) -> Value {
    let arguments =
        ["recommend", "--model", model, "--for", program, "--mac", "m4-10/16", "--json"];
    let output = assert_cmd::Command::cargo_bin("mlxplan")
        .unwrap()
        .args(arguments)
        .args(["--context", "1500", "--generate", "100", "--offline"])
        .args(options.split_whitespace())
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    answer["settings"].clone()
}

/// The words of the one command of some settings, without the program.
fn words(settings: &Value) -> Vec<String> {
    let [command] = settings["commands"].as_array().unwrap().as_slice() else {
        panic!("one command: {settings}")
    };
    command.as_str().unwrap().split_whitespace().skip(1).map(str::to_owned).collect()
}

/// Every flag that is printed for mlx_lm.server is one of the real server's.
#[test]
fn mlx_lm_server_starts_with_what_is_recommended() {
    let _alone = alone();
    let mut tried = Vec::new();
    for options in ["", "--kv-bits 8 --parallel 4 --prefill-step 512 --prompt-cache 2GB"] {
        let words = words(&recommended("mlx-lm-server", &mlx_model(), options));
        tried.extend(words.iter().filter(|w| w.starts_with("--")).cloned());
        let port = free_port();
        let program = vec![brought("venv/bin/mlx_lm.server")];
        let listening = vec!["--port".to_owned(), port.to_string()];
        let served: Served = serve(&[program, words, listening].concat(), port);
        drop(served);
    }
    for flag in [
        "--model",
        "--prefill-step-size",
        "--decode-concurrency",
        "--prompt-concurrency",
        "--prompt-cache-bytes",
        "--kv-bits",
        "--kv-group-size",
        "--quantized-kv-start",
    ] {
        assert!(tried.iter().any(|w| w == flag), "{flag} is not among {tried:?}");
    }
}

/// What the script prints of llama.cpp until the buffers are allocated.
fn log(arguments: &[String]) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/llama_server.py");
    let mut child = Command::new(brought("venv/bin/python"))
        .arg(script)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let lines = log.lines().map_while(Result::ok);
    let printed = lines.take_while(|l| !l.contains("graph: nodes")).collect();
    let _ = child.kill();
    let _ = child.wait();
    printed
}

/// MiB that a log gives to a buffer.
fn mib(log: &[String], what: &str) -> f64 {
    let line = log.iter().find(|l| l.contains(what)).unwrap_or_else(|| panic!("{log:#?}"));
    let after = line.rsplit('=').next().unwrap();
    after.trim().trim_end_matches("MiB").trim().parse().unwrap()
}

/// What llama.cpp prints of its buffers is what is predicted of them, within 2 %, and every flag that is recommended has a
/// parameter of llama.cpp (`common/arg.cpp`), which takes its value.
#[test]
fn llama_cpp_allocates_what_is_predicted_with_what_is_recommended() {
    let _alone = alone();
    let file = brought("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let source = ModelSource::from_gguf(Path::new(&file)).unwrap();
    let graph = Graph::new(source.config.as_ref().unwrap(), DType::F16).unwrap();
    let layout = Layout::of(&graph).unwrap();
    let weights = source.gguf.as_ref().unwrap().total_bytes();
    let usual = LlamaSettings {
        context: 1792,
        slots: 4,
        unified: true,
        micro_batch: 512,
        flash: true,
        kv: [KvType::F16; 2],
        all_logits: false,
        release: LlamaRelease::NEWEST,
    };
    // Each of the two has room for the run.
    let eight = LlamaSettings {
        context: 3328,
        slots: 2,
        unified: false,
        micro_batch: 256,
        kv: [KvType::Q8_0; 2],
        ..usual
    };
    for (options, settings) in
        [("", usual), ("--kv-type q8_0 --parallel 2 --prefill-step 256 --prompt-cache 1GB", eight)]
    {
        let words = words(&recommended("llama.cpp", &file, options));
        let place = words.iter().position(|w| w == "--model").unwrap();
        let flags = [&words[..place], &words[place + 2..]].concat();
        let command = [vec![file.clone(), free_port().to_string()], flags].concat();
        let printed = log(&command);
        let predicted = LlamaBuffers::of(&layout, weights, &settings);
        let near = |bytes: u64, what: &str| {
            let (predicted, printed) = (bytes as f64 / 1_048_576.0, mib(&printed, what));
            let off = predicted / printed - 1.0;
            assert!(off.abs() < 0.02, "{options} {what}: {predicted} for {printed}");
        };
        near(predicted.weights_bytes, "model buffer size");
        near(predicted.kv_bytes, "KV buffer size");
        near(cpu_compute_bytes(&layout, &settings), "compute buffer size");
        near(predicted.output_bytes, "output buffer size");
    }
}
