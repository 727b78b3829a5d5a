//! `mlxplan validate` as a program.

use assert_cmd::Command;
use serde_json::Value;

fn run(args: &[&str]) -> Value {
    let mut command = Command::cargo_bin("mlxplan").expect("built");
    let output = command.args(["validate", "--json"]).args(args).output().expect("runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

const HEAD: &str = "id,chip_id,memory_gib,engine,model_id,quant,batch,prompt_tokens,context_tokens,gen_tokens,\
                    prefill_tok_s,decode_tok_s,peak_memory_gb,flags,confidence,source_url_hint\n";

#[test]
fn recorded_measurements_are_predicted_or_skipped_with_a_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine.csv");
    let rows = "a,m4max-40,128,mlx-lm,Qwen/Qwen2.5-7B-Instruct,affine-4-g64,1,512,512,128,900,94,5.0,,high,me\n\
                b,m4max-40,128,mlx-lm,Qwen/Qwen2.5-7B-Instruct,affine-4-g64,1,512,512,128,,94,,speculative,high,me\n\
                c,m4max-40,128,mlx-lm,,affine-4-g64,1,512,512,128,,94,,,high,me\n\
                d,m1max-32,64,llama.cpp,meta-llama/Llama-3.1-8B-Instruct,gguf-q4_k_m,1,,0,128,,40,,,high,me\n";
    std::fs::write(&file, format!("{HEAD}{rows}")).expect("written");
    let plot = folder.path().join("plot.svg");
    let path = file.to_str().expect("a name");
    let json = run(&["--against", path, "--plot", plot.to_str().expect("a name")]);
    assert_eq!(json["schema"], "mlxplan.validation/1");
    let found = |id: &str, metric: &str| {
        let rows = json["rows"].as_array().expect("rows");
        rows.iter().find(|r| r["id"] == id && r["metric"] == metric).cloned()
    };
    for metric in ["decode", "prefill", "peak_memory"] {
        let row = found("a", metric).unwrap_or_else(|| panic!("no {metric}"));
        let number = |key: &str| row[key].as_f64().expect("a number");
        let error = number("predicted") / number("measured") - 1.0;
        assert!((number("error") - error).abs() < 1e-9);
        let ends =
            |key: &str| [row[key][0].as_f64().expect("low"), row[key][1].as_f64().expect("high")];
        let (inner, outer) = (ends("interval_80"), ends("interval_90"));
        assert!(outer[0] <= inner[0] && inner[0] <= inner[1] && inner[1] <= outer[1]);
        let summary = &json["summary"][metric];
        for key in [
            "n",
            "median_abs_error",
            "mean_abs_error",
            "p90_abs_error",
            "bias",
            "coverage_80",
            "coverage_90",
        ] {
            assert!(summary[key].is_number(), "{metric} {key}");
        }
        for group in
            ["engine", "engine_version", "chip", "size_class", "architecture", "context_class"]
        {
            assert!(summary[group].is_object(), "{metric} {group}");
        }
    }
    assert_eq!(found("d", "decode").expect("llama.cpp")["engine"], "llama.cpp");
    let skipped = json["skipped"].as_array().expect("skipped");
    let reason = |id: &str| skipped.iter().find(|s| s["id"] == id).map(|s| s["reason"].to_string());
    assert!(reason("b").expect("skipped").contains("speculative"));
    assert!(reason("c").expect("skipped").contains("model_id"));
    assert!(std::fs::read_to_string(plot).expect("a plot").contains("<svg"));
}

/// Peaks are judged by program and version, of every program on MLX that a row names.
#[test]
fn peaks_are_judged_by_program_and_version() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("peaks.csv");
    let head = HEAD.trim_end().to_owned() + ",engine_version\n";
    let row = |id: &str, engine: &str, gb: f64, version: &str| {
        format!(
            "{id},m5max-40,128,{engine},Qwen/Qwen3.6-35B-A3B,affine-4-g64,1,32768,32768,128,,,{gb},,high,me,{version}\n"
        )
    };
    let rows = [
        row("a", "mlx-lm", 23.8, "mlx-lm 0.31.3 / mlx 0.32.0"),
        row("b", "mlx-lm", 21.9, "mlx-lm 0.32.2 / mlx 0.32.4"),
        row("c", "other", 24.9, "mlx-vlm 0.6.15 / mlx 0.32.1"),
        row("d", "other", 24.0, "something of its own"),
    ];
    std::fs::write(&file, head + &rows.concat()).expect("written");
    let json = run(&["--against", file.to_str().expect("a name")]);
    let groups = json["summary"]["peak_memory"]["engine_version"].as_object().expect("groups");
    let names: Vec<&str> = groups.keys().map(String::as_str).collect();
    let expected =
        ["mlx-lm 0.31.3, MLX 0.32.0", "mlx-lm 0.32.2, MLX 0.32.4", "mlx-vlm 0.6.15, MLX 0.32.1"];
    assert_eq!(names, expected);
    for (name, scores) in groups {
        let error = scores["median_abs_error"].as_f64().expect("a number");
        assert!(error < 0.05, "{name}: {error}");
        assert!(scores["coverage_90"].is_number() && scores["p90_abs_error"].is_number(), "{name}");
    }
    assert!(json["skipped"].as_array().expect("a list").iter().any(|s| s["id"] == "d"), "{json}");
}

#[test]
fn a_broken_file_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine.csv");
    std::fs::write(&file, "id,engine\n").expect("written");
    let mut command = Command::cargo_bin("mlxplan").expect("built");
    let path = file.to_str().expect("a name");
    let output = command.args(["validate", "--against", path]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("mine.csv") && error.contains("quant"), "{error}");
}

/// The bars of the project, on the shipped rows, each predicted without the rows of its owner or of its chip, and
/// balanced by configuration.
#[test]
fn the_shipped_rows_are_predicted_within_the_bars() {
    let by_owner = run(&[]);
    assert_eq!(by_owner["basis"], "owner_left_out");
    let by_chip = run(&["--by-chip"]);
    for (json, low) in [(&by_owner, [0.76, 0.86]), (&by_chip, [0.75, 0.85])] {
        let c = &json["summary"]["decode"]["by_configuration"];
        let number = |key: &str| c[key].as_f64().expect("a number");
        assert!(number("coverage_80") >= low[0] && number("coverage_90") >= low[1], "{c}");
    }
    let lm = &by_owner["summary"]["decode"]["engine"]["mlx-lm"]["by_configuration"];
    assert!(lm["median_abs_error"].as_f64().expect("a number") <= 0.06, "{lm}");
    assert!(lm["p90_abs_error"].as_f64().expect("a number") <= 0.17, "{lm}");
    let lm = &by_chip["summary"]["decode"]["engine"]["mlx-lm"]["by_configuration"];
    assert!(lm["median_abs_error"].as_f64().expect("a number") <= 0.08, "{lm}");
    assert!(lm["p90_abs_error"].as_f64().expect("a number") <= 0.20, "{lm}");
    let ours = by_owner["summary"]["decode"]["by_configuration"]["median_abs_error"].as_f64();
    for baseline in by_owner["baselines"].as_array().expect("baselines") {
        assert!(baseline["by_configuration"]["median_abs_error"].as_f64() > ours, "{baseline}");
    }
}

/// The bars of published fine-tuning runs: peaks with known lengths, MLX 0.25 and later, mlx_lm's own trainer.
#[test]
fn published_fine_tuning_runs_are_predicted() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/data/training.csv");
    let json = run(&["--against", file]);
    let peak = &json["summary"]["training_peak"];
    let number = |key: &str| peak["by_configuration"][key].as_f64().expect("a number");
    assert!(number("n") >= 13.0, "{peak}");
    assert!(number("median_abs_error") <= 0.01, "{peak}");
    let rows = json["rows"].as_array().expect("rows");
    let of = |metric: &str| -> Vec<(String, f64)> {
        let some = rows.iter().filter(|r| r["metric"] == metric);
        some.map(|r| (r["id"].to_string(), r["error"].as_f64().expect("an error"))).collect()
    };
    let worst = of("training_peak").into_iter().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
    assert!(worst.as_ref().is_some_and(|(_, error)| error.abs() <= 0.04), "{worst:?}");
    // Speeds stand on a few rows whose bins are not published: the intervals hold them.
    let speed = &json["summary"]["training_speed"];
    assert!(speed["n"].as_u64() >= Some(3) && speed["coverage_90"] == 1.0, "{speed}");
    let skipped = json["skipped"].as_array().expect("skipped");
    let ids = |list: &[Value]| {
        list.iter().map(|r| r["id"].to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(
        ids(rows).union(&ids(skipped)).count(),
        85,
        "every row has a prediction or a reason"
    );
}
