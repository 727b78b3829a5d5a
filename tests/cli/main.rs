//! The binary, driven as users and scripts drive it.

mod agreement;
mod check;
mod compare;
mod drafts;
mod errors;
#[cfg(feature = "explore")]
mod explore;
mod field;
mod files;
mod finetune;
mod hub;
mod inspect;
#[cfg(feature = "mcp")]
mod mcp;
mod narrow;
mod output;
#[cfg(feature = "explore")]
mod pictures;
mod predict;
mod profile;
mod recommend;
mod report;
#[path = "../common/schema.rs"]
mod schema;
mod schemas;
mod snapshots;
mod streams;
#[cfg(feature = "explore")]
#[path = "../common/terminal.rs"]
mod terminal;
mod why;

use assert_cmd::Command;
use serde_json::Value;

/// `mlxplan` with its arguments, in a clean environment.
pub fn mlxplan(arguments: &str) -> Command {
    let mut command = Command::cargo_bin("mlxplan").expect("the binary is built");
    command.env_remove("MLXPLAN_DATA_DIR").env_remove("COLUMNS").env("NO_COLOR", "1");
    for folder in ["HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HF_HOME", "OLLAMA_MODELS"] {
        command.env(folder, "/nonexistent");
    }
    command.env("HF_HUB_OFFLINE", "1").env_remove("HF_HUB_CACHE").env_remove("HF_ENDPOINT");
    command.args(arguments.split_whitespace());
    command
}

/// Exit code, standard output and standard error.
pub fn run(arguments: &str) -> (i32, String, String) {
    let output = mlxplan(arguments).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("no signal"), text(output.stdout), text(output.stderr))
}

/// Exit code and the JSON that it prints.
pub fn json(arguments: &str) -> (i32, Value) {
    let (code, out, err) = run(&format!("{arguments} --json"));
    let value = serde_json::from_str(&out);
    (code, value.unwrap_or_else(|e| panic!("{arguments}: {e}\n{out}\n{err}")))
}
