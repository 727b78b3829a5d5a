//! `mlxplan audit` on the claims of the reference reports, on published measurements, and on bad input.

use serde_json::Value;
use std::collections::BTreeSet;

fn audit(file: &str) -> (Value, Option<i32>) {
    let output = assert_cmd::Command::cargo_bin("mlxplan")
        .unwrap()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["audit", "--json", file])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{file}: {stderr}")),
        output.status.code(),
    )
}

/// Findings as `claim rule severity`, in alphabetical order.
fn findings(json: &Value) -> BTreeSet<String> {
    let text = |f: &Value, key: &str| f[key].as_str().unwrap().to_owned();
    let all = json["findings"].as_array().unwrap();
    all.iter()
        .map(|f| format!("{} {} {}", text(f, "claim"), text(f, "rule"), text(f, "severity")))
        .collect()
}

fn check(file: &str, code: i32, expected: &[&str]) {
    let (json, status) = audit(file);
    let expected: BTreeSet<String> = expected.iter().map(|e| (*e).to_owned()).collect();
    assert_eq!(findings(&json), expected, "{file}");
    assert_eq!(status, Some(code), "{file}");
    assert_eq!(json["schema"], "mlxplan.audit/1");
}

/// Theory in the column of measurements, and a rate that is end to end.
#[test]
fn the_wrong_claims_of_r0_are_caught() {
    check(
        "examples/claims-r0.toml",
        3,
        &[
            "r0-gguf-speed end-to-end misleading",
            "r0-mlx-speed theory-next-to-measurement misleading",
            "r0-mlx-memory theory-next-to-measurement misleading",
        ],
    );
}

/// 57 to 58 GB at 128k, ten-turn leaks, a negative leak, RSS, outliers removed, "no limit", an 8-bit file called Q4_K_M.
#[test]
fn the_wrong_claims_of_r1_are_caught() {
    check(
        "examples/claims-r1.toml",
        1,
        &[
            "r1-scout-128k-memory memory-below-model impossible",
            "r1-scout-no-context-limit context-limit impossible",
            "r1-scout-gguf unequal-peers misleading",
            "r1-scout-gguf-leak leak-too-few-turns misleading",
            "r1-scout-mlx-leak leak-too-few-turns misleading",
            "r1-scout-mlx-leak negative-leak misleading",
            "r1-llama-gguf-quant memory-above-model doubtful",
            "r1-llama-gguf-leak leak-too-few-turns misleading",
            "r1-llama-mlx-leak leak-too-few-turns misleading",
            "r1-mixtral-gguf-leak leak-too-few-turns misleading",
            "r1-mixtral-mlx-leak leak-too-few-turns misleading",
            "r1-memory-metric memory-metric misleading",
            "r1-outliers outliers-removed misleading",
        ],
    );
}

/// The fall-back to the CPU, simulated figures among measured ones, a cache hit read as prompt speed.
#[test]
fn the_wrong_claims_of_r2_are_caught() {
    check(
        "examples/claims-r2.toml",
        1,
        &[
            "r2-cpu cpu-speed misleading",
            "r2-simulated theory-next-to-measurement misleading",
            "r2-resume-as-prefill prefill-above-peak impossible",
        ],
    );
}

/// Training throughput as a headline.
#[test]
fn the_wrong_claims_of_r3_are_caught() {
    check(
        "examples/claims-r3.toml",
        1,
        &[
            "r3-headline implied-bandwidth impossible",
            "r3-training-as-decode training-speed misleading",
        ],
    );
}

/// The run behind the headline is reproduced: which matrices, what batch, and that its rate is training.
#[test]
fn the_training_of_r3_is_explained() {
    let (json, _) = audit("examples/claims-r3.toml");
    let of = |rule: &str| {
        let all = json["explained"].as_array().expect("a list").iter();
        let found = all.filter(|e| e["rule"] == rule).map(|e| e["text"].to_string()).next();
        found.unwrap_or_else(|| panic!("{rule}: {json:#}"))
    };
    let parameters = of("training-parameters");
    assert!(
        parameters.contains("self_attn.q_proj and self_attn.v_proj of the last 16"),
        "{parameters}"
    );
    assert!(of("training-peak").contains("4 x 64 tokens (2.88 GB)"), "{}", of("training-peak"));
    assert!(of("training-rate").contains("75 an iteration"), "{}", of("training-rate"));
}

/// The bandwidth of another bin, and the KV cache as the reason why small models are inefficient. The upper ends of
/// the purchase table's 32B figures need 99 % of the bus, which the report does not notice.
#[test]
fn the_wrong_claims_of_r4_are_caught() {
    check(
        "examples/claims-r4.toml",
        1,
        &[
            "r4-bandwidth bandwidth-figure impossible",
            "r4-overhead explanation misleading",
            "r4-table-m4pro-32b implied-bandwidth doubtful",
            "r4-table-m4max-32b implied-bandwidth doubtful",
        ],
    );
}

/// Every impossible row of the measurement file has been looked at.
#[test]
fn published_measurements_pass_but_for_known_rows() {
    let (json, status) = audit("data/measurements.csv");
    let impossible: BTreeSet<String> =
        findings(&json).into_iter().filter(|f| f.ends_with("impossible")).collect();
    let known = [
        // Marked as outliers in the file: their own authors doubt them.
        "m0887 implied-bandwidth impossible",
        "m2316 implied-bandwidth impossible",
        // Prompts of 26 to 530 tokens whose beginning was in a prefix cache.
        "m2327 prefill-above-peak impossible",
        "m2350 prefill-above-peak impossible",
        "m2352 prefill-above-peak impossible",
        "m2353 prefill-above-peak impossible",
        "m2356 prefill-above-peak impossible",
        "m2357 prefill-above-peak impossible",
        // 18 tokens, so that 2 % of the time decide.
        "t2-0396 implied-bandwidth impossible",
        // 80,000 tokens, second-hand.
        "m2606 prefill-above-peak impossible",
    ];
    assert_eq!(impossible, known.iter().map(|k| (*k).to_owned()).collect());
    assert_eq!(status, Some(1));
    assert!(json["passed"].as_array().unwrap().len() > 4000);
    // Rows at CPU speed: a Swift port without a fast mixture of experts, a recorded bug, and a row whose batch column
    // holds llama.cpp's batch size.
    let slow = findings(&json).into_iter().filter(|f| f.contains("cpu-speed"));
    let slow: Vec<String> = slow.map(|f| f.chars().take(5).collect()).collect();
    assert_eq!(slow, ["m1565", "m1566", "m1567", "m1568", "m2336", "m2777"]);
}

#[test]
fn bad_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mut command = assert_cmd::Command::cargo_bin("mlxplan").unwrap();
        let output = command.args(["audit", path.to_str().unwrap()]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(error("a.toml", "[[claim]]\nid='x'\nmachine='m9max'").contains("claim 'x'"));
    assert!(error("b.toml", "[[claim]]\nid='x'\nspeed=1").contains("speed"));
    assert!(error("c.json", "{\"schema\":\"mlxplan.probe/1\"}").contains("mlxplan.probe/1"));
    assert!(error("d.csv", "a,b\n1,2\n").contains("column"));
    assert!(error("e.xlsx", "").contains(".toml"));
}

#[test]
fn a_model_that_is_not_known_is_not_silently_passed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    let text = "[[claim]]\nid='x'\nmodel='no-such-model'\nquant='4bit'\ndecode_tokens_per_s=9999\n";
    std::fs::write(&path, text).unwrap();
    let (json, status) = audit(path.to_str().unwrap());
    assert_eq!((json["findings"].as_array().unwrap().len(), status), (0, Some(0)));
    assert_eq!(json["skipped"][0]["rule"], "implied-bandwidth");
    assert!(json["skipped"][0]["reason"].as_str().unwrap().contains("no-such-model"));
}
