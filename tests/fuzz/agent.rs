//! Spoiled messages of an agent, sent to a server that has to outlive them.

use super::{keep, number, seeds, spoil::Spoiler};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const OPEN: &str = r#"{"jsonrpc":"2.0","id":"open","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"fuzz","version":"1"}}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
"#;
const PING: &str = r#"{"jsonrpc":"2.0","id":"last","method":"ping"}
"#;
/// Messages of a session.
const MESSAGES: usize = 60;

/// Sends messages to a server of their own; what is wrong with how it ends.
fn outlives(messages: &[u8]) -> Result<(), String> {
    let mut server = Command::new(env!("CARGO_BIN_EXE_mlxplan"))
        .args(["--offline", "mcp"])
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut input = server.stdin.take().ok_or("no input")?;
    let text = [OPEN.as_bytes(), messages, b"\n", PING.as_bytes()].concat();
    let writer = std::thread::spawn(move || input.write_all(&text));
    let output = server.wait_with_output().map_err(|e| e.to_string())?;
    let written = writer.join().map_err(|_| "the writer failed")?;
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let last = |line: &str| line.contains(r#""id":"last""#) && line.contains("result");
    match written {
        _ if err.contains("panicked") => Err(err.into_owned()),
        _ if !output.status.success() => Err(format!("{}: {err}", output.status)),
        Err(e) => Err(e.to_string()),
        Ok(()) if !out.lines().any(last) => Err("no answer to the last message".to_owned()),
        Ok(()) => Ok(()),
    }
}

#[test]
fn mcp() {
    let seeds = seeds("mcp");
    let mut spoiler = Spoiler::new(number("MLXPLAN_FUZZ_SEED").unwrap_or(1), &seeds);
    let limit = number("MLXPLAN_FUZZ_SECONDS").map_or(Duration::ZERO, Duration::from_secs);
    let begin = Instant::now();
    loop {
        let one = |mut line: Vec<u8>| {
            line.retain(|&b| b != b'\n');
            line.push(b'\n');
            line
        };
        let messages: Vec<u8> = (0..MESSAGES).flat_map(|_| one(spoiler.next())).collect();
        if let Err(problem) = outlives(&messages) {
            panic!("{problem}\nafter the messages in {}", keep("mcp", &messages).display());
        }
        if begin.elapsed() >= limit {
            break;
        }
    }
}
