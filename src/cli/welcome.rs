//! Bare `mlxplan`: this machine and what it can run, or what to try where it is no Mac.

use crate::report::{Answer, Document, Present};
use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

/// The object `mlxplan.welcome/1`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Welcome {
    /// What `probe` says.
    this: Answer,
    /// What `recommend` says; `null` where this machine cannot be planned for.
    recommendation: Option<Answer>,
    /// Why it cannot.
    #[serde(skip)]
    why: Option<String>,
}

impl Welcome {
    /// The answers of `probe` and `recommend` as one.
    pub fn new(this: Answer, recommendation: Result<Answer>) -> Self {
        let (recommendation, why) = match recommendation {
            Ok(answer) => (Some(answer), None),
            Err(why) => (None, Some(why.to_string())),
        };
        Self { this, recommendation, why }
    }
}

impl Present for Welcome {
    const SCHEMA: &'static str = "mlxplan.welcome/1";

    fn document(&self) -> Document {
        let mut d = self.this.document();
        if let Some(answer) = &self.recommendation {
            d.blocks.extend(answer.document().blocks);
        }
        if let Some(why) = &self.why {
            d.text(format!("{why}. Name a Mac to plan for it:"));
        }
        d.code(
            "mlxplan recommend --model 32B-4bit --mac m4max-40/128\n\
             mlxplan predict --model qwen3-32b-4bit --mac m4max-40/64 --context 32768\n\
             mlxplan inspect qwen3-30b-a3b-4bit\n\
             mlxplan --help",
        );
        d
    }
}
