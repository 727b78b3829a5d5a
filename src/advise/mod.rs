//! Answers built from predictions: what to run on a Mac, and which Mac to run it on.

pub mod macs;
pub mod recommend;

pub use macs::{MacChoice, macs_for};
pub use recommend::{Candidate, Question, Row, by_size, candidates, rows};
