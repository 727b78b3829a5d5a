//! Whole outputs of every command in every format, as they were when somebody last looked at them.
//!
//! `INSTA_UPDATE=always cargo test --test cli snapshots` renews `tests/cli/snapshots/`; the difference shows in version
//! control. Without it a changed output fails.

use assert_cmd::Command;
use regex_lite::Captures;
use std::path::Path;

/// Lines of an output that a snapshot keeps.
const LINES: usize = 220;

/// What differs from machine to machine and from release to release.
const FILTERS: [(&str, &str); 3] = [
    // Platforms round the last digits of powers and logarithms differently.
    (r"(\d\.\d{8})\d+(e-?\d+)?", "$1$2"),
    (r"(mlxplan +|version.: .)\d+\.\d+\.\d+", "$1[version]"),
    (r"(target +)\w+ \w+", "$1[target]"),
];

/// `mlxplan` with nothing of this machine's environment, in the repository's root.
fn offline(arguments: &str, width: u16) -> Command {
    let mut command = Command::cargo_bin("mlxplan").expect("the binary is built");
    command.env_clear().current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env("HOME", "/nonexistent").env("XDG_CONFIG_HOME", "/nonexistent");
    command.env("COLUMNS", width.to_string()).args(arguments.split_whitespace());
    command.arg("--offline");
    command
}

/// Exit code, standard output and standard error as one text; `output` chooses what of the first is shown.
fn transcript(arguments: &str, width: u16, output: impl Fn(&str) -> String) -> String {
    let done = offline(arguments, width).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = done.status.code().expect("no signal");
    format!(
        "$ mlxplan {arguments}\n[exit code {code}, {width} columns]\n{}\n[standard error]\n{}",
        output(&text(&done.stdout)),
        text(&done.stderr)
    )
}

/// The first lines of a text, how many follow, and a digest that changes when one of them does.
fn head(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (first, rest) = lines.split_at(lines.len().min(LINES));
    let mut out = first.join("\n");
    if !rest.is_empty() {
        out.push_str(&format!(
            "\n[{} more lines, digest {}]",
            rest.len(),
            digest(&rest.join("\n"))
        ));
    }
    out
}

/// Sixteen digits that stand for a text; numbers count to seven places, since platforms round the last ones differently.
fn digest(text: &str) -> String {
    let pattern = |pattern| regex_lite::Regex::new(pattern).expect("a pattern");
    let rounded = pattern(r"\d+\.\d+(e-?\d+)?").replace_all(text, |found: &Captures<'_>| {
        found[0].parse().map_or_else(|_| found[0].to_owned(), |value: f64| format!("{value:.6e}"))
    });
    let same = FILTERS.iter().fold(rounded.into_owned(), |text, (from, to)| {
        pattern(from).replace_all(&text, *to).into_owned()
    });
    let digest = ring::digest::digest(&ring::digest::SHA256, same.as_bytes());
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_line_counts() {
    let text = |last: &str| format!("{}{last}", "a line\n".repeat(LINES + 9));
    assert_eq!(head(&text("\"x\": 0.125")), head(&text("\"x\": 0.12500000000000003")));
    assert_ne!(head(&text("\"x\": 0.125")), head(&text("\"x\": 0.12501")));
    assert_ne!(head(&text("one")), head(&text("two")));
    assert!(head(&text("end")).contains("[10 more lines, digest "));
}

fn assert_same(name: &str, text: String) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, replacement) in FILTERS {
        settings.add_filter(pattern, replacement);
    }
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// One answer at two widths, and as CSV, Markdown and JSON.
fn every_format(name: &str, arguments: &str) {
    for width in [80, 60] {
        assert_same(&format!("{name}.{width}"), transcript(arguments, width, head));
    }
    for format in ["csv", "markdown", "json"] {
        let arguments = format!("{arguments} --format {format}");
        assert_same(&format!("{name}.{format}"), transcript(&arguments, 80, head));
    }
}

/// One answer at one width.
fn at_80(name: &str, arguments: &str) {
    assert_same(name, transcript(arguments, 80, head));
}

#[test]
fn probe() {
    every_format("probe", "probe --from tests/fixtures/probe/m4pro-20-64gb.txt");
    at_80("probe-explain", "probe --from tests/fixtures/probe/m3ultra-60-96gb.txt --explain");
    at_80("probe-vm", "probe --from tests/fixtures/probe/vm-github-m1.txt");
}

#[test]
fn catalogues() {
    every_format("models", "models qwen3-32b");
    every_format("models-families", "models --families qwen3");
    every_format("models-local", "models --local");
    every_format("macs", "macs studio m4max");
    every_format("macs-chips", "macs --chips m4");
}

#[test]
fn inspect() {
    every_format("inspect", "inspect qwen3-30b-a3b-4bit");
    at_80("inspect-hybrid.json", "inspect qwen3-next-80b-a3b-instruct-4bit --json --kv-bits 8");
    at_80("inspect-tensors.csv", "inspect qwen3-0.6b-4bit --tensors --format csv");
    at_80("inspect-tensors.json", "inspect qwen3-0.6b-4bit --tensors --json");
    at_80("inspect-ops.csv", "inspect qwen3-0.6b-4bit --ops --format csv");
    at_80("inspect-ops.json", "inspect qwen3-0.6b-4bit --ops --json");
}

#[test]
fn predict() {
    every_format(
        "predict",
        "predict --model qwen3-32b-4bit --mac m4max-40/64 --depths 0,4096,16384",
    );
    every_format("predict-too-big", "predict --model llama-3.3-70b-4bit --mac m4max-40/48");
    every_format(
        "predict-explain",
        "predict --model qwen3-8b-4bit --mac m3pro-18/36 --kv-bits 4 --batch 4 --explain",
    );
    at_80(
        "predict-gguf",
        "predict --model qwen3-8b --quant Q4_K_M --engine llama.cpp --mac m2max-38/64",
    );
    at_80(
        "predict-custom.json",
        "predict --model gpt-oss-20b --bandwidth 300 --gpu-cores 24 --memory 48 --json",
    );
}

/// What a run does: turns of a conversation, users of a server, a draft model beside the model.
#[test]
fn work() {
    let case = "--model qwen3-8b-4bit --mac m4max-40/64";
    let session = "--session turns=12,system=2000,prompt=300,output=400";
    every_format("session", &format!("predict {case} {session}"));
    at_80("turn", &format!("predict {case} --turn prompt=8000,cached=6000,output=400"));
    every_format("serving", &format!("recommend {case} --users 4"));
    at_80("serving-rate", &format!("recommend {case} --users 4 --rate 0.1 --min-tok-s 10"));
    let draft = "predict --model qwen3-32b-4bit --mac m4max-40/64 --draft qwen3-0.6b";
    every_format("draft", draft);
    at_80("drafts", "recommend --model qwen3-32b-4bit --mac m4max-40/64 --draft auto");
}

#[test]
fn why() {
    every_format("why", "why --model qwen3-8b-4bit --mac m2max-38/32 --measured 30");
}

#[test]
fn finetune() {
    every_format("finetune", "finetune --model qwen3-0.6b-4bit --mac m4max-40/64");
}

#[test]
fn recommend() {
    every_format("recommend-class", "recommend --model 32B-4bit --mac m4max-40/128 --limit 3");
    every_format("recommend-too-big", "recommend --model llama-3.3-70b-4bit --mac m4max-40/48");
    every_format("recommend-machine", "recommend --mac m4pro-20/48");
}

/// Keys of JSON and names of pairs that describe the machine that runs the tests.
#[cfg(target_os = "linux")]
const OF_THIS_MACHINE: [&str; 9] = [
    "\"swap_used_bytes\":",
    "\"swap_total_bytes\":",
    "\"brand\":",
    "\"machine\": \"",
    "\"cpu_cores\":",
    "\"memory_bytes\":",
    "\"arch\":",
    "machine  ",
    "target  ",
];

/// What an answer away from a Mac says that is the same on every such machine: nothing that names this one, and no
/// raw readings.
#[cfg(target_os = "linux")]
fn of_any_machine(text: &str) -> String {
    let end = ["\"readings\":", "Raw readings"].iter().filter_map(|w| text.find(w)).min();
    let text = &text[..end.unwrap_or(text.len())];
    let own = |line: &&str| !OF_THIS_MACHINE.iter().any(|w| line.trim_start().starts_with(w));
    head(&text.lines().filter(own).collect::<Vec<_>>().join("\n"))
}

/// Other machines say something else here: a Mac plans for itself.
#[cfg(target_os = "linux")]
#[test]
fn away_from_a_mac() {
    // The paragraph above the first table names this machine and wraps with its name.
    let tables = |text: &str| head(text.find("\nmodel").map_or(text, |start| &text[start..]));
    let class = "recommend --model 32B-4bit --limit 3";
    for width in [80, 60] {
        assert_same(&format!("away.{width}"), transcript(class, width, tables));
    }
    let program = format!("{class} --json");
    assert_same("away.json", transcript(&program, 80, of_any_machine));
    assert_same("welcome.json", transcript("--json", 80, of_any_machine));
    for width in [80, 60] {
        assert_same(&format!("doctor.{width}"), transcript("doctor", width, of_any_machine));
    }
    assert_same("doctor.json", transcript("doctor --json", 80, of_any_machine));
}

#[test]
fn compare() {
    every_format(
        "compare",
        "compare --model qwen3-14b-4bit --mac m3pro-18/36 m4max-40/128 --from m4-10/32",
    );
    every_format(
        "compare-buy",
        "compare --buy --model qwen3-32b-4bit --min-tok-s 20 --budget 5000 --usd-per-kwh 0.3 --limit 5",
    );
    every_format("compare-cluster", "compare --model qwen3-32b-4bit --cluster 2xm3ultra-80/96");
    every_format("compare-vary", "compare --model qwen3-8b-4bit --mac m4max-40/64 --vary kv");
    at_80(
        "compare-engines",
        "compare --model qwen3-8b-4bit --mac m4max-40/64 --engines mlx-lm,llama.cpp",
    );
    at_80("compare-buy-none", "compare --buy --model qwen3-8b-4bit --min-tok-s 5000");
}

#[test]
fn check() {
    for plan in ["chat-server", "agents", "too-much"] {
        every_format(&format!("check-{plan}"), &format!("check examples/{plan}.toml"));
        let junit = format!("check examples/{plan}.toml --format junit");
        at_80(&format!("check-{plan}.junit"), &junit);
    }
}

#[test]
fn audit() {
    every_format("audit", "audit examples/claims-r3.toml");
    at_80("audit-verbose", "audit examples/claims-r1.toml -v");
    at_80("audit-csv.json", "audit tests/fixtures/cli/measurements.csv --json");
}

#[test]
fn validate() {
    every_format("validate", "validate --against tests/fixtures/cli/measurements.csv");
    at_80("validate-published.80", "validate");
    at_80("validate-published.json", "validate --json");
}

#[test]
fn calibrate() {
    every_format("calibrate-list", "calibrate --list");
}

#[test]
fn report() {
    let case = "report --model qwen3-8b-4bit --mac m4max-40/64 m5max-40/128";
    assert_same("report.html", transcript(case, 80, text_of_page));
    for plot in ["context", "memory", "drafts", "cluster", "price", "roofline"] {
        let arguments = format!("{case} --plot {plot}");
        assert_same(&format!("report-{plot}.svg"), transcript(&arguments, 80, words_of_plot));
    }
}

/// A page without its drawings.
fn text_of_page(page: &str) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("<svg") {
        out.push_str(before);
        out.push_str("[plot]");
        rest = after.split_once("</svg>").map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    head(&out)
}

/// The words and numbers of a drawing.
fn words_of_plot(svg: &str) -> String {
    let line = |l: &&str| !l.trim().is_empty() && !l.trim_start().starts_with('<');
    head(&svg.lines().filter(line).collect::<Vec<_>>().join("\n"))
}

#[test]
fn completions() {
    for shell in ["bash", "zsh", "fish"] {
        at_80(&format!("completions.{shell}"), &format!("completions {shell}"));
    }
}

#[test]
fn mistakes() {
    at_80("mistake-class", "predict --model 32B-4bit --mac m4max-40/128");
    at_80("mistake-mac", "predict --model qwen3-32b-4bit --mac m3");
    at_80("mistake-model", "inspect qwen3-23b-4bit");
    at_80("mistake-flag", "recomend --model 32B-4bit");
    at_80("mistake-junit", "macs --format junit");
    at_80("mistake-bench", "bench");
    at_80("mistake-update", "update");
}
