//! The servers that run on this machine: asked by GET on the loopback alone, and told apart by what they answer, never by
//! the port.

use super::address::Address;
use super::client::{BriefReply, Client, Limits};
use super::error::shorten;
use crate::engine::programs::Engines;
use crate::run::{Program, Version};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::cell::Cell;
use std::time::Duration;

/// Time that a server has to answer.
const PATIENCE: Duration = Duration::from_millis(300);
/// Longest answer that is read, bytes.
const LONGEST: u64 = 4 << 20;

/// A server that answered.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct RunningServer {
    /// The program; `None` where its answers fit several.
    pub program: Option<Program>,
    /// Its version, where it tells it: mlx_lm.server, LM Studio and Rapid-MLX do not.
    pub version: Option<String>,
    /// Where it answers.
    pub address: String,
    /// Models that it has loaded, or serves where it does not say which are loaded.
    pub models: Vec<String>,
    /// Tokens of the context that it declared, where it tells them.
    pub context_tokens: Option<u64>,
    /// The newest version known, where that is a newer one.
    pub newer: Option<Version>,
}

impl RunningServer {
    /// What is out of date, in words; `None` where nothing is known to be.
    #[must_use]
    pub fn update(&self) -> Option<String> {
        let (program, newer) = (self.program?, self.newer?);
        let version = self.version.as_deref().unwrap_or("?");
        Some(format!("{program} {newer} is out; {version} answers at {}", self.address))
    }
}

/// The servers that answer at the ports that programs listen on unless told otherwise.
#[must_use]
pub fn running_servers() -> Vec<RunningServer> {
    let Ok(known) = Engines::embedded() else { return Vec::new() };
    let mut ports: Vec<u16> = known.engines.iter().filter_map(|e| e.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let ask = |port: u16| move || server_at(&format!("http://127.0.0.1:{port}"));
    let asked: Vec<_> = ports.into_iter().map(|port| std::thread::spawn(ask(port))).collect();
    asked.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
}

/// The server at an address, if one answers there.
#[must_use]
pub fn server_at(address: &str) -> Option<RunningServer> {
    let address = Address::parse(address, false).ok()?;
    let limits = Limits {
        connect: PATIENCE,
        silence: PATIENCE,
        question: PATIENCE,
        answer_bytes: LONGEST,
        ..Limits::default()
    };
    let client = Client::new(address, None, limits).ok()?;
    let asked = Asked { client: &client, silent: Cell::new(false) };
    let told = [ollama, llama_cpp, lm_studio, others].iter().find_map(|ask| ask(&asked))?;
    let newer = told.program.and_then(|program| newer(program, told.version.as_deref()?));
    Some(RunningServer { address: client.address().to_string(), newer, ..told })
}

/// The newest version of a program, where it is newer than the one that answers.
fn newer(program: Program, version: &str) -> Option<Version> {
    let answers: Version = version.parse().ok()?;
    let newest = Engines::embedded().ok()?.newest(program)?;
    let comparable = answers.is_day() == newest.is_day() && answers.is_build() == newest.is_build();
    (comparable && answers < newest).then_some(newest)
}

/// A server that is asked one question after the other, until it leaves one without an answer.
struct Asked<'c> {
    client: &'c Client,
    silent: Cell<bool>,
}

impl Asked<'_> {
    /// What a server answers; `None` where it has no such path, or no server is there.
    fn reply(&self, path: &str) -> Option<BriefReply> {
        if self.silent.get() {
            return None;
        }
        let reply = self.client.question(path);
        self.silent.set(reply.is_err());
        reply.ok().flatten()
    }

    /// The JSON of it.
    fn get(&self, path: &str) -> Option<Value> {
        self.reply(path).map(|reply| reply.json)
    }
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().filter(|t| !t.is_empty()).map(shorten)
}

fn names(value: &Value, list: &str, key: &str) -> Vec<String> {
    let entries = value.pointer(list).and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(|e| e.get(key)?.as_str().map(shorten)).collect()
}

fn told(program: Option<Program>, version: Option<String>, models: Vec<String>) -> RunningServer {
    RunningServer {
        program,
        version,
        address: String::new(),
        models,
        context_tokens: None,
        newer: None,
    }
}

fn ollama(server: &Asked<'_>) -> Option<RunningServer> {
    let version = text(&server.get("/api/version")?, "/version")?;
    let loaded = server.get("/api/ps").unwrap_or_default();
    let context_tokens = loaded.pointer("/models/0/context_length").and_then(Value::as_u64);
    let models = names(&loaded, "/models", "name");
    Some(RunningServer { context_tokens, ..told(Some(Program::Ollama), Some(version), models) })
}

/// llama-server says its build as `b10488-0123abc`.
fn llama_cpp(server: &Asked<'_>) -> Option<RunningServer> {
    let props = server.get("/props")?;
    let settings = props.get("default_generation_settings")?;
    let context_tokens = settings.get("n_ctx").and_then(Value::as_u64);
    let build = text(&props, "/build_info").and_then(|b| Some(b.split('-').next()?.to_owned()));
    let models = text(&props, "/model_path").into_iter().collect();
    Some(RunningServer { context_tokens, ..told(Some(Program::LlamaCpp), build, models) })
}

fn lm_studio(server: &Asked<'_>) -> Option<RunningServer> {
    let all = server.get("/api/v0/models")?;
    let entries = all.pointer("/data")?.as_array()?;
    let loaded: Vec<&Value> =
        entries.iter().filter(|m| m.get("state").is_some_and(|s| s == "loaded")).collect();
    let first = loaded.first().copied().or_else(|| entries.first())?;
    let program = match first.get("compatibility_type")?.as_str()? {
        "mlx" => Program::LmStudio,
        _ => Program::LmStudioGguf,
    };
    let models = loaded.iter().filter_map(|m| m.get("id")?.as_str().map(shorten)).collect();
    let context_tokens = first.get("loaded_context_length").and_then(Value::as_u64);
    Some(RunningServer { context_tokens, ..told(Some(program), None, models) })
}

/// Servers that speak OpenAI's protocol: by who they say owns the models, or by their header. Read in the sources: mlx-vlm
/// 0.7.10 sends `Server: mlx_vlm/0.7.10` (`mlx_vlm/server/app.py`); vllm-mlx 0.4.1 and Rapid-MLX 0.12.18 own their models
/// and do not tell their version but in the API's own description, where that of Rapid-MLX is stale (`vllm_mlx/server.py`,
/// `vllm_mlx/api/models.py`); oMLX owns its models (`omlx/api/openai_models.py`); mlx_lm.server 0.32.2 is Python's
/// `BaseHTTPRequestHandler`. What vLLM tells at `/version` is its own version, not that of vllm-metal.
fn others(asked: &Asked<'_>) -> Option<RunningServer> {
    let reply = asked.reply("/v1/models")?;
    let models = names(&reply.json, "/data", "id");
    let owner = names(&reply.json, "/data", "owned_by").join(" ").to_lowercase();
    let header = reply.server.as_deref().unwrap_or_default();
    let context_tokens = reply.json.pointer("/data/0/max_model_len").and_then(Value::as_u64);
    let at = |path: &str, pointer: &str| asked.get(path).and_then(|v| text(&v, pointer));
    let (program, version) = match owner.as_str() {
        _ if header.starts_with("mlx_vlm/") => {
            (Some(Program::MlxVlm), header.strip_prefix("mlx_vlm/").map(shorten))
        }
        o if o.contains("rapid-mlx") => (Some(Program::RapidMlx), at("/health", "/version")),
        o if o.contains("vllm-mlx") => {
            let told = at("/health", "/version").or_else(|| at("/openapi.json", "/info/version"));
            (Some(Program::VllmMlx), told)
        }
        o if o.contains("vllm") => (Some(Program::VllmMetal), None),
        o if o.contains("omlx") => (Some(Program::Omlx), at("/api/status", "/version")),
        o if o.contains("exo") => (Some(Program::Exo), None),
        _ if header.starts_with("BaseHTTP") => (Some(Program::MlxServer), None),
        _ => (None, None),
    };
    Some(RunningServer { context_tokens, ..told(program, version, models) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    /// A server that answers some paths with JSON and all others with 404.
    fn serve(answers: &'static [(&str, &str)], name: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let first = lines.next().unwrap_or_default();
                let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
                let _ = lines.by_ref().take_while(|line| !line.is_empty()).count();
                let found = answers.iter().find(|(p, _)| *p == path);
                let (status, body) = found.map_or(("404 Not Found", "{}"), |(_, b)| ("200 OK", *b));
                let _ = write!(
                    &stream,
                    "HTTP/1.1 {status}\r\nServer: {name}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                     Connection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        address
    }

    #[test]
    fn servers_are_told_apart_by_their_answers() {
        let ollama = serve(
            &[
                ("/api/version", r#"{"version":"0.30.0"}"#),
                ("/api/ps", r#"{"models":[{"name":"qwen3:8b","context_length":32768}]}"#),
            ],
            "x",
        );
        let found = server_at(&ollama).expect("answers");
        assert_eq!(
            (found.program, found.version.as_deref()),
            (Some(Program::Ollama), Some("0.30.0"))
        );
        assert_eq!(
            (found.models, found.context_tokens),
            (vec!["qwen3:8b".to_owned()], Some(32_768))
        );
        assert!(found.newer.is_some());

        let llama = serve(
            &[(
                "/props",
                r#"{"default_generation_settings":{"n_ctx":8192},"build_info":"b9452-1f2e3d4"}"#,
            )],
            "llama.cpp",
        );
        let found = server_at(&llama).expect("answers");
        assert_eq!(
            (found.program, found.version.as_deref()),
            (Some(Program::LlamaCpp), Some("b9452"))
        );
        assert_eq!(found.context_tokens, Some(8192));

        let studio = serve(
            &[(
                "/api/v0/models",
                r#"{"data":[{"id":"a","state":"not-loaded","compatibility_type":"gguf"},
                    {"id":"b","state":"loaded","compatibility_type":"mlx","loaded_context_length":4096}]}"#,
            )],
            "x",
        );
        let found = server_at(&studio).expect("answers");
        assert_eq!((found.program, found.models), (Some(Program::LmStudio), vec!["b".to_owned()]));

        let vllm = serve(
            &[
                ("/v1/models", r#"{"data":[{"id":"m","owned_by":"vllm-mlx"}]}"#),
                ("/health", r#"{"status":"healthy","version":"0.5.0"}"#),
            ],
            "uvicorn",
        );
        let found = server_at(&vllm).expect("answers");
        assert_eq!(
            (found.program, found.version.as_deref()),
            (Some(Program::VllmMlx), Some("0.5.0"))
        );
        assert!(found.update().is_some_and(|text| text.contains("0.6.0 is out")));

        let vllm = serve(
            &[
                ("/v1/models", r#"{"data":[{"id":"m","owned_by":"vllm-mlx"}]}"#),
                ("/health", r#"{"status":"healthy"}"#),
                ("/openapi.json", r#"{"info":{"title":"vllm-mlx API","version":"0.4.1"}}"#),
            ],
            "uvicorn",
        );
        assert_eq!(server_at(&vllm).expect("answers").version.as_deref(), Some("0.4.1"));

        let vlm = serve(&[("/v1/models", r#"{"data":[{"id":"m"}]}"#)], "mlx_vlm/0.7.1");
        let found = server_at(&vlm).expect("answers");
        assert_eq!(
            (found.program, found.version.as_deref()),
            (Some(Program::MlxVlm), Some("0.7.1"))
        );
        assert!(found.newer.is_some());

        let omlx = serve(
            &[
                ("/v1/models", r#"{"data":[{"id":"m","owned_by":"omlx","max_model_len":32768}]}"#),
                ("/api/status", r#"{"version":"0.5.2"}"#),
            ],
            "uvicorn",
        );
        let found = server_at(&omlx).expect("answers");
        assert_eq!((found.program, found.context_tokens), (Some(Program::Omlx), Some(32_768)));
        assert_eq!(found.version.as_deref(), Some("0.5.2"));

        // Many programs that are no servers of models have a status.
        let dashboard = serve(&[("/api/status", r#"{"version":"1.0.0"}"#)], "uvicorn");
        assert_eq!(server_at(&dashboard), None);

        let plain =
            serve(&[("/v1/models", r#"{"data":[{"id":"m"}]}"#)], "BaseHTTP/0.6 Python/3.12");
        assert_eq!(server_at(&plain).expect("answers").program, Some(Program::MlxServer));
    }

    #[test]
    fn who_leaves_a_question_unanswered_is_asked_no_other() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        assert_eq!(server_at(&address), None);
        listener.set_nonblocking(true).expect("a socket");
        assert_eq!(std::iter::from_fn(|| listener.accept().ok()).count(), 1);
    }

    #[test]
    fn nothing_is_found_where_nothing_listens() {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
        assert_eq!(server_at(&format!("http://{free}")), None);
        assert_eq!(server_at("http://192.0.2.1:8000"), None);
    }
}
