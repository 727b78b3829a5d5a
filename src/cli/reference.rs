//! The reference of the command line, made from the definitions of the arguments.

use super::args::Cli;
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write as _;

/// The definition of the command line, for man pages.
#[must_use]
pub fn command() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// The reference as Markdown: every command with its arguments.
#[must_use]
pub fn markdown() -> String {
    let command = command();
    let mut out = String::from(
        "# Command line\n\nMade from the definitions of the arguments by `cargo xtask docs`; `mlxplan COMMAND --help` says the \
         same.\n",
    );
    let _ = write!(out, "\n{}\n\n## Global options\n\n", about(&command));
    let globals: Vec<&Arg> = command.get_arguments().filter(|a| a.is_global_set()).collect();
    arguments(&mut out, &globals);
    for sub in command.get_subcommands() {
        let _ = write!(out, "\n## mlxplan {}\n\n{}\n\n", sub.get_name(), about(sub));
        let own: Vec<&Arg> =
            sub.get_arguments().filter(|a| !a.is_global_set() && a.get_id() != "help").collect();
        arguments(&mut out, &own);
    }
    out
}

fn about(command: &Command) -> String {
    let text = command.get_long_about().or_else(|| command.get_about());
    text.map(|t| format!("{}.", t.to_string().trim_end_matches('.'))).unwrap_or_default()
}

fn arguments(out: &mut String, all: &[&Arg]) {
    if all.is_empty() {
        out.push_str("No arguments of its own.\n");
        return;
    }
    out.push_str("| argument | meaning |\n| --- | --- |\n");
    for arg in all {
        let _ = writeln!(out, "| {} | {} |", name(arg), meaning(arg).replace('|', "\\|"));
    }
}

fn name(arg: &Arg) -> String {
    let takes_value = arg.get_action().takes_values();
    let values: Vec<String> =
        arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let value = if takes_value { values.join(" ") } else { String::new() };
    let many = arg.get_num_args().is_some_and(|n| n.max_values() > 1);
    let many = if many { "…" } else { "" };
    let flags = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long}"),
        (None, Some(long)) => format!("--{long}"),
        (Some(short), None) => format!("-{short}"),
        (None, None) => String::new(),
    };
    format!("`{}`", format!("{flags} {value}{many}").trim())
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let mut text = help.replace('\n', " ");
    let possible: Vec<String> =
        arg.get_possible_values().iter().map(|v| format!("`{}`", v.get_name())).collect();
    if arg.get_action().takes_values() && !possible.is_empty() {
        let _ = write!(text, "; one of {}", possible.join(", "));
    }
    let defaults: Vec<_> =
        arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect();
    if arg.get_action().takes_values() && !defaults.is_empty() {
        let _ = write!(text, " (default: {})", defaults.join(","));
    }
    text
}
