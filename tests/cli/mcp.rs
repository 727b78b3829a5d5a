//! `mlxplan mcp`, spoken to line by line.

use crate::mlxplan;
use crate::schema::Checker;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

const OPEN: &str = r#"{"jsonrpc":"2.0","id":"open","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
const OPENED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// What the server answers to lines, by the id; the last line ends its input.
fn talk(flags: &str, lines: &[Vec<u8>]) -> BTreeMap<String, Value> {
    let mut input = Vec::new();
    for line in lines {
        input.extend_from_slice(line);
        input.push(b'\n');
    }
    let mut command = mlxplan(&format!("{flags} mcp"));
    let output = command.write_stdin(input).timeout(Duration::from_secs(120)).output();
    let output = output.expect("it runs");
    let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert_eq!(err, "", "nothing is said beside the protocol");
    let text = String::from_utf8(out).expect("UTF-8");
    let mut answers = BTreeMap::new();
    for line in text.lines() {
        let answer: Value = serde_json::from_str(line).expect("one message on each line");
        answers.insert(answer["id"].to_string().trim_matches('"').to_owned(), answer);
    }
    answers
}

/// The lines of a session.
fn session(requests: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    [OPEN.into(), OPENED.into()].into_iter().chain(requests).collect()
}

fn request(id: &str, method: &str, params: &Value) -> Vec<u8> {
    let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    request.to_string().into_bytes()
}

fn call(id: &str, tool: &str, arguments: &Value) -> Vec<u8> {
    request(id, "tools/call", &json!({ "name": tool, "arguments": arguments }))
}

const PLAN: &str = "schema = 1\nmacs = [\"m4max-40/64\"]\n\n[[workload]]\nname = \"chat\"\nmodel = \"qwen3-8b-4bit\"\ncontext = 8192\n";
const CLAIMS: &str = "[[claim]]\nid = \"a\"\nmodel = \"qwen3-8b-4bit\"\nengine = \"mlx\"\nmachine = \"m4max-40/64\"\ndecode_tokens_per_s = 900\n";

/// A call of every tool that it can answer.
fn good_calls() -> Vec<(&'static str, Value)> {
    let (model, mac) = ("qwen3-8b-4bit", "m4max-40/64");
    vec![
        ("recommend", json!({ "model": model, "mac": mac })),
        ("recommend", json!({ "model": model })),
        ("recommend", json!({ "model": "qwen3-32b-4bit", "mac": mac, "draft": "qwen3-0.6b-4bit" })),
        ("serve", json!({ "model": model, "mac": mac, "users": 4, "prompt": 1024 })),
        (
            "session",
            json!({ "model": model, "mac": mac, "turn": "prompt=8000,cached=6000,output=400" }),
        ),
        (
            "session",
            json!({ "model": model, "mac": mac, "session": "turns=3,system=2000,prompt=300,output=200,tool=500" }),
        ),
        ("predict", json!({ "model": model, "mac": mac, "context": 8192, "explain": true })),
        ("compare_buy", json!({ "model": [model], "min_tok_s": 30, "budget": 4000 })),
        ("check", json!({ "plan": PLAN })),
        ("inspect", json!({ "model": model })),
        ("why", json!({ "model": model, "mac": mac, "measured": 30.0 })),
        ("audit", json!({ "file": CLAIMS })),
    ]
}

#[test]
fn every_tool_answers_by_the_schema_that_it_lists() {
    let calls = good_calls();
    let requests = calls.iter().enumerate().map(|(i, (tool, a))| call(&i.to_string(), tool, a));
    let list = request("list", "tools/list", &json!({}));
    let answers = talk("", &session(requests.chain([list])));
    let tools = answers["list"]["result"]["tools"].as_array().expect("tools");
    let mut unused: Vec<&str> = tools.iter().filter_map(|t| t["name"].as_str()).collect();
    for (i, (name, _)) in calls.iter().enumerate() {
        let result = &answers[&i.to_string()]["result"];
        assert_eq!(result["isError"], false, "{name}: {result}");
        let tool = tools.iter().find(|t| t["name"] == *name).expect("a listed tool");
        assert_eq!(tool["annotations"]["readOnlyHint"], true, "{name}");
        let problems =
            Checker { root: &tool["outputSchema"] }.problems(&result["structuredContent"]);
        assert!(problems.is_empty(), "{name}: {}", problems.join("\n"));
        let text = result["content"][0]["text"].as_str().expect("text");
        assert!(text.len() > 100 && !text.starts_with('{'), "{name}: {text}");
        unused.retain(|n| n != name);
    }
    assert_eq!(unused, Vec::<&str>::new(), "every tool is called here");
}

/// Calls leave threads to the input and the output.
#[test]
fn a_ping_does_not_wait_for_many_calls() {
    const CALLS: usize = 16;
    let asked = json!({ "model": "qwen3-32b-4bit" });
    let calls = (0..CALLS).map(|i| call(&i.to_string(), "recommend", &asked));
    let ping = request("ping", "ping", &json!({}));
    let mut server = std::process::Command::new(assert_cmd::cargo::cargo_bin("mlxplan"))
        .args(["--offline", "mcp"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = server.stdin.take().expect("an input");
    for line in session(calls.chain([ping])) {
        input.write_all(&[&line[..], b"\n"].concat()).expect("written");
    }
    let (start, mut pinged) = (Instant::now(), None);
    let output = BufReader::new(server.stdout.take().expect("an output"));
    for line in output.lines().take(CALLS + 2) {
        let answer: Value = serde_json::from_str(&line.expect("a line")).expect("a message");
        if answer["id"] == "ping" {
            pinged = Some(start.elapsed());
        }
    }
    let (pinged, all) = (pinged.expect("a ping"), start.elapsed());
    drop(input);
    assert!(server.wait().expect("it ends").success());
    assert!(2 * pinged < all, "after {pinged:?} of {all:?}");
}

#[test]
fn a_tool_answers_what_its_command_answers() {
    let asked = json!({ "model": "qwen3-8b-4bit", "mac": "m4max-40/64", "context": 8192 });
    let answers = talk("", &session([call("1", "predict", &asked)]));
    let (_, printed) =
        crate::json("predict --model qwen3-8b-4bit --mac m4max-40/64 --context 8192 --offline");
    assert_eq!(answers["1"]["result"]["structuredContent"], printed);
}

#[test]
fn what_is_wrong_is_said_to_the_agent() {
    let model = "qwen3-8b-4bit";
    for (tool, arguments, part) in [
        ("predict", json!({ "mac": "m4max-40/64" }), "model"),
        (
            "session",
            json!({ "model": model, "mac": "m4max-40/64" }),
            "session needs turn or session",
        ),
        ("serve", json!({ "model": model }), "serve needs users"),
        ("predict", json!({ "model": model, "mac": "m9ultra" }), "m9ultra"),
        ("predict", json!({ "model": "32B-4bit", "mac": "m4max-40/64" }), "size class"),
        ("predict", json!({ "model": model, "context": "4096" }), "whole number"),
        ("predict", json!({ "model": model, "output": "/tmp/x" }), "unknown argument 'output'"),
        ("predict", json!({ "model": { "a": [1] } }), "not an object"),
        ("predict", json!({ "model": "../../../../etc/passwd", "mac": "m4max-40/64" }), "passwd"),
        ("inspect", json!({ "model": "/etc" }), "/etc"),
        ("inspect", json!({ "model": "--ops" }), "--ops"),
        ("why", json!({ "model": model, "measured": 5, "server": "http://x" }), "'server'"),
        ("check", json!({ "plan": "macs = [\n" }), "plan"),
        ("check", json!({ "plan": "/nonexistent/plan.toml" }), "/nonexistent/plan.toml"),
        ("audit", json!({ "file": "[[claim]]\n" }), "claims"),
        ("compare_buy", json!({ "model": model, "mac": ["this"] }), "'mac'"),
        ("compare_buy", json!({ "model": model, "online": "yes" }), "online"),
        ("recommend", json!({ "model": "nobody/nothing-7b" }), "nothing"),
    ] {
        let answers = talk("", &session([call("1", tool, &arguments)]));
        let result = &answers["1"]["result"];
        assert_eq!(result["isError"], true, "{arguments}: {result}");
        let text = result["content"][0]["text"].as_str().expect("text");
        assert!(text.contains(part) && !text.contains("Usage:"), "{arguments}: {text}");
        assert!(!text.contains("root:"), "no file's content: {text}");
    }
}

#[test]
fn the_network_is_used_only_where_the_server_may() {
    let online = json!({ "model": "qwen3-8b-4bit", "online": true });
    let list = || request("list", "tools/list", &json!({}));
    let answers = talk("--offline", &session([call("1", "inspect", &online), list()]));
    let text = answers["1"]["result"]["content"][0]["text"].as_str().expect("text");
    assert!(text.contains("--offline"), "{text}");
    let offered = |answers: &BTreeMap<String, Value>| {
        answers["list"]["result"]["tools"][0]["inputSchema"]["properties"]["online"].clone()
    };
    assert!(offered(&answers).is_null());
    let answers = talk("", &session([call("1", "inspect", &online), list()]));
    assert_eq!(answers["1"]["result"]["isError"], false);
    assert_eq!(offered(&answers)["default"], false);
}

#[test]
fn hostile_lines_never_end_the_server() {
    let mut lines: Vec<Vec<u8>> = vec![
        // Before the session is open.
        b"".to_vec(),
        b"hello".to_vec(),
        OPENED.into(),
        br#"{"jsonrpc":"2.0","id":7,"result":{}}"#.to_vec(),
        request("early", "tools/list", &json!({})),
        OPEN.into(),
        OPENED.into(),
        // Within it.
        b"{".to_vec(),
        b"\xff\xfe\x00".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        br#"{"jsonrpc":"1.0","id":1,"method":"tools/list"}"#.to_vec(),
        br#"{"jsonrpc":"2.0","id":{},"method":"tools/list"}"#.to_vec(),
        br#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":"x"}"#.to_vec(),
        br#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":5}}"#.to_vec(),
        request("method", "no/such", &json!({})),
        call("tool", "rm", &json!({})),
        request("prompt", "prompts/get", &json!({ "name": "x" })),
        request(
            "gap",
            "prompts/get",
            &json!({ "name": "will_it_hold", "arguments": { "plan": 5 } }),
        ),
        OPEN.into(),
    ];
    lines.push([b"[".repeat(200_000), b"]".repeat(200_000)].concat());
    let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":"deep","method":"tools/call","params":{{"name":"predict","arguments":{deep}}}}}"#
    );
    lines.push(deep.into_bytes());
    // Over the longest line that is read.
    lines.push(call("long", "predict", &json!({ "model": "a".repeat(17 << 20) })));
    lines.push(call(
        "name",
        "predict",
        &json!({ "model": "a".repeat(1 << 20), "mac": "m4max-40/64" }),
    ));
    lines.push(call("zero", "inspect", &json!({ "model": "qwen3\u{0}8b" })));
    lines.push(call("escape", "inspect", &json!({ "model": "\u{1b}[31mred" })));
    lines.push(call("device", "inspect", &json!({ "model": "/dev/zero" })));
    lines.push(call("many", "compare_buy", &json!({ "model": vec!["x"; 3000] })));
    lines.push(call(
        "depths",
        "predict",
        &json!({ "model": "qwen3-8b-4bit", "mac": "m4max-40/64", "depths": [-1] }),
    ));
    lines.push(call("huge", "predict", &json!({ "model": "qwen3-8b-4bit", "context": 1e300 })));
    let same = json!({ "model": "qwen3-8b-4bit", "mac": "m4max-40/64" });
    lines.extend((0..20).map(|i| call(&format!("same{i}"), "predict", &same)));
    lines.push(call("alive", "inspect", &json!({ "model": "qwen3-8b-4bit" })));
    let answers = talk("", &lines);
    assert!(answers["early"]["error"]["message"].is_string());
    for id in ["method", "tool", "prompt", "gap"] {
        assert!(answers[id]["error"]["code"].is_i64(), "{id}: {}", answers[id]);
    }
    for id in ["deep", "name", "zero", "escape", "device", "many", "depths", "huge"] {
        let result = &answers[id]["result"];
        assert_eq!(result["isError"], true, "{id}: {}", answers[id]);
        let text = result["content"][0]["text"].as_str().expect("text");
        assert!(
            text.len() < 4000 && !text.contains(['\u{0}', '\u{1b}']),
            "{id}: {} bytes",
            text.len()
        );
    }
    assert!(!answers.contains_key("long"), "it is passed over");
    let speeds = (0..20).map(|i| &answers[&format!("same{i}")]["result"]["structuredContent"]);
    assert!(
        speeds
            .clone()
            .all(|s| !s.is_null() && *s == answers["same0"]["result"]["structuredContent"])
    );
    assert_eq!(answers["alive"]["result"]["isError"], false);
}

#[test]
fn prompts_are_listed_and_filled() {
    let filled = json!({ "name": "why_is_it_slow", "arguments": { "model": "qwen3-8b-4bit", "mac": "this", "tokens_per_s": "9" } });
    let answers = talk(
        "",
        &session([
            request("list", "prompts/list", &json!({})),
            request("get", "prompts/get", &filled),
        ]),
    );
    let names = answers["list"]["result"]["prompts"].as_array().expect("prompts");
    assert_eq!(names.len(), 4);
    let text = answers["get"]["result"]["messages"][0]["content"]["text"].as_str().expect("text");
    assert!(text.contains("why for qwen3-8b-4bit on this with measured 9"), "{text}");
}
