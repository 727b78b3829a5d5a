//! An engine as people name it: `PROGRAM[@VERSION]`.

use super::{BadProgramName, Program, Version, VersionError};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A program, and its version where that is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineName {
    /// The program.
    pub program: Program,
    /// Its version.
    pub version: Option<Version>,
}

/// A text that names no engine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EngineNameError {
    /// What is no name of a program.
    #[error(transparent)]
    Program(#[from] BadProgramName),
    /// What is no version.
    #[error(transparent)]
    Version(#[from] VersionError),
}

impl FromStr for EngineName {
    type Err = EngineNameError;

    fn from_str(text: &str) -> Result<Self, EngineNameError> {
        let (program, version) = match text.split_once('@') {
            Some((program, version)) => (program, Some(version.parse()?)),
            None => (text, None),
        };
        Ok(Self { program: program.parse()?, version })
    }
}

/// As it is typed.
impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => f.pad(&format!("{}@{version}", self.program)),
            None => self.program.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_stands_behind_the_program() {
        let read = |text: &str| text.parse::<EngineName>().map(|e| (e.program, e.version));
        assert_eq!(read("mlx-lm@0.31.3"), Ok((Program::MlxLm, Some(Version::new(0, 31, 3)))));
        assert_eq!(
            read("llama.cpp@b9452"),
            Ok((Program::LlamaCpp, Some(Version::new(9452, 0, 0))))
        );
        assert_eq!(read("LM_Studio"), Ok((Program::LmStudio, None)));
        for text in ["mlx-lm@0.31.3", "llama.cpp@b9452", "lm-studio@2026-06-11", "ollama"] {
            assert_eq!(text.parse::<EngineName>().map(|e| e.to_string()), Ok(text.to_owned()));
        }
        for text in ["mlx-lm@", "@0.31.3", "mlx-lm@newest", ""] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
