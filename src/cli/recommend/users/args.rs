//! Arguments of `recommend --users`.

use crate::cli::shared::numbers::{number, whole};
use anyhow::{Result, bail};
use clap::Args;
use std::path::PathBuf;

/// Most tokens of an answer, as of --generate.
const LONGEST_OUTPUT: u32 = 1_048_576;

/// Several users at once.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Users")]
pub struct UsersArgs {
    /// Users at once of one model: how many fit, the total and what each gets, the time to first token, and the command
    /// that starts the server
    #[arg(long, value_name = "N", conflicts_with_all = ["batch", "engine_for", "draft", "evidence", "max_loss"], requires = "model", value_parser = |s: &str| whole::<u32>(s, 1..=512))]
    pub users: Option<u32>,

    /// Tokens of each user's prompt (the same as --context); the tokens of each answer are --generate, or --output with a
    /// number
    #[arg(long, value_name = "TOKENS", requires = "users", conflicts_with = "context", value_parser = |s: &str| whole::<u32>(s, 1..=16_777_216))]
    pub prompt: Option<u32>,

    /// Requests per second of all users together, which arrive independently of one another
    #[arg(long, value_name = "PER_SECOND", requires = "users", value_parser = |s: &str| number(s, 1e-6, 1e4))]
    pub rate: Option<f64>,

    /// Tokens per second that each user is to get
    #[arg(long, value_name = "TOK/S", requires = "users", value_parser = |s: &str| number(s, 1e-3, 1e6))]
    pub min_tok_s: Option<f64>,

    /// Seconds to the first token that are allowed when all ask at once
    #[arg(long, value_name = "SECONDS", requires = "users", value_parser = |s: &str| number(s, 1e-3, 1e6))]
    pub max_ttft: Option<f64>,
}

impl UsersArgs {
    /// Tokens of each answer, where `--output` has a number and no file. The name of a file of digits needs a folder:
    /// `./300`.
    ///
    /// # Errors
    /// When the number is none of tokens.
    pub(in crate::cli) fn output_tokens(
        &self,
        output: &mut Option<PathBuf>,
    ) -> Result<Option<u32>> {
        let text = output.as_ref().filter(|_| self.users.is_some()).and_then(|path| path.to_str());
        let Some(text) = text.filter(|text| text.parse::<f64>().is_ok()) else { return Ok(None) };
        match text.parse::<u32>() {
            Ok(tokens) if (1..=LONGEST_OUTPUT).contains(&tokens) => {
                *output = None;
                Ok(Some(tokens))
            }
            _ => bail!(
                "--output {text}: tokens of an answer are a whole number from 1 to {LONGEST_OUTPUT}; for a file of that \
                 name say ./{text}"
            ),
        }
    }
}
