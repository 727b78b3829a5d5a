//! Server-sent events (WHATWG HTML, section 9.2), as far as engines use them, and forgiving where they deviate.

use super::client::{Lines, StreamLine};
use super::error::HttpError;
use std::time::Instant;

/// The data of one event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub data: String,
    /// When its first data line was complete.
    pub at: Instant,
    /// Named `error`, as LM Studio does for errors within a stream.
    pub is_error: bool,
}

/// Collects lines into events.
#[derive(Default)]
struct Pending {
    data: Option<(String, Instant)>,
    name: String,
    /// The most tokens of the prompt that a comment called processed.
    processed: u64,
    /// When a comment last told of more.
    progress: Option<Instant>,
}

/// Tokens that a comment such as mlx_lm.server's `keepalive 512/2048` calls processed.
fn processed(comment: &str) -> Option<u64> {
    let (before, after) = comment.split_once('/')?;
    after.trim_start().starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
    before.trim_end().rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl Pending {
    /// Takes a line; an empty one completes the event.
    fn line(&mut self, line: StreamLine) -> Option<Event> {
        if line.text.is_empty() {
            return self.complete();
        }
        // A server that does not stream answers with one JSON object, an error perhaps.
        if line.text.starts_with('{') && self.data.is_none() {
            return Some(Event { data: line.text, at: line.at, is_error: false });
        }
        let (field, value) = line.text.split_once(':').unwrap_or((&line.text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                Some((data, _)) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some((value.to_owned(), line.at)),
            },
            "event" => self.name = value.to_owned(),
            // A comment is a sign of life, and worth waiting for where its number grows.
            "" => {
                if let Some(more) = processed(value).filter(|&n| n > self.processed) {
                    (self.processed, self.progress) = (more, Some(line.at));
                }
            }
            // `id` and `retry` mean nothing here.
            _ => {}
        }
        None
    }

    fn complete(&mut self) -> Option<Event> {
        let is_error = std::mem::take(&mut self.name) == "error";
        let (data, at) = self.data.take()?;
        Some(Event { data, at, is_error })
    }
}

/// The events of an answer.
pub(super) struct Events {
    pub lines: Lines,
    pending: Pending,
}

impl Events {
    pub fn new(lines: Lines) -> Self {
        Self { lines, pending: Pending::default() }
    }

    /// The next event; `None` at the end. An event whose closing empty line is missing at the end counts too.
    pub fn next_event(&mut self) -> Result<Option<Event>, HttpError> {
        while let Some(line) = self.lines.next_line()? {
            let event = self.pending.line(line);
            if let Some(at) = self.pending.progress.take() {
                self.lines.heard(at);
            }
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(self.pending.complete())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<(String, bool)> {
        let mut pending = Pending::default();
        let at = Instant::now();
        let lines = text.lines().map(|l| StreamLine { text: l.to_owned(), at });
        let mut found: Vec<Event> = lines.filter_map(|l| pending.line(l)).collect();
        found.extend(pending.complete());
        found.into_iter().map(|e| (e.data, e.is_error)).collect()
    }

    #[test]
    fn events_come_apart_at_empty_lines() {
        let plain = |s: &str| (s.to_owned(), false);
        assert_eq!(events("data: {\"a\":1}\n\ndata:{}\n\n"), [plain("{\"a\":1}"), plain("{}")]);
        assert_eq!(events("data: a\r\n\r\ndata: [DONE]"), [plain("a"), plain("[DONE]")]);
        assert_eq!(events(": keepalive 512/2048\n\n: ping\n\ndata: x\n\n"), [plain("x")]);
        assert_eq!(events("data: one\ndata: two\n\n"), [plain("one\ntwo")]);
        assert_eq!(events("id: 3\nretry: 10\n\n\n\n"), []);
        assert_eq!(
            events("event: error\ndata: bad\n\ndata: x\n\n"),
            [("bad".to_owned(), true), plain("x")]
        );
        assert_eq!(events("data\n\n"), [plain("")]);
        assert_eq!(events("{\"error\":\"x\"}"), [plain("{\"error\":\"x\"}")]);
    }

    #[test]
    fn progress_is_a_number_that_grows() {
        assert_eq!(processed(" keepalive 512/2048"), Some(512));
        assert_eq!(processed("processing: 7 / 9 tokens"), Some(7));
        for none in
            ["ping", "ping - 2026-11-30 14:00:00", "and/or", "1/x", "99999999999999999999/1"]
        {
            assert_eq!(processed(none), None, "{none}");
        }
        let mut pending = Pending::default();
        let mut told = |text: &str| {
            pending.line(StreamLine { text: text.to_owned(), at: Instant::now() });
            pending.progress.take().is_some()
        };
        assert!(told(": keepalive 512/2048"));
        assert!(!told(": keepalive 512/2048"));
        assert!(!told(": ping"));
        assert!(told(": keepalive 1024/2048"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "(data|event|:|\n|\r|[ a-z{}\"]){0,60}") {
            events(&text);
        }
    }
}
