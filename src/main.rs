//! The `mlxplan` command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    mlxplan::cli::main()
}
