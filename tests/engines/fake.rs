//! A server of language models that behaves as a test wants it to.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server pretends to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    OpenAi,
    LlamaCpp,
    Ollama,
    LmStudio,
}

/// How it answers requests for a generation.
#[derive(Clone, Debug, PartialEq)]
pub enum Conduct {
    /// As it should.
    Good,
    /// A pause before each token.
    Slow(Duration),
    /// A long pause before this token.
    Stall(u32, Duration),
    /// The connection ends after this token.
    CutOff(u32),
    /// The same inside a chunked body, so that HTTP itself is broken.
    CutOffChunked(u32),
    /// An event that is no JSON.
    WrongJson,
    /// JSON with keys of the wrong type.
    WrongTypes,
    /// An HTTP error with this body.
    Status(u16, &'static str),
    /// A redirect.
    Redirect(&'static str),
    /// Tokens without end.
    Endless,
    /// One line without end.
    HugeLine,
    /// Only comments, without end.
    Comments,
    /// Pieces without text, without end.
    EmptyPieces,
    /// Comments that tell of more and more tokens read, for so long, before the answer.
    Progress(Duration),
    /// No token counts.
    NoUsage,
    /// These token counts (prompt, generated) instead of the true ones.
    WrongCounts(u32, u32),
    /// An error event in the middle.
    ErrorEvent,
    /// Something that is not HTTP.
    Garbage,
    /// Several tokens in one event.
    Bundled(u32),
    /// Every other request fails with HTTP 500.
    EveryOther,
    /// The prompt is cut down to this many tokens.
    Truncate(u32),
    /// Whole answers, also when a stream is asked for.
    NeverStreams,
    /// The answer repeats the request's `Authorization` header.
    RepeatsKey,
    /// Held back for so long, then handed over at once.
    HeldBack(Duration),
    /// Held back up to the middle and handed over at once until there.
    HalfHeldBack,
}

/// A request line and its `Authorization` header.
type Request = (String, Option<String>);

/// A running server. It lives until the test process ends.
pub struct Fake {
    pub address: String,
    /// Bodies of the requests for a generation.
    pub bodies: Arc<Mutex<Vec<Value>>>,
    /// All requests.
    pub requests: Arc<Mutex<Vec<Request>>>,
}

pub const MODEL: &str = "mlx-community/SmolLM2-135M-Instruct-4bit";

impl Fake {
    pub fn start(program: Program, conduct: Conduct) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let fake = Self { address, bodies: Arc::default(), requests: Arc::default() };
        let (bodies, requests) = (fake.bodies.clone(), fake.requests.clone());
        let count = Arc::new(AtomicUsize::new(0));
        // Prefixes that were seen, as a prompt cache would keep them.
        let cache: Arc<Mutex<Vec<String>>> = Arc::default();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (bodies, requests, count) = (bodies.clone(), requests.clone(), count.clone());
                let (conduct, cache) = (conduct.clone(), cache.clone());
                std::thread::spawn(move || {
                    let Some((line, headers, body)) = read(&stream) else { return };
                    let key = headers.get("authorization").cloned();
                    requests.lock().unwrap().push((line.clone(), key.clone()));
                    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
                    let generation = path == "/v1/chat/completions" || path == "/api/chat";
                    // A client that goes away is none of the server's business.
                    let _ = if generation {
                        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                        bodies.lock().unwrap().push(body.clone());
                        let n = count.fetch_add(1, Ordering::SeqCst);
                        let cached = cached(&cache, &body);
                        Reply { stream: &stream, program, conduct, body, n, key, cached }.send()
                    } else {
                        describe(&stream, program, &path)
                    };
                });
            }
        });
        fake
    }

    pub fn generations(&self) -> usize {
        self.bodies.lock().unwrap().len()
    }

    pub fn prompts(&self) -> Vec<String> {
        self.bodies.lock().unwrap().iter().map(prompt).collect()
    }
}

/// Words of the longest common beginning with an earlier prompt.
fn cached(cache: &Mutex<Vec<String>>, body: &Value) -> u32 {
    let text = prompt(body);
    let mut cache = cache.lock().unwrap();
    let common = |other: &String| {
        let same = other.split(' ').zip(text.split(' ')).take_while(|(a, b)| a == b);
        same.count() as u32
    };
    let longest = cache.iter().map(common).max().unwrap_or(0);
    cache.push(text);
    longest
}

fn prompt(body: &Value) -> String {
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    let texts: Vec<&str> = messages.iter().filter_map(|m| m["content"].as_str()).collect();
    texts.join(" ")
}

fn read(stream: &TcpStream) -> Option<(String, HashMap<String, String>, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((line.trim_end().to_owned(), headers, body))
}

fn answer(mut stream: &TcpStream, status: u16, headers: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

fn describe(stream: &TcpStream, program: Program, path: &str) -> std::io::Result<()> {
    let model = json!({ "id": MODEL, "object": "model", "owned_by": "someone" });
    let found = match (program, path) {
        (Program::Ollama, "/api/version") => Some(json!({ "version": "0.12.3" })),
        (Program::Ollama, "/api/tags") => {
            Some(json!({ "models": [{ "name": "smollm2:135m", "size": 98_000_000 }] }))
        }
        (Program::Ollama, "/api/show") => Some(json!({
            "details": { "quantization_level": "Q4_1", "format": "gguf" },
            "model_info": { "llama.context_length": 8192, "general.parameter_count": 134_515_008 },
        })),
        (Program::LlamaCpp, "/props") => Some(json!({
            "default_generation_settings": { "n_ctx": 4096 }, "total_slots": 2, "model_ftype": "Q4_1",
            "build_info": "b9999-abcdef",
        })),
        (Program::LmStudio, "/api/v0/models") => Some(json!({ "data": [
            { "id": "text-embedding", "type": "embeddings", "compatibility_type": "gguf", "state": "loaded" },
            { "id": MODEL, "type": "llm", "compatibility_type": "mlx", "quantization": "4bit", "state": "loaded",
              "loaded_context_length": 4096 },
            { "id": "another", "type": "llm", "compatibility_type": "gguf", "state": "not-loaded" },
        ] })),
        (Program::Ollama, _) => None,
        (_, "/v1/models") => Some(json!({ "object": "list", "data": [model] })),
        // LM Studio answers unknown paths with 200.
        (Program::LmStudio, _) => Some(json!({ "error": "Unexpected endpoint or method." })),
        _ => None,
    };
    match found {
        Some(json) => answer(stream, 200, "", &json.to_string()),
        None => answer(stream, 404, "", "{\"error\":\"not found\"}"),
    }
}

struct Reply<'s> {
    stream: &'s TcpStream,
    program: Program,
    conduct: Conduct,
    body: Value,
    n: usize,
    key: Option<String>,
    cached: u32,
}

impl Reply<'_> {
    fn send(&self) -> std::io::Result<()> {
        let mut stream = self.stream;
        match &self.conduct {
            Conduct::Status(status, body) => return answer(stream, *status, "", body),
            Conduct::EveryOther if self.n % 2 == 1 => {
                return answer(stream, 500, "", "{\"error\":{\"message\":\"out of memory\"}}");
            }
            Conduct::Redirect(to) => {
                return answer(stream, 307, &format!("Location: {to}\r\n"), "");
            }
            Conduct::Garbage => return stream.write_all(b"\x00\x01\x02 not HTTP at all\r\n\r\n"),
            Conduct::RepeatsKey => {
                let said =
                    format!("{{\"error\":\"bad key {}\"}}", self.key.as_deref().unwrap_or(""));
                return answer(stream, 401, "", &said);
            }
            _ => {}
        }
        let chunked = matches!(self.conduct, Conduct::CutOffChunked(_));
        let encoding = if chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
        let streamed = self.body["stream"].as_bool().unwrap_or(self.program == Program::Ollama);
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n{encoding}\r\n")?;
        match self.conduct {
            Conduct::HugeLine => loop {
                stream.write_all(&[b'x'; 8192])?;
            },
            Conduct::Comments => loop {
                stream.write_all(b": still here\n\n")?;
                std::thread::sleep(Duration::from_millis(5));
            },
            Conduct::EmptyPieces => loop {
                self.emit(&self.piece(""))?;
                std::thread::sleep(Duration::from_millis(5));
            },
            Conduct::Progress(time) => {
                let begin = std::time::Instant::now();
                while begin.elapsed() < time {
                    write!(stream, ": keepalive {}/9000\n\n", begin.elapsed().as_millis())?;
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            _ => {}
        }
        if streamed && self.conduct != Conduct::NeverStreams { self.tokens() } else { self.whole() }
    }

    fn wanted(&self) -> u32 {
        let options = [&self.body["max_tokens"], &self.body["options"]["num_predict"]];
        options.iter().find_map(|v| v.as_u64()).unwrap_or(16) as u32
    }

    fn emit(&self, value: &Value) -> std::io::Result<()> {
        let mut stream = self.stream;
        let text = match self.program {
            Program::Ollama => format!("{value}\n"),
            _ => format!("data: {value}\n\n"),
        };
        match self.conduct {
            Conduct::CutOffChunked(_) => write!(stream, "{:x}\r\n{text}\r\n", text.len()),
            _ => stream.write_all(text.as_bytes()),
        }?;
        stream.flush()
    }

    fn piece(&self, text: &str) -> Value {
        match self.program {
            Program::Ollama => json!({ "message": { "content": text }, "done": false }),
            _ => json!({ "choices": [{ "delta": { "content": text }, "finish_reason": null }] }),
        }
    }

    fn tokens(&self) -> std::io::Result<()> {
        let wanted = self.wanted();
        if let Conduct::HeldBack(time) = self.conduct {
            std::thread::sleep(time);
            let piece = format!("data: {}\n\n", self.piece("word "));
            let mut stream = self.stream;
            stream.write_all(piece.repeat(wanted as usize).as_bytes())?;
            return self.end();
        }
        let mut i = 0;
        if self.conduct == Conduct::HalfHeldBack {
            i = wanted / 2;
            let piece = format!("data: {}\n\n", self.piece("word "));
            let mut stream = self.stream;
            stream.write_all(piece.repeat(i as usize).as_bytes())?;
        }
        while i < wanted || self.conduct == Conduct::Endless {
            // Every model takes some time for a token.
            std::thread::sleep(Duration::from_millis(2));
            let mut bundle = 1;
            match &self.conduct {
                Conduct::Slow(pause) => std::thread::sleep(*pause),
                Conduct::Stall(at, pause) if *at == i => std::thread::sleep(*pause),
                Conduct::CutOff(at) | Conduct::CutOffChunked(at) if *at == i => return Ok(()),
                Conduct::WrongJson if i == 3 => {
                    let mut stream = self.stream;
                    stream.write_all(b"data: {\"choices\": [\n\n")?;
                }
                Conduct::WrongTypes if i == 3 => self.emit(&json!({ "choices": "none" }))?,
                Conduct::ErrorEvent if i == 3 => {
                    return self.emit(&json!({ "error": { "message": "the model crashed" } }));
                }
                Conduct::Bundled(n) => bundle = *n,
                _ => {}
            }
            self.emit(&self.piece(&"word ".repeat(bundle as usize)))?;
            i += bundle;
        }
        self.end()
    }

    fn counts(&self) -> (u32, u32) {
        let words = prompt(&self.body).split(' ').count() as u32;
        match self.conduct {
            Conduct::WrongCounts(p, g) => (p, g),
            Conduct::Truncate(n) => (words.min(n), self.wanted()),
            _ => (words, self.wanted()),
        }
    }

    fn end(&self) -> std::io::Result<()> {
        let (prompt, generated) = self.counts();
        let mut stream = self.stream;
        if self.program == Program::Ollama {
            let mut last =
                json!({ "message": { "content": "" }, "done": true, "done_reason": "length" });
            if self.conduct != Conduct::NoUsage {
                last["prompt_eval_count"] = json!(prompt);
                last["eval_count"] = json!(generated);
                last["load_duration"] = json!(1_500_000_000_u64);
                last["prompt_eval_duration"] = json!(50_000_000_u64);
                last["eval_duration"] = json!(u64::from(generated - 1) * 2_000_000);
            }
            return self.emit(&last);
        }
        self.emit(&json!({ "choices": [{ "delta": {}, "finish_reason": "length" }] }))?;
        if self.conduct != Conduct::NoUsage {
            let mut last = json!({ "choices": [], "usage": self.usage(prompt, generated) });
            if self.program == Program::LlamaCpp {
                last["timings"] = json!({
                    "cache_n": self.cached, "prompt_n": prompt.saturating_sub(self.cached), "prompt_ms": 50.0,
                    "predicted_n": generated, "predicted_ms": f64::from(generated - 1) * 2.0,
                });
            }
            self.emit(&last)?;
        }
        stream.write_all(b"data: [DONE]\n\n")
    }

    fn usage(&self, prompt: u32, generated: u32) -> Value {
        json!({
            "prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated,
            "prompt_tokens_details": { "cached_tokens": self.cached.min(prompt) },
        })
    }

    fn whole(&self) -> std::io::Result<()> {
        let (prompt, generated) = self.counts();
        let mut stream = self.stream;
        let text = "word ".repeat(self.wanted() as usize);
        let body = json!({
            "choices": [{ "message": { "content": text }, "finish_reason": "length" }],
            "usage": self.usage(prompt, generated),
        });
        stream.write_all(body.to_string().as_bytes())
    }
}
