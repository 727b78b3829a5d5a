//! How answers look: widths, formats, color.

use crate::{mlxplan, run};
use unicode_width::UnicodeWidthStr;

const ANSWERS: [&str; 6] = [
    "recommend --model 32B-4bit --mac m4max-40/128",
    "recommend --mac m4pro-20/48",
    "recommend --model llama-3.3-70b-4bit --mac m4max-40/48",
    "predict --model qwen3-32b-4bit --mac m4max-40/64",
    "macs m4max",
    "models 32b",
];

/// Answers with paragraphs, notes and wide tables.
const LONGER: [&str; 7] = [
    "probe --from tests/fixtures/probe/m4pro-20-64gb.txt --explain",
    "inspect qwen3-30b-a3b-4bit",
    "compare --model qwen3-14b-4bit --mac m3pro-18/36 m4max-40/128 --from m4-10/32",
    "compare --buy --model qwen3-32b-4bit --min-tok-s 20 --budget 5000",
    "check examples/chat-server.toml",
    "audit examples/claims-r3.toml",
    "predict --model qwen3-8b-4bit --mac m3pro-18/36 --explain",
];

#[test]
fn nothing_is_wider_than_the_terminal() {
    for arguments in ANSWERS.iter().chain(&LONGER) {
        for width in [60, 80, 120] {
            let output =
                mlxplan(arguments).env("COLUMNS", width.to_string()).output().expect("runs");
            let text = String::from_utf8(output.stdout).expect("UTF-8");
            assert!(!text.is_empty(), "{arguments}");
            for line in text.lines() {
                let columns = line.width();
                let whole = is_one_word(line) || is_code(line);
                assert!(columns <= width || whole, "{arguments} at {width}: {columns}\n{line}");
            }
        }
    }
}

/// A path or an address: it is not broken, so that it can be copied.
fn is_one_word(line: &str) -> bool {
    line.trim_start().trim_start_matches("- ").split(' ').count() == 1
}

/// A command to copy.
fn is_code(line: &str) -> bool {
    line.starts_with("    mlxplan ")
}

#[test]
fn color_only_when_asked_for() {
    let plain = run("predict --model qwen3-4b-4bit --mac m4max-40/64").1;
    assert!(!plain.contains('\u{1b}'));
    let colored = run("predict --model qwen3-4b-4bit --mac m4max-40/64 --color always").1;
    assert!(colored.contains('\u{1b}'));
}

#[test]
fn every_format_is_well_formed() {
    for arguments in ANSWERS {
        let (_, csv, _) = run(&format!("{arguments} --format csv"));
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let columns = reader.headers().expect("a header").len();
        assert!(columns > 1, "{arguments}: {csv}");
        assert!(
            reader.records().all(|r| r.is_ok_and(|r| r.len() == columns)),
            "{arguments}: {csv}"
        );
        let (_, markdown, _) = run(&format!("{arguments} --format markdown"));
        assert!(markdown.contains("| --"), "{arguments}: {markdown}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let binary = assert_cmd::cargo::cargo_bin("mlxplan");
    let script = format!("{} models | head -1; exit ${{PIPESTATUS[0]}}", binary.display());
    let status = std::process::Command::new("bash").args(["-c", &script]).output().expect("bash");
    assert!(status.status.success(), "{status:?}");
}

/// `-v` says on standard error where figures come from, whatever the command, and changes no answer but those that have
/// room for it.
#[test]
fn every_command_says_more_when_asked() {
    let commands = [
        "macs m4",
        "models qwen3-0.6b",
        "inspect qwen3-0.6b-4bit",
        "calibrate --list",
        "completions bash",
        "doctor",
        "recommend --model qwen3-0.6b-4bit --mac m4-10/32",
        "predict --model qwen3-0.6b-4bit --mac m4-10/32",
        "compare --model qwen3-0.6b-4bit --mac m4-10/32",
        "check examples/chat-server.toml",
    ];
    for command in commands {
        let (code, out, quiet) = run(command);
        let (code_v, out_v, said) = run(&format!("{command} -v"));
        // The raw readings of `doctor` change from call to call.
        let lasting = |text: String| text.split("Raw readings").next().map(str::to_owned);
        assert_eq!((code, lasting(out)), (code_v, lasting(out_v)), "{command}");
        assert!(
            said.contains("detail: chips, Macs, prices and models: built in"),
            "{command}: {said}"
        );
        assert!(!quiet.contains("detail:"), "{command}");
    }
    let (_, _, said) = run("predict --model qwen3-0.6b-4bit --mac m4-10/32 -v");
    assert!(
        said.contains("m4-10/32 bandwidth: ") && said.contains("Qwen/Qwen3-0.6B affine-4-g64: "),
        "{said}"
    );
}
