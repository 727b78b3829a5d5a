//! Calibrations of other machines, in predictions.

use super::{json, run};
use mlxplan::calibration::profile::{Conditions, Stopping, VERSION};
use mlxplan::calibration::{Host, KernelFit, Profile, TimedKernel, decode_work, prefill_work};
use mlxplan::graph::Graph;
use mlxplan::model::{Config, DType};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const CONFIG: &str = r#"{ "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 8,
    "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 32000, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "tie_word_embeddings": true, "torch_dtype": "bfloat16", "max_position_embeddings": 8192 }"#;

/// A made-up calibration of an M4 Max with 40 GPU cores that has every class of the model.
fn stored(folder: &Path) -> PathBuf {
    let graph = Graph::new(&Config::parse(CONFIG).expect("valid"), DType::BF16).expect("a llama");
    let works = [decode_work(&graph, 512, None), prefill_work(&graph, 512, 2048, None)];
    let mut classes = BTreeMap::new();
    for (class, counts) in works.iter().flat_map(|w| &w.as_ref().expect("work").0) {
        // 2 µs a launch, and more with every count.
        let point = |i: usize| {
            let mut row = vec![0.0; counts.len()];
            row[0] = 1.0;
            if i > 0 {
                row[i] = 1e6;
            }
            let seconds = if i > 0 { 4e-6 } else { 2e-6 };
            TimedKernel { counts: row, seconds, error: 2e-8, n: 9 }
        };
        let fit = KernelFit::of((0..counts.len()).map(point).collect()).expect("a fit");
        classes.insert(class.to_string(), fit);
    }
    let profile = Profile {
        version: VERSION,
        created_unix_s: 1_800_000_000,
        duration_s: 50.0,
        quick: false,
        mlx: "0.32.2".to_owned(),
        machine: Host {
            system: "macos".to_owned(),
            chip: "Apple M4 Max".to_owned(),
            gpu_cores: Some(40),
            cpu_cores: Some(16),
            memory_bytes: Some(64 << 30),
            backend: "metal".to_owned(),
        },
        conditions: Conditions::default(),
        stopping: Stopping::default(),
        classes,
    };
    profile.store(folder).expect("stored")
}

#[test]
fn a_profile_serves_its_bin_and_others_of_its_generation() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("config.json"), CONFIG).expect("written");
    let profile = stored(folder.path());
    let (model, profile) = (folder.path().display(), profile.display());
    let predict = |mac: &str| {
        json(&format!("predict --model {model} --context 512 --mac {mac} --profile {profile}")).1
    };
    let own = predict("m4max-40/64");
    assert_eq!(own["fidelity"], "calibrated");
    let other = predict("m4pro-20/48");
    assert_eq!(other["fidelity"], "calibrated");
    assert!(other["provenance"].to_string().contains("scaled to this bin"));
    let rate = |p: &serde_json::Value| p["decode"]["tokens_per_s"].as_f64().expect("a rate");
    let width = |p: &serde_json::Value| {
        let end = |i: usize| p["decode"]["interval_90"][i].as_f64().expect("an end");
        end(1) / end(0)
    };
    assert!(rate(&other) < rate(&own));
    assert!(width(&other) > 1.1 * width(&own));
    for part in ["decode", "prefill"] {
        assert!(own[part]["tokens_per_s"].as_f64().expect("a rate") > 0.0);
    }
    let words = format!("predict --model {model} --mac m3max-40/64 --profile {profile}");
    let (code, _, error) = run(&words);
    assert_eq!(code, 2);
    assert!(error.contains("another generation"), "{error}");
}
