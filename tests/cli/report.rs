//! `mlxplan report`, completions and the reference of the command line.

use crate::{json, mlxplan, run};
use std::path::Path;

const CASE: &str = "report --model qwen3-8b-4bit --mac m4max-40/64";

#[test]
fn a_plot_is_svg_with_what_it_shows() {
    for (kind, words) in [
        ("context", ["tok/s", "Qwen3-8B, m4max-40/64"]),
        ("memory", ["GPU limit", "weights"]),
        ("drafts", ["acceptance", "Qwen3-0.6B 4bit"]),
        ("cluster", ["split by tensors", "Macs"]),
        ("price", ["USD", "front"]),
        ("roofline", ["operations per byte", "prefill, predicted"]),
        ("finetune", ["tokens of a sample", "batch 4, checkpointing"]),
    ] {
        let (code, svg, err) = run(&format!("{CASE} --plot {kind}"));
        assert_eq!(code, 0, "{kind}: {err}");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{kind}");
        assert!(words.iter().all(|w| svg.contains(w)), "{kind}: {svg}");
    }
}

#[test]
fn the_page_stands_alone_and_says_what_predict_says() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("report.html");
    let (code, out, err) = run(&format!("{CASE} -o {}", path.display()));
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let html = std::fs::read_to_string(&path).expect("written");
    assert!(html.starts_with("<!DOCTYPE html>") && html.trim_end().ends_with("</html>"));
    assert_eq!(html.matches("<figure>").count(), 8);
    assert_eq!(html.matches("<table>").count(), 2);
    for word in ["src=", "@import", "url(", "href=\"http"] {
        assert!(!html.contains(word), "{word}");
    }
    let (_, p) = json("predict --model qwen3-8b-4bit --mac m4max-40/64");
    let rate = p["decode"]["tokens_per_s"].as_f64().expect("a rate");
    assert!(html.contains(&format!("data-key=\"{rate}\"")), "{rate}");
}

#[test]
fn every_answer_is_a_page_too() {
    let plan = "examples/agents.toml";
    let result = "tests/fuzz/corpus/bench/run.json";
    let session = "turns=6,system=2000,prompt=300,output=200";
    for (line, words) in [
        ("predict --model qwen3-8b-4bit --mac m4max-40/64 --format html", &["peak", "90 %"][..]),
        ("compare --model qwen3-8b-4bit --mac m4-10/16 m5-10/16 --format html", &["Side by side"]),
        ("macs --format html", &["m4max-40"]),
        (&format!("check {plan} --format html"), &["Probability"]),
        (&format!("report --plan {plan}"), &["Probability", "mlxplan report --plan"]),
        (&format!("report --bench {result}"), &["Measured"]),
        (&format!("{CASE} --session {session}"), &["Turns of", "kept cache", "GPU limit"]),
        (&format!("{CASE} --users 2 --rate 0.05"), &["all together", "requests per second"]),
    ] {
        let (code, html, err) = run(line);
        assert!(
            html.starts_with("<!DOCTYPE html>") && html.contains("</html>"),
            "{line} {code}: {err}"
        );
        assert!(words.iter().all(|w| html.contains(w)), "{line}: {html}");
        for word in ["src=", "@import", "url(", "href=\"http"] {
            assert!(!html.contains(word), "{line}: {word}");
        }
    }
    // The verdict of a plan is that of `check`; a page that could be written is a success.
    assert_eq!(run("check examples/too-much.toml --format html").0, 1);
    assert_eq!(run("report --plan examples/too-much.toml").0, 0);
}

#[test]
fn every_plot_is_written_as_png() {
    let dir = tempfile::tempdir().expect("a folder");
    for kind in ["context", "memory", "drafts", "price", "roofline", "measured"] {
        let path = dir.path().join(format!("{kind}.PNG"));
        let (code, out, err) = run(&format!("{CASE} --plot {kind} -o {}", path.display()));
        assert_eq!((code, out.as_str()), (0, ""), "{kind}: {err}");
        let png = std::fs::read(&path).expect("written");
        assert!(png.starts_with(b"\x89PNG") && png.len() > 20_000, "{kind}: {}", png.len());
        // Width and height stand behind the signature and the first chunk's head.
        assert_eq!(png[16..20], 1800_u32.to_be_bytes(), "{kind}");
    }
}

#[test]
fn what_cannot_be_written_is_said() {
    let (code, _, err) = run(&format!("{CASE} --plot context -o /tmp/x.gif"));
    assert!(code == 2 && err.contains(".svg or .png"), "{err}");
    let (code, _, err) = run(&format!("{CASE} -o /tmp/x.png"));
    assert!(code == 2 && err.contains("--plot"), "{err}");
    let (code, _, err) = run("report --plan examples/none.toml");
    assert!(code == 2 && err.contains("examples/none.toml"), "{err}");
    let (code, _, err) = run("report --bench Cargo.toml");
    assert!(code == 2 && err.contains("no result of mlxplan bench"), "{err}");
    let two = "report --model qwen3-8b-4bit qwen3-4b-4bit --mac m4max-40/64 --users 2";
    let (code, _, err) = run(two);
    assert!(code == 2 && err.contains("name one --model"), "{err}");
    let (code, _, err) = run("report --mac m4max-40/64");
    assert!(code == 2 && err.contains("--model"), "{err}");
}

#[test]
fn the_shell_completes_models_and_macs() {
    let complete = |words: &[&str]| {
        let mut command = mlxplan("--");
        command
            .env("MLXPLAN_COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
        command.env("_CLAP_IFS", "\n").args(words);
        let output = command.output().expect("it runs");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let macs = complete(&["mlxplan", "predict", "--mac", "m4max-40/"]);
    assert!(macs.contains("m4max-40/128"), "{macs}");
    let models = complete(&["mlxplan", "predict", "--model", "qwen3-32"]);
    assert!(models.contains("qwen3-32b-4bit"), "{models}");
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = run(&format!("completions {shell}"));
        assert!(code == 0 && script.contains("MLXPLAN_COMPLETE"), "{script}");
    }
}

#[test]
fn the_reference_is_what_the_definitions_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    let stored = std::fs::read_to_string(path).expect("docs/reference.md");
    assert_eq!(stored, mlxplan::cli::reference::markdown(), "run cargo xtask docs");
}
