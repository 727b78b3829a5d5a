//! Requests with bounds on time and size, and the arrival time of every line.

use super::address::Address;
use super::error::{HttpError, message, shorten};
use crate::http::{self, ReadProblem, chain};
use reqwest::StatusCode;
use reqwest::blocking::{Client as Http, Response};
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, LOCATION, SERVER};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Bounds on what a server may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time to open a connection.
    pub connect: Duration,
    /// Longest time without a byte, and without text or progress: signs of life alone do not prolong a request.
    pub silence: Duration,
    /// Longest time of a whole request.
    pub total: Duration,
    /// Longest time of the small requests that ask what the server is.
    pub question: Duration,
    /// Longest line of a stream, in bytes.
    pub line_bytes: u64,
    /// Longest answer, in bytes.
    pub answer_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            silence: Duration::from_secs(600),
            total: Duration::from_secs(1800),
            question: Duration::from_secs(20),
            // llama.cpp repeats the prompt in the last event; 128k tokens are about 0.6 MB.
            line_bytes: 8 << 20,
            answer_bytes: 256 << 20,
        }
    }
}

/// A key that is sent to a server and shown nowhere.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key in an environment variable, if it is set and not empty.
    #[must_use]
    pub fn from_env(variable: &str) -> Option<Self> {
        std::env::var(variable)
            .ok()
            .map(|k| k.trim().to_owned())
            .filter(|k| !k.is_empty())
            .map(Self)
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// Client of one server.
#[derive(Debug)]
pub(super) struct Client {
    http: Http,
    address: Address,
    key: Option<ApiKey>,
    limits: Limits,
}

/// Answer to a small question.
#[derive(Debug)]
pub(super) struct BriefReply {
    pub json: Value,
    /// The `Server` header.
    pub server: Option<String>,
}

/// A line of an answer.
#[derive(Debug)]
pub(super) struct StreamLine {
    pub text: String,
    /// When its last byte was read.
    pub at: Instant,
}

/// An answer that is read line by line.
pub(super) struct Lines {
    response: Response,
    /// When the request was sent.
    pub started: Instant,
    key: Option<ApiKey>,
    limits: Limits,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are known to hold no line break.
    searched: usize,
    read: u64,
    at: Instant,
    /// When text or progress was last seen.
    news: Instant,
    ended: bool,
}

impl Client {
    pub fn new(address: Address, key: Option<ApiKey>, limits: Limits) -> Result<Self, HttpError> {
        if key.is_some() && !address.is_private() {
            return Err(HttpError::PlainKey(address.host().to_owned()));
        }
        let builder = http::client(limits.connect, limits.silence, address.is_loopback());
        let http = builder.tcp_nodelay(true).build().map_err(|e| HttpError::Setup(chain(&e)))?;
        Ok(Self { http, address, key, limits })
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Asks for a small JSON document. `None` when the server has no such path or answers with something else.
    pub fn question(&self, path: &str) -> Result<Option<BriefReply>, HttpError> {
        let request = self.http.get(self.address.join(path));
        self.small(request)
    }

    /// The same with a body.
    pub fn ask(&self, path: &str, body: &Value) -> Result<Option<Value>, HttpError> {
        let request = self.http.post(self.address.join(path)).body(body.to_string());
        Ok(self.small(request)?.map(|r| r.json))
    }

    fn small(
        &self,
        request: reqwest::blocking::RequestBuilder,
    ) -> Result<Option<BriefReply>, HttpError> {
        let started = Instant::now();
        let request = self.with_headers(request).timeout(self.limits.question);
        let response = request.send().map_err(|e| self.classify(&e, started))?;
        // llama.cpp listens while it loads its model.
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            return Err(HttpError::NotReady(self.address.to_string()));
        }
        if !response.status().is_success() {
            return Ok(None);
        }
        let limits = Limits {
            answer_bytes: 4 << 20,
            total: self.limits.question,
            silence: self.limits.question,
            ..self.limits
        };
        let server = response.headers().get(SERVER).and_then(|s| s.to_str().ok()).map(shorten);
        let body = Lines::new(response, started, self.key.clone(), limits).rest()?;
        Ok(serde_json::from_slice(&body).ok().map(|json| BriefReply { json, server }))
    }

    /// Sends a request whose answer is timed.
    pub fn post(&self, path: &str, body: &Value) -> Result<Lines, HttpError> {
        // Encoding the body belongs to no measurement.
        let request = self.http.post(self.address.join(path)).body(body.to_string());
        let request = self.with_headers(request);
        let started = Instant::now();
        let response = request.send().map_err(|e| self.classify(&e, started))?;
        let status = response.status();
        if status.is_redirection() {
            let target = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
            let target = target.map_or_else(|| "an unknown place".to_owned(), http::shown);
            return Err(HttpError::Redirect(shorten(&target)));
        }
        let lines = Lines::new(response, started, self.key.clone(), self.limits);
        if status.is_success() {
            return Ok(lines);
        }
        let key = self.key.clone();
        // What is wrong with the error's text matters less than the error.
        let body = Lines { limits: Limits { answer_bytes: 64 << 10, ..lines.limits }, ..lines };
        let body = body.rest().unwrap_or_default();
        let message = hide(message(&String::from_utf8_lossy(&body)), key.as_ref());
        Err(HttpError::Status { status: status.as_u16(), message })
    }

    fn with_headers(
        &self,
        request: reqwest::blocking::RequestBuilder,
    ) -> reqwest::blocking::RequestBuilder {
        let request =
            request.header(CONTENT_TYPE, "application/json").header(ACCEPT_ENCODING, "identity");
        match &self.key {
            Some(key) => request.header(AUTHORIZATION, format!("Bearer {}", key.0)),
            None => request,
        }
    }

    fn classify(&self, error: &reqwest::Error, started: Instant) -> HttpError {
        if error.is_timeout() && !error.is_connect() {
            return HttpError::Silent(self.limits.silence.min(started.elapsed()));
        }
        match error.is_connect() {
            true => {
                let address = self.address.to_string();
                HttpError::Connect { address, problem: chain(error) }
            }
            false => HttpError::Cut(chain(error)),
        }
    }
}

impl Lines {
    fn new(response: Response, started: Instant, key: Option<ApiKey>, limits: Limits) -> Self {
        let at = Instant::now();
        Self {
            response,
            started,
            key,
            limits,
            buffer: Vec::new(),
            searched: 0,
            read: 0,
            at,
            news: started,
            ended: false,
        }
    }

    /// The next line without its line break; `None` at the end.
    pub fn next_line(&mut self) -> Result<Option<StreamLine>, HttpError> {
        loop {
            let found = self.buffer.iter().skip(self.searched).position(|&b| b == b'\n');
            if let Some(offset) = found {
                let end = self.searched + offset;
                let rest = self.buffer.split_off(end + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                return Ok(Some(self.line(line)));
            }
            self.searched = self.buffer.len();
            if self.searched as u64 > self.limits.line_bytes {
                let limit = self.limits.line_bytes;
                return Err(HttpError::TooLong { what: "a line of the answer", limit });
            }
            if self.ended {
                let line = std::mem::take(&mut self.buffer);
                self.searched = 0;
                return Ok((!line.is_empty()).then(|| self.line(line)));
            }
            self.still_alive()?;
            self.fill()?;
        }
    }

    /// What arrived at `at` was text, or told of progress.
    pub fn heard(&mut self, at: Instant) {
        self.news = at;
    }

    /// A server may send comments or empty pieces for ever, although nothing comes of them.
    fn still_alive(&self) -> Result<(), HttpError> {
        match self.at.saturating_duration_since(self.news) > self.limits.silence {
            true => Err(HttpError::Idle(self.limits.silence)),
            false => Ok(()),
        }
    }

    /// Everything up to the end.
    pub fn rest(mut self) -> Result<Vec<u8>, HttpError> {
        while !self.ended {
            self.fill()?;
        }
        Ok(self.buffer)
    }

    /// Everything up to the end, and when the end was reached.
    pub fn rest_timed(mut self) -> Result<(Vec<u8>, Instant), HttpError> {
        while !self.ended {
            self.fill()?;
        }
        Ok((self.buffer, self.at))
    }

    /// A text of the server without the key, should it repeat it.
    pub fn hide_key(&self, text: String) -> String {
        hide(text, self.key.as_ref())
    }

    fn line(&self, mut bytes: Vec<u8>) -> StreamLine {
        while matches!(bytes.last(), Some(b'\n' | b'\r')) {
            bytes.pop();
        }
        StreamLine { text: String::from_utf8_lossy(&bytes).into_owned(), at: self.at }
    }

    fn fill(&mut self) -> Result<(), HttpError> {
        let mut space = [0_u8; 16 * 1024];
        let deadline = self.started + self.limits.total;
        match http::read(&mut self.response, &mut space, deadline) {
            Ok(0) => self.ended = true,
            Ok(n) => {
                self.at = Instant::now();
                self.buffer.extend(space.iter().take(n));
                self.read += n as u64;
                if self.read > self.limits.answer_bytes {
                    let limit = self.limits.answer_bytes;
                    return Err(HttpError::TooLong { what: "the answer", limit });
                }
            }
            Err(ReadProblem::Deadline) => return Err(HttpError::Deadline(self.limits.total)),
            Err(ReadProblem::Silent) => return Err(HttpError::Silent(self.limits.silence)),
            Err(ReadProblem::Broken(text)) => return Err(HttpError::Cut(text)),
        }
        Ok(())
    }
}

fn hide(text: String, key: Option<&ApiKey>) -> String {
    match key {
        Some(key) => text.replace(&key.0, "…"),
        None => text,
    }
}
