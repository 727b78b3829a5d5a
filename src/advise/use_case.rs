//! What a model is wanted for: how long prompts are, how fast it must be, what it must be able to take.

use crate::run::{Images, Run};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// What a model is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UseCase {
    /// Questions and answers.
    Chat,
    /// Programs, with files in the prompt.
    Code,
    /// Tools in a loop, with long prompts that grow.
    Agent,
    /// Pictures.
    Vision,
    /// Whole books and repositories in the prompt.
    LongContext,
}

/// Which lengths of a run somebody gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenLengths {
    /// That of the prompt.
    pub context: bool,
    /// That of the output.
    pub generate: bool,
}

impl UseCase {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Chat, Self::Code, Self::Agent, Self::Vision, Self::LongContext];

    /// The word on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Code => "code",
            Self::Agent => "agent",
            Self::Vision => "vision",
            Self::LongContext => "long-context",
        }
    }

    /// Tokens of a usual prompt, and generated.
    #[must_use]
    pub const fn tokens(self) -> [u32; 2] {
        match self {
            Self::Chat => [4_096, 512],
            Self::Code => [16_384, 1_024],
            Self::Agent => [32_768, 1_024],
            Self::Vision => [2_048, 512],
            Self::LongContext => [65_536, 512],
        }
    }

    /// Tokens per second below which it is felt as slow: people read some five a second, programs wait for agents.
    #[must_use]
    pub const fn least_tok_s(self) -> f64 {
        match self {
            Self::Chat | Self::Vision => 8.0,
            Self::Code => 15.0,
            Self::Agent => 20.0,
            Self::LongContext => 5.0,
        }
    }

    /// The run that it makes of one, in which what was given stays.
    #[must_use]
    pub fn run(self, run: Run, given: GivenLengths) -> Run {
        let [context, generated] = self.tokens();
        let mut run = run;
        if !given.context {
            run = run.with_context(context);
        }
        if !given.generate {
            run = run.with_generated(generated);
        }
        if self == Self::Vision && run.work.images.is_none() {
            run = run.with_images("1".parse::<Images>().ok());
        }
        run
    }
}

impl fmt::Display for UseCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no use of a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("choose from chat, code, agent, vision, long-context")]
pub struct UnknownUse;

impl FromStr for UseCase {
    type Err = UnknownUse;

    fn from_str(text: &str) -> Result<Self, UnknownUse> {
        Self::ALL.into_iter().find(|u| u.name() == text).ok_or(UnknownUse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_of_the_run_stays() {
        let given = GivenLengths { context: true, generate: false };
        // Even where it is the default.
        for context in [9_000, Run::default().work.context_tokens] {
            let run = UseCase::Agent.run(Run::default().with_context(context), given);
            assert_eq!((run.work.context_tokens, run.work.generate_tokens), (context, 1_024));
        }
        let run = UseCase::Vision.run(Run::default(), GivenLengths::default());
        assert!(run.work.images.is_some_and(|images| images.count == 1));
        assert_eq!("long-context".parse(), Ok(UseCase::LongContext));
        assert_eq!("poetry".parse::<UseCase>(), Err(UnknownUse));
    }
}
