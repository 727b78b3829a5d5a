//! Chat completions as OpenAI defined them, with llama.cpp's `timings`.

use super::client::Client;
use super::discover::{ServerInfo, ServerKind};
use super::error::{HttpError, reported, shorten};
use super::sse::Events;
use crate::bench::generation::{CountSource, Counts, Generation, OwnTimings, Prompt};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Instant;

const PATH: &str = "/v1/chat/completions";

/// A whole answer, or one piece of a stream. Unknown keys are of no interest; wrong types are errors.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    timings: Option<Timings>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    system_fingerprint: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Option<Content>,
    #[serde(default)]
    message: Option<Content>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    finish_reason: Option<String>,
}

/// Text of a message; models that think send their thoughts under one of two other names.
#[derive(Debug, Default, Deserialize)]
struct Content {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u32>,
    #[serde(default)]
    completion_tokens: Option<u32>,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
}

#[derive(Debug, Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u32>,
}

/// `timings` of llama.cpp's server: milliseconds and counts.
#[derive(Debug, Deserialize)]
struct Timings {
    #[serde(default)]
    cache_n: Option<u32>,
    #[serde(default)]
    prompt_n: Option<u32>,
    #[serde(default)]
    prompt_ms: Option<f64>,
    #[serde(default)]
    predicted_n: Option<u32>,
    #[serde(default)]
    predicted_ms: Option<f64>,
}

impl Content {
    fn text(&self) -> String {
        let parts = [&self.reasoning_content, &self.reasoning, &self.content];
        parts.into_iter().flatten().map(String::as_str).collect()
    }
}

/// The request body for a server of this kind.
fn body(info: &ServerInfo, prompt: &Prompt) -> Value {
    let message = |(role, text): &(crate::bench::generation::ChatRole, String)| json!({ "role": role.name(), "content": text });
    let mut body = Map::new();
    if let Some(model) = &info.model.request_name {
        body.insert("model".to_owned(), json!(model));
    }
    body.insert("messages".to_owned(), prompt.messages.iter().map(message).collect());
    body.insert("max_tokens".to_owned(), json!(prompt.max_tokens));
    body.insert("temperature".to_owned(), json!(prompt.temperature));
    body.insert("stream".to_owned(), json!(prompt.stream));
    if prompt.stream {
        body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    // Extensions of these two; others may refuse a key they do not know.
    if prompt.ignore_eos && matches!(info.kind, ServerKind::LlamaCpp | ServerKind::Vllm) {
        body.insert("ignore_eos".to_owned(), json!(true));
    }
    Value::Object(body)
}

pub(super) fn generate(
    client: &Client,
    info: &ServerInfo,
    prompt: &Prompt,
) -> Result<Generation, HttpError> {
    let lines = client.post(PATH, &body(info, prompt))?;
    let started = lines.started;
    let mut seen = Seen { started, out: Generation::default(), limit: prompt.max_tokens };
    if !prompt.stream {
        let (bytes, end) = lines.rest_timed()?;
        let answer = serde_json::from_slice(&bytes)
            .map_err(|e| HttpError::Protocol(format!("no chat completion ({e})")))?;
        seen.answer(answer, end, false)?;
        seen.out.total_s = seconds(started, end);
        return seen.done(true);
    }
    let mut events = Events::new(lines);
    let mut done = false;
    let mut last = started;
    while let Some(event) = events.next_event()? {
        last = event.at;
        if event.data == "[DONE]" {
            done = true;
            break;
        }
        if event.is_error {
            let said = super::error::message(&event.data);
            return Err(HttpError::Reported(events.lines.hide_key(said)));
        }
        let before = seen.out.text.len();
        let answer: Answer = serde_json::from_str(&event.data).map_err(|e| {
            let text = events.lines.hide_key(shorten(&event.data));
            HttpError::Protocol(format!("an event is no chat completion chunk ({e}): {text}"))
        })?;
        seen.answer(answer, event.at, true).map_err(|e| match e {
            HttpError::Reported(text) => HttpError::Reported(events.lines.hide_key(text)),
            other => other,
        })?;
        if seen.out.text.len() > before {
            events.lines.heard(event.at);
        }
    }
    seen.out.total_s = seconds(started, last);
    seen.done(done)
}

/// What has been seen of an answer.
struct Seen {
    started: Instant,
    out: Generation,
    limit: u32,
}

impl Seen {
    fn answer(&mut self, answer: Answer, at: Instant, streamed: bool) -> Result<(), HttpError> {
        if let Some(text) = answer.error.as_ref().and_then(reported) {
            return Err(HttpError::Reported(shorten(&text)));
        }
        let at = seconds(self.started, at);
        let out = &mut self.out;
        for choice in answer.choices.into_iter().flatten() {
            let content = choice.delta.or(choice.message).unwrap_or_default();
            let text = content.text() + choice.text.as_deref().unwrap_or_default();
            if !text.is_empty() {
                out.text.push_str(&text);
                if streamed {
                    out.arrivals_s.push(at);
                }
            }
            if let Some(reason) = choice.finish_reason {
                out.finish_reason = Some(reason);
                out.finished_s = Some(at);
            }
        }
        out.model = answer.model.or(out.model.take());
        out.fingerprint = answer.system_fingerprint.or(out.fingerprint.take());
        if let Some(t) = answer.timings {
            self.timings(&t);
        }
        if let Some(usage) = answer.usage {
            self.usage(usage);
        }
        // An endless answer is given up long before the limit in bytes.
        let most = (self.limit as usize).saturating_mul(4).saturating_add(1024);
        if self.out.arrivals_s.len() > most {
            let what = "the number of pieces of the answer";
            return Err(HttpError::TooLong { what, limit: most as u64 });
        }
        Ok(())
    }

    fn usage(&mut self, usage: Usage) {
        let counts = &mut self.out.counts;
        let earlier = counts.generated;
        let details = usage.prompt_tokens_details.and_then(|d| d.cached_tokens);
        *counts = Counts {
            prompt: usage.prompt_tokens.or(counts.prompt),
            cached: details.or(counts.cached),
            generated: usage.completion_tokens.or(earlier),
            source: Some(CountSource::Usage),
        };
    }

    fn timings(&mut self, t: &Timings) {
        let out = &mut self.out;
        out.other_generated = t.predicted_n.or(out.other_generated);
        if out.counts.source != Some(CountSource::Usage) {
            let prompt = t.prompt_n.map(|n| n.saturating_add(t.cache_n.unwrap_or(0)));
            out.counts = Counts {
                // Without `cache_n` (older versions) `prompt_n` leaves out an unknown number of cached tokens.
                prompt: t.cache_n.and(prompt),
                cached: t.cache_n,
                generated: t.predicted_n,
                source: Some(CountSource::Timings),
            };
        }
        let s = |ms: Option<f64>| ms.filter(|v| v.is_finite() && *v >= 0.0).map(|v| v / 1e3);
        out.own = OwnTimings {
            load_s: None,
            prefill_tokens: t.prompt_n,
            prefill_s: s(t.prompt_ms),
            decode_tokens: t.predicted_n,
            decode_s: s(t.predicted_ms),
        };
        if out.counts.cached.is_none() {
            out.counts.cached = t.cache_n;
        }
    }

    /// A stream must say that it is complete: by `[DONE]`, or by a reason for the end.
    fn done(self, done: bool) -> Result<Generation, HttpError> {
        if !done && self.out.finish_reason.is_none() {
            return Err(HttpError::Cut(format!(
                "the stream ended after {} pieces without a finish_reason or [DONE]",
                self.out.arrivals_s.len()
            )));
        }
        Ok(self.out)
    }
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64()
}
