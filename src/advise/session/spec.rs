//! A turn or a session as it is written down: `turns=40,system=6000,prompt=300,output=500,tool=1500`, or a TOML file with
//! the same keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use thiserror::Error;

/// Most turns of a session.
pub const MOST_TURNS: u32 = 1000;
/// Most tokens of anything.
const MOST_TOKENS: u32 = 16_777_216;
/// Longest time of tools in a turn, in seconds.
const LONGEST_S: f64 = 1e6;

/// A text or file that describes no turn and no session.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SessionSpecError {
    /// No key and value.
    #[error("'{part}' is no key=value; write {keys}")]
    NoPair {
        /// The part of the text.
        part: String,
        /// The keys, as they are written.
        keys: &'static str,
    },
    /// A key that there is not, or twice.
    #[error("'{key}' is no key of it, or stands twice; write {keys}")]
    Key {
        /// The key.
        key: String,
        /// The keys, as they are written.
        keys: &'static str,
    },
    /// A value that is no number or not within bounds.
    #[error("{key}={value}: {expected}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// Something that must be said is not.
    #[error("{key} is not said; write {keys}")]
    Missing {
        /// The key.
        key: &'static str,
        /// The keys, as they are written.
        keys: &'static str,
    },
    /// Parts that do not go together.
    #[error("{0}")]
    Together(String),
    /// A file that is no session.
    #[error(
        "{file}: {problem}\nhint: a session has the keys {SESSION_KEYS}, one a line, and [[turn]] for turns of their own"
    )]
    File {
        /// The file.
        file: String,
        /// What is wrong.
        problem: String,
    },
}

/// One turn.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct TurnSpec {
    /// Tokens of the whole prompt.
    pub prompt: u32,
    /// Tokens of it that a kept cache holds.
    pub cached: u32,
    /// Tokens generated.
    pub output: u32,
    /// Seconds of tools after the output.
    pub tools_s: f64,
}

/// A session of turns that grow.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionSpec {
    /// Turns.
    pub turns: u32,
    /// Tokens of the system prompt and the descriptions of tools, before the first turn.
    pub system: u32,
    /// Tokens that the user adds every turn.
    pub prompt: u32,
    /// Tokens generated every turn, thinking included.
    pub output: u32,
    /// Tokens of the output that the template removes from the history.
    pub thinking: u32,
    /// Tokens that tools add after every output.
    pub tool: u32,
    /// Seconds of tools every turn.
    #[serde(rename = "tools")]
    pub tools_s: f64,
    /// Longest time to first token that is acceptable, in seconds.
    #[serde(rename = "max_ttft")]
    pub max_ttft_s: Option<f64>,
    /// Turns that differ, from the first one on; what they do not say is as above.
    #[serde(rename = "turn", skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<OwnTurn>,
}

/// A turn that differs from the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OwnTurn {
    /// Tokens that the user adds.
    pub prompt: Option<u32>,
    /// Tokens generated.
    pub output: Option<u32>,
    /// Tokens of the output that the template removes.
    pub thinking: Option<u32>,
    /// Tokens that tools add.
    pub tool: Option<u32>,
    /// Seconds of tools.
    #[serde(rename = "tools")]
    pub tools_s: Option<f64>,
}

const TURN_KEYS: &str = "prompt=TOKENS[,cached=TOKENS][,output=TOKENS][,tools=SECONDS]";
const SESSION_KEYS: &str = "turns=N,prompt=TOKENS,output=TOKENS[,system=TOKENS][,tool=TOKENS][,thinking=TOKENS]\
                            [,tools=SECONDS][,max_ttft=SECONDS]";

/// Values by key, each said once.
struct Pairs<'t> {
    found: Vec<(&'t str, &'t str)>,
    keys: &'static str,
}

impl<'t> Pairs<'t> {
    fn of(text: &'t str, known: &[&str], keys: &'static str) -> Result<Self, SessionSpecError> {
        let mut found: Vec<(&str, &str)> = Vec::new();
        for part in text.split(',') {
            let no_pair = || SessionSpecError::NoPair { part: part.trim().to_owned(), keys };
            let (key, value) = part.split_once('=').ok_or_else(no_pair)?;
            let (key, value) = (key.trim(), value.trim());
            if !known.contains(&key) || found.iter().any(|(before, _)| *before == key) {
                return Err(SessionSpecError::Key { key: key.to_owned(), keys });
            }
            found.push((key, value));
        }
        Ok(Self { found, keys })
    }

    fn get(&self, key: &str) -> Option<&'t str> {
        self.found.iter().find(|(k, _)| *k == key).map(|(_, value)| *value)
    }

    fn number(&self, key: &'static str) -> Result<Option<u32>, SessionSpecError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let expected = "a whole number of at most 16777216";
        let wrong =
            || SessionSpecError::Value { key: key.to_owned(), value: value.to_owned(), expected };
        value.parse().ok().filter(|n| *n <= MOST_TOKENS).map(Some).ok_or_else(wrong)
    }

    fn needed(&self, key: &'static str) -> Result<u32, SessionSpecError> {
        self.number(key)?.ok_or(SessionSpecError::Missing { key, keys: self.keys })
    }

    fn seconds(&self, key: &'static str) -> Result<Option<f64>, SessionSpecError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let expected = "seconds, from 0 to 1000000";
        let wrong =
            || SessionSpecError::Value { key: key.to_owned(), value: value.to_owned(), expected };
        let within = |s: &f64| (0.0..=LONGEST_S).contains(s);
        value.parse().ok().filter(within).map(Some).ok_or_else(wrong)
    }
}

impl FromStr for TurnSpec {
    type Err = SessionSpecError;

    fn from_str(text: &str) -> Result<Self, SessionSpecError> {
        let pairs = Pairs::of(text, &["prompt", "cached", "output", "tools"], TURN_KEYS)?;
        let turn = Self {
            prompt: pairs.needed("prompt")?,
            cached: pairs.number("cached")?.unwrap_or(0),
            output: pairs.number("output")?.unwrap_or(256),
            tools_s: pairs.seconds("tools")?.unwrap_or(0.0),
        };
        if turn.cached >= turn.prompt {
            return Err(SessionSpecError::Together(format!(
                "prompt={} with cached={}: at least the last token of a prompt is read, so cached is less than prompt",
                turn.prompt, turn.cached
            )));
        }
        if turn.output == 0 {
            return Err(SessionSpecError::Together(
                "output=0: a turn generates at least one token".to_owned(),
            ));
        }
        Ok(turn)
    }
}

impl FromStr for SessionSpec {
    type Err = SessionSpecError;

    fn from_str(text: &str) -> Result<Self, SessionSpecError> {
        let known =
            ["turns", "system", "prompt", "output", "thinking", "tool", "tools", "max_ttft"];
        let pairs = Pairs::of(text, &known, SESSION_KEYS)?;
        Self {
            turns: pairs.needed("turns")?,
            system: pairs.number("system")?.unwrap_or(0),
            prompt: pairs.needed("prompt")?,
            output: pairs.needed("output")?,
            thinking: pairs.number("thinking")?.unwrap_or(0),
            tool: pairs.number("tool")?.unwrap_or(0),
            tools_s: pairs.seconds("tools")?.unwrap_or(0.0),
            max_ttft_s: pairs.seconds("max_ttft")?,
            own: Vec::new(),
        }
        .checked()
    }
}

impl SessionSpec {
    /// A session from the text of a TOML file with this name.
    ///
    /// # Errors
    /// Says where the file is no session.
    pub fn read(file: &str, text: &str) -> Result<Self, SessionSpecError> {
        let at = |problem: String| SessionSpecError::File { file: file.to_owned(), problem };
        let mut spec: Self = toml::from_str(text).map_err(|e| at(e.to_string()))?;
        let own = u32::try_from(spec.own.len()).unwrap_or(u32::MAX);
        if spec.turns == 0 {
            spec.turns = own;
        }
        if own > spec.turns {
            return Err(at(format!("{own} [[turn]] are more than turns = {}", spec.turns)));
        }
        spec.checked().map_err(|e| at(e.to_string()))
    }

    /// The turn of a number, from 0 on.
    #[must_use]
    pub fn turn(&self, number: usize) -> OwnTurn {
        let own = self.own.get(number).copied().unwrap_or_default();
        OwnTurn {
            prompt: own.prompt.or(Some(self.prompt)),
            output: own.output.or(Some(self.output)),
            thinking: own.thinking.or(Some(self.thinking)),
            tool: own.tool.or(Some(self.tool)),
            tools_s: own.tools_s.or(Some(self.tools_s)),
        }
    }

    fn checked(self) -> Result<Self, SessionSpecError> {
        let no = |text: String| Err(SessionSpecError::Together(text));
        if !(1..=MOST_TURNS).contains(&self.turns) {
            return no(format!("turns={}: a session has 1 to {MOST_TURNS} turns", self.turns));
        }
        let mut before = self.system;
        for number in 0..self.turns as usize {
            let OwnTurn { prompt, output, thinking, tool, tools_s } = self.turn(number);
            let [prompt, output, thinking, tool] =
                [prompt, output, thinking, tool].map(Option::unwrap_or_default);
            let at = number + 1;
            if before.saturating_add(prompt) == 0 {
                return no(format!(
                    "turn {at} adds no token: say prompt, or system for the first one"
                ));
            }
            if output == 0 {
                return no(format!("turn {at}: output=0, but a turn generates at least one token"));
            }
            if thinking > output {
                return no(format!("turn {at}: thinking={thinking} is more than output={output}"));
            }
            if [prompt, output, tool].iter().any(|n| *n > MOST_TOKENS) || self.system > MOST_TOKENS
            {
                return no(format!("turn {at}: more than {MOST_TOKENS} tokens"));
            }
            if !(0.0..=LONGEST_S).contains(&tools_s.unwrap_or_default()) {
                return no(format!("turn {at}: tools is seconds, from 0 to 1000000"));
            }
            before = tool;
        }
        if self.max_ttft_s.is_some_and(|s| !(s > 0.0 && s <= LONGEST_S)) {
            return no("max_ttft is more than 0 seconds".to_owned());
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_its_keys_in_any_order() {
        let turn = "cached=6000, output=400,prompt=8000,tools=1.5".parse::<TurnSpec>();
        let expected = TurnSpec { prompt: 8000, cached: 6000, output: 400, tools_s: 1.5 };
        assert_eq!(turn, Ok(expected));
        for (text, says) in [
            ("8000", "key=value"),
            ("prompt=1,prompt=2", "twice"),
            ("prompt=1,depth=2", "'depth' is no key"),
            ("cached=1", "prompt is not said"),
            ("prompt=100,cached=100", "less than prompt"),
            ("prompt=-1", "whole number"),
            ("prompt=9,tools=x", "seconds"),
            ("prompt=9,output=0", "at least one token"),
        ] {
            let error = text.parse::<TurnSpec>().expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_session_is_one_line_or_a_file() {
        let line: SessionSpec =
            "turns=3,system=6000,prompt=300,output=500,tool=1500".parse().expect("a session");
        let file = "turns = 3\nsystem = 6000\nprompt = 300\noutput = 500\ntool = 1500\n";
        assert_eq!(SessionSpec::read("s.toml", file), Ok(line.clone()));
        let own = format!("{file}[[turn]]\noutput = 900\ntools = 2.5\n");
        let own = SessionSpec::read("s.toml", &own).expect("a session");
        assert_eq!((own.turn(0).output, own.turn(0).tools_s), (Some(900), Some(2.5)));
        assert_eq!(own.turn(1).output, Some(500));
        let error = SessionSpec::read("s.toml", "turn = 3\n").expect_err("no list").to_string();
        assert!(error.starts_with("s.toml: ") && error.contains("hint"), "{error}");
        for (text, says) in [
            ("turns=0,prompt=1,output=1", "1 to 1000"),
            ("turns=2,prompt=0,output=1,system=9", "adds no token"),
            ("turns=2,prompt=1,output=1,thinking=2", "more than output"),
            ("turns=2,prompt=1,output=1,max_ttft=0", "more than 0"),
            ("turns=2,output=1", "prompt is not said"),
        ] {
            let error = text.parse::<SessionSpec>().expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
