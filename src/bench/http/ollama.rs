//! Ollama's native API: newline-delimited JSON, counters in nanoseconds.

use super::client::Client;
use super::discover::ServerInfo;
use super::error::{HttpError, reported, shorten};
use crate::bench::generation::{CountSource, Counts, Generation, OwnTimings, Prompt};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
struct Piece {
    #[serde(default)]
    message: Option<Message>,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    done_reason: Option<String>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    load_duration: Option<u64>,
    #[serde(default)]
    prompt_eval_count: Option<u32>,
    #[serde(default)]
    prompt_eval_duration: Option<u64>,
    #[serde(default)]
    eval_count: Option<u32>,
    #[serde(default)]
    eval_duration: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
}

pub(super) fn generate(
    client: &Client,
    info: &ServerInfo,
    prompt: &Prompt,
) -> Result<Generation, HttpError> {
    let messages: Vec<Value> = prompt
        .messages
        .iter()
        .map(|(role, text)| json!({ "role": role.name(), "content": text }))
        .collect();
    let mut options =
        json!({ "num_predict": prompt.max_tokens, "temperature": prompt.temperature });
    if let Some(context) = prompt.context_tokens {
        options["num_ctx"] = json!(context);
    }
    let body = json!({
        "model": info.model.request_name, "messages": messages, "stream": prompt.stream, "options": options,
    });
    let mut lines = client.post("/api/chat", &body)?;
    let started = lines.started;
    let mut out = Generation::default();
    let most = (prompt.max_tokens as usize).saturating_mul(4).saturating_add(1024);
    let mut done = false;
    while let Some(line) = lines.next_line()? {
        if line.text.trim().is_empty() {
            continue;
        }
        let piece: Piece = serde_json::from_str(&line.text).map_err(|e| {
            let text = lines.hide_key(shorten(&line.text));
            HttpError::Protocol(format!("a line is no answer of Ollama's chat API ({e}): {text}"))
        })?;
        if let Some(text) = piece.error.as_ref().and_then(reported) {
            return Err(HttpError::Reported(lines.hide_key(shorten(&text))));
        }
        let at = line.at.saturating_duration_since(started).as_secs_f64();
        let message = piece.message.unwrap_or_default();
        let text = message.thinking.unwrap_or_default() + &message.content.unwrap_or_default();
        if !text.is_empty() {
            out.text.push_str(&text);
            lines.heard(line.at);
            if prompt.stream {
                out.arrivals_s.push(at);
            }
        }
        if out.arrivals_s.len() > most {
            let what = "the number of pieces of the answer";
            return Err(HttpError::TooLong { what, limit: most as u64 });
        }
        out.model = piece.model.or(out.model);
        out.total_s = at;
        if piece.done {
            out.finish_reason = Some(piece.done_reason.unwrap_or_else(|| "stop".to_owned()));
            out.finished_s = Some(at);
            out.counts = Counts {
                prompt: piece.prompt_eval_count,
                cached: None,
                generated: piece.eval_count,
                source: piece.eval_count.map(|_| CountSource::Ollama),
            };
            let s = |ns: Option<u64>| ns.map(|n| n as f64 / 1e9);
            out.own = OwnTimings {
                load_s: s(piece.load_duration),
                prefill_tokens: piece.prompt_eval_count,
                prefill_s: s(piece.prompt_eval_duration),
                decode_tokens: piece.eval_count,
                decode_s: s(piece.eval_duration),
            };
            done = true;
            break;
        }
    }
    match done {
        true => Ok(out),
        false => Err(HttpError::Cut(format!(
            "the stream ended after {} pieces without \"done\": true",
            out.arrivals_s.len()
        ))),
    }
}

/// Removes the model from memory: a request without messages that keeps it for no time.
pub(super) fn unload(client: &Client, info: &ServerInfo) -> Result<(), HttpError> {
    let body = json!({ "model": info.model.request_name, "messages": [], "keep_alive": 0 });
    client.post("/api/chat", &body)?.rest().map(|_| ())
}
