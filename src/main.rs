//! The `mlxplan` command line.

fn main() {}
