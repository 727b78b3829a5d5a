//! `cargo xtask figures BASE NEW`: whether two builds of mlxplan answer with the same figures.
//!
//! Both programs run the same commands with `--json`. Every number and verdict of the old answers must stand in the new
//! ones, under its key or under the name that the key has now.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use xshell::Shell;

/// Largest difference of two figures, relative: the last digits of a sum may depend on its order.
const TOLERANCE: f64 = 1e-12;
/// Differences that are shown.
const SHOWN: usize = 60;

/// Models of every kind: dense, experts, sliding windows, latent attention, recurrent layers, eight bits and sixteen.
const MODELS: [&str; 20] = [
    "qwen3-0.6b-4bit",
    "qwen3-8b-8bit",
    "qwen3-32b-4bit",
    "qwen3-30b-a3b-4bit",
    "qwen3-235b-a22b-4bit",
    "qwen3-next-80b-a3b-instruct-4bit",
    "llama-3.1-8b-instruct-4bit",
    "llama-3.3-70b-4bit",
    "mistral-7b-instruct-v0.3-bf16",
    "gemma-3-27b-it-4bit",
    "gpt-oss-20b",
    "gpt-oss-120b",
    "zai-org/GLM-4.5-4bit",
    "deepseek-v3.2-4bit",
    "kimi-k2-instruct-4bit",
    "phi-4-4bit",
    "qwq-32b-mxfp4",
    "olmo-2-0325-32b-instruct-6bit",
    "exaone-4.0-32b-4bit",
    "mixtral-8x22b-instruct-v0.1-4bit",
];

/// What is asked about every model.
const OF_A_MODEL: [&str; 6] = [
    "predict --model {model} --mac m3ultra-80/512 --depths 0,4096,32768",
    "predict --model {model} --mac m4pro-20/64 --context 16384 --kv-bits 8",
    "predict --model {model} --mac m2max-38/96 --batch 4 --context 2048 --explain",
    "recommend --model {model} --mac m5max-40/128",
    "compare --model {model} --mac m1max-32/64 m4max-40/128",
    "inspect {model}",
];

/// What is asked once. Paths start at the root of the repository.
const ONCE: [&str; 16] = [
    "predict --model qwen3-8b --quant Q4_K_M --engine llama.cpp --mac m2max-38/64",
    "predict --model qwen3-14b-4bit --bandwidth 300 --gpu-cores 24 --memory 48 --kv-bits 4",
    "predict --model qwen3-32b-4bit --mac m4max-40/64 --prefill-step 512 --generate 1000 --reserve 4",
    "recommend --model 32B-4bit --mac m4max-40/128",
    "recommend --model 30B-A3B --mac m2ultra-76/192 --context 65536",
    "recommend --mac m4pro-20/48",
    "compare --model qwen3-8b-4bit --mac m4max-40/128 --from m4-10/32",
    "compare --buy --model qwen3-32b-4bit --min-tok-s 20 --max-ttft 30 --usd-per-kwh 0.3",
    "check examples/chat-server.toml",
    "check examples/agents.toml",
    "check examples/too-much.toml",
    "validate",
    "validate --by-chip",
    "audit examples/claims-r3.toml",
    "macs",
    "models",
];

/// The name of what is compared where a command answers with an error.
const REFUSAL: &str = "[refusal]";

/// Keys that have another name now: the end of the old path, and the end of the new one. The old name serves where the
/// new answer has no such key.
const RENAMED: [(&str, &str); 2] = [
    ("memory.max_context_tokens", "memory.max_context_at_most_tokens"),
    ("memory.attention_scratch_bytes", "memory.parts.scores.bytes"),
];

/// Keys of a list's objects by which they are told apart, where their order means nothing.
const NAMES: [&str; 1] = ["part"];

/// Runs every command with both programs; fails when a figure differs or is gone.
pub fn run(base: &Path, new: &Path) -> Result<()> {
    let base = Shell::new()?.current_dir().join(base);
    let new = Shell::new()?.current_dir().join(new);
    let mut found = Comparison::default();
    for command in commands() {
        let (old, new) = std::thread::scope(|scope| {
            let old = scope.spawn(|| answer(&base, &command));
            (old.join(), answer(&new, &command))
        });
        let Ok(old) = old else { bail!("{command}: the old program could not be run") };
        found.add(&command, &old?, &new?);
    }
    found.report()
}

fn commands() -> Vec<String> {
    let of = |model: &&str| OF_A_MODEL.map(|command| command.replace("{model}", model));
    let once = ONCE.iter().map(|&command| command.to_owned());
    MODELS.iter().flat_map(of).chain(once).collect()
}

/// The figures of one command: exit code, numbers and verdicts by path.
fn answer(program: &Path, command: &str) -> Result<BTreeMap<String, Figure>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(program)
        .current_dir(root)
        .args(command.split_whitespace())
        .args(["--json", "--offline", "--quiet"])
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env_remove("MLXPLAN_DATA_DIR")
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let code = output.status.code().context("ended by a signal")?;
    let error = String::from_utf8_lossy(&output.stderr);
    let mut figures = BTreeMap::from([("[exit code]".to_owned(), Figure::Number(code.into()))]);
    if code == 2 {
        // What is refused, such as a quantized cache with sliding windows, stays refused for the same reason.
        figures.insert(REFUSAL.to_owned(), Figure::Verdict(error.trim().to_owned()));
        return Ok(figures);
    }
    let json: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{} {command}: no JSON; {error}", program.display()))?;
    flatten("", &json, &mut figures);
    Ok(figures)
}

/// A value that is compared.
#[derive(Clone, Debug, PartialEq)]
enum Figure {
    Number(f64),
    Verdict(String),
}

impl Figure {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
            _ => self == other,
        }
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(x) => write!(f, "{x}"),
            Self::Verdict(word) => f.write_str(word),
        }
    }
}

/// Numbers and verdicts with their paths. Of the two verdicts that old answers have side by side, `verdict` is the finer.
fn flatten(path: &str, value: &Value, out: &mut BTreeMap<String, Figure>) {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Number(n) => {
            if let Some(x) = n.as_f64() {
                out.insert(path.to_owned(), Figure::Number(x));
            }
        }
        Value::Object(map) => {
            let finer = map.get("verdict").and_then(Value::as_str);
            for (key, inner) in map {
                match (key.as_str(), inner) {
                    ("fits", Value::String(fits)) => {
                        let word = finer.unwrap_or(fits).to_owned();
                        out.insert(join("fits"), Figure::Verdict(word));
                    }
                    ("outcome", Value::String(word)) => {
                        out.insert(join(key), Figure::Verdict(word.clone()));
                    }
                    _ => flatten(&join(key), inner, out),
                }
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let name = NAMES.iter().find_map(|key| item.get(key)?.as_str());
                flatten(&join(&name.map_or_else(|| i.to_string(), str::to_owned)), item, out);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// What all commands together have shown.
#[derive(Default)]
struct Comparison {
    commands: usize,
    figures: usize,
    refused: usize,
    differences: Vec<String>,
}

impl Comparison {
    fn add(
        &mut self,
        command: &str,
        old: &BTreeMap<String, Figure>,
        new: &BTreeMap<String, Figure>,
    ) {
        self.commands += 1;
        self.figures += old.len();
        self.refused += usize::from(old.contains_key(REFUSAL));
        for (key, before) in old {
            let (name, after) = now(key, new);
            match after {
                Some(after) if before.is(after) => {}
                Some(after) => {
                    self.differences.push(format!("{command}\n    {name}: {before} → {after}"));
                }
                None => self.differences.push(format!("{command}\n    {key}: {before} is gone")),
            }
        }
    }

    fn report(&self) -> Result<()> {
        for difference in self.differences.iter().take(SHOWN) {
            println!("{difference}");
        }
        println!(
            "{} commands ({} refused), {} figures, {} differ",
            self.commands,
            self.refused,
            self.figures,
            self.differences.len()
        );
        ensure!(self.differences.is_empty(), "figures differ");
        Ok(())
    }
}

/// The figure that stands now for what a key said, and its key.
fn now<'a>(key: &str, new: &'a BTreeMap<String, Figure>) -> (String, Option<&'a Figure>) {
    let renamed = RENAMED.iter().find_map(|(old, name)| {
        let name = format!("{}{name}", key.strip_suffix(old)?);
        new.get(&name).map(|figure| (name, Some(figure)))
    });
    renamed.unwrap_or_else(|| (key.to_owned(), new.get(key)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn figures(value: &Value) -> BTreeMap<String, Figure> {
        let mut out = BTreeMap::new();
        flatten("", value, &mut out);
        out
    }

    fn differences(old: &Value, new: &Value) -> usize {
        let mut found = Comparison::default();
        found.add("predict", &figures(old), &figures(new));
        found.differences.len()
    }

    #[test]
    fn keys_that_moved_are_compared_under_their_new_names() {
        let old = json!({ "memory": {
            "fits": "tight", "verdict": "uncertain", "attention_scratch_bytes": 5, "max_context_tokens": 9 } });
        let new = json!({ "memory": { "fits": "uncertain", "max_context_tokens": 8,
            "max_context_at_most_tokens": 9, "parts": [{ "part": "kv", "bytes": 1 }, { "part": "scores", "bytes": 5 }] } });
        assert_eq!(differences(&old, &new), 0);
    }

    #[test]
    fn what_changed_or_went_is_found() {
        let old = json!({ "rows": [{ "x": 1.0 }, { "x": 2.0 }], "outcome": "pass" });
        assert_eq!(
            differences(
                &old,
                &json!({ "rows": [{ "x": 1.0 }, { "x": 2.0 + 1e-13 }], "outcome": "pass" })
            ),
            0
        );
        assert_eq!(
            differences(&old, &json!({ "rows": [{ "x": 1.0 }, { "x": 2.1 }], "outcome": "fail" })),
            2
        );
        assert_eq!(differences(&old, &json!({ "rows": [{ "x": 1.0 }], "outcome": "pass" })), 1);
    }
}
