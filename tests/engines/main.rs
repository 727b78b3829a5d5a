//! Engines behind HTTP: a server written for the tests that misbehaves, and real ones.

mod cli;
mod fake;
mod hostile;
mod scenarios;
