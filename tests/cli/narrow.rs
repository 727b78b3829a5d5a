//! Forty columns: every answer fits, but for words that are longer.

use crate::mlxplan;

/// Commands with the widest answers.
const WIDE: [&str; 18] = [
    "macs m4max",
    "macs --chips",
    "models qwen3-8b",
    "inspect qwen3-8b-4bit --kv-bits 4",
    "predict --model qwen3-8b-4bit --mac m4max-40/64 --explain",
    "predict --model qwen3-30b-a3b-4bit --mac m4pro-20/24 --context 10240",
    "recommend --model qwen3-8b-4bit --mac m4max-40/64",
    "recommend --model 32B-4bit --mac m4max-40/64 --limit 3",
    "compare --buy --model qwen3-8b-4bit",
    "doctor",
    "probe --from tests/fixtures/probe/m5-10-24gb.txt --explain",
    "check examples/too-much.toml",
    "why --model qwen3-0.6b-4bit --mac m4max-40/64 --measured 100",
    "compare --model qwen3-0.6b-4bit --cluster 2xm3ultra-80/512",
    "compare --model qwen3-0.6b-4bit --mac m4max-40/64 --vary kv",
    "predict --model qwen3-0.6b-4bit --mac m4max-40/64 --turn prompt=800,cached=600,output=40",
    "predict --model qwen3-0.6b-4bit --mac m4max-40/64 --session turns=3,system=100,prompt=30,output=50",
    "recommend --model qwen3-0.6b-4bit --mac m4max-40/64 --users 2 --prompt 256",
];

#[test]
fn every_answer_fits_forty_columns() {
    for command in WIDE {
        let output = mlxplan(command)
            .env("COLUMNS", "40")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("it runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(!text.is_empty(), "{command}: {:?}", output.stderr);
        for line in text.lines().filter(|l| l.chars().count() > 40) {
            assert_eq!(line.split_whitespace().count(), 1, "{command}: {line:?}");
        }
    }
}
