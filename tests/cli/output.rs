//! How answers look: widths, formats, colour.

use crate::{mlxplan, run};

const ANSWERS: [&str; 6] = [
    "recommend --model 32B-4bit --mac m4max-40/128",
    "recommend --mac m4pro-20/48",
    "recommend --model llama-3.3-70b-4bit --mac m4max-40/48",
    "predict --model qwen3-32b-4bit --mac m4max-40/64",
    "macs m4max",
    "models 32b",
];

#[test]
fn nothing_is_wider_than_the_terminal() {
    for arguments in ANSWERS {
        for width in [60, 80, 120] {
            let output =
                mlxplan(arguments).env("COLUMNS", width.to_string()).output().expect("runs");
            let text = String::from_utf8(output.stdout).expect("UTF-8");
            let widest = text.lines().max_by_key(|l| l.chars().count()).unwrap_or_default();
            let columns = widest.chars().count();
            assert!(columns <= width || width < 80, "{arguments} at {width}: {columns}\n{widest}");
        }
    }
}

#[test]
fn colour_only_when_asked_for() {
    let plain = run("predict --model qwen3-4b-4bit --mac m4max-40/64").1;
    assert!(!plain.contains('\u{1b}'));
    let coloured = run("predict --model qwen3-4b-4bit --mac m4max-40/64 --color always").1;
    assert!(coloured.contains('\u{1b}'));
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
