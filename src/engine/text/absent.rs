//! In place of a tokenizer, in builds without the feature `tokenizer`: there is never one.

use super::{Chat, TextError};
use std::path::PathBuf;

/// A tokenizer that cannot exist.
pub enum Absent {}

impl Absent {
    pub fn read(_: &[u8], _: PathBuf) -> Result<Self, TextError> {
        Err(TextError::LeftOut)
    }

    pub fn token(&self, _: &str) -> Option<u32> {
        match *self {}
    }

    pub fn encode(&self, _: &str, _: bool) -> Result<Vec<u32>, TextError> {
        match *self {}
    }

    pub fn decode(&self, _: &[u32]) -> Result<String, TextError> {
        match *self {}
    }

    pub fn chat(&self, _: &str, _: &Chat<'_>) -> Result<String, TextError> {
        match *self {}
    }
}
