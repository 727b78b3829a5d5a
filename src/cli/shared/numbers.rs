//! Numbers as arguments, within bounds. What is no such number is answered with the bounds.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A number from `least` to `most`.
///
/// # Errors
/// Says the bounds.
pub(in crate::cli) fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if (least..=most).contains(&x) => Ok(x),
        _ => Err(format!("a number from {least} to {most}")),
    }
}

/// A whole number within a range.
///
/// # Errors
/// Says the range.
pub(in crate::cli) fn whole<N>(text: &str, range: RangeInclusive<N>) -> Result<N, String>
where
    N: FromStr + PartialOrd + Display,
{
    match text.parse() {
        Ok(n) if range.contains(&n) => Ok(n),
        _ => Err(format!("a whole number from {} to {}", range.start(), range.end())),
    }
}

/// Bits of a quantized KV cache.
///
/// # Errors
/// Says which MLX has.
pub(in crate::cli) fn kv_bits(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(bits @ (2..=6 | 8)) => Ok(bits),
        _ => Err("MLX quantizes to a number of bits from 2 to 6, or 8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::Cli;
    use clap::builder::ValueParser;
    use clap::error::ErrorKind;
    use clap::{Arg, Command, CommandFactory, value_parser};

    fn is_number(arg: &Arg) -> bool {
        let parsed = arg.get_value_parser().type_id();
        let numbers: [ValueParser; 5] = [
            value_parser!(u32).into(),
            value_parser!(u64).into(),
            value_parser!(i64).into(),
            value_parser!(usize).into(),
            value_parser!(f64).into(),
        ];
        numbers.iter().any(|n| n.type_id() == parsed)
    }

    /// Every flag of every command that takes a number.
    fn numeric<'c>(command: &'c Command, path: &[&'c str], found: &mut Vec<(String, String)>) {
        for arg in command.get_arguments().filter(|arg| is_number(arg)) {
            found.extend(arg.get_long().map(|flag| (path.join(" "), flag.to_owned())));
        }
        for sub in command.get_subcommands() {
            numeric(sub, &[path, &[sub.get_name()]].concat(), found);
        }
    }

    #[test]
    fn what_is_no_number_is_told_the_bounds_by_every_flag() {
        let mut command = Cli::command();
        command.build();
        let mut flags = Vec::new();
        numeric(&command, &["mlxplan"], &mut flags);
        assert!(flags.len() > 60, "{}", flags.len());
        for (path, flag) in &flags {
            for wrong in ["x", "", "-7", "1e400", "NaN", "99999999999999999999"] {
                let words = path.split(' ').map(str::to_owned);
                let words = words.chain([format!("--{flag}={wrong}")]);
                let error = command.clone().try_get_matches_from(words).expect_err("no number");
                let text = error.to_string();
                let told = text.contains(" from ");
                let empty = wrong.is_empty() && error.kind() == ErrorKind::InvalidValue;
                assert!(told || empty, "{path} --{flag}={wrong}: {text}");
            }
        }
    }
}
