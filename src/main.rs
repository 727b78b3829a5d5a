//! The `mlxplan` command line.

// No input may end the program with a panic. Where one is impossible, `#[expect]` says why.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
// Standard error may be closed; writing there must not end the program.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

use std::process::ExitCode;

fn main() -> ExitCode {
    mlxplan::cli::main()
}
