//! Versions of programs, in order.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A version of up to three numbers: a release (`0.32.2`), a build (`b9452`) or a day (`2026-08-17`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number; 0 where a version has only one.
    pub minor: u32,
    /// Third number; 0 where a version has only two.
    pub patch: u32,
}

/// MLX whose rules of evaluation and allocation a replay was checked against byte by byte, and on which speeds were
/// fitted.
pub const MLX_REPLAYED: Version = Version::new(0, 32, 2);

impl Version {
    /// From its numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Whether it is a day: programs whose releases are not numbered are told apart by it.
    #[must_use]
    pub const fn is_day(self) -> bool {
        self.major >= 2020 && self.minor >= 1 && self.minor <= 12
    }

    /// Whether it is the number of a build, as llama.cpp counts them.
    #[must_use]
    pub const fn is_build(self) -> bool {
        self.major >= 100 && self.minor == 0 && self.patch == 0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = *self;
        if self.is_day() {
            return f.pad(&format!("{major}-{minor:02}-{patch:02}"));
        }
        if self.is_build() {
            return f.pad(&format!("b{major}"));
        }
        f.pad(&format!("{major}.{minor}.{patch}"))
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Version {
    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

/// A text that is no version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is no version; write 0.32.2, b9452 or 2026-08-17")]
pub struct VersionError(pub String);

impl FromStr for Version {
    type Err = VersionError;

    /// Reads a version as programs print it: what follows the numbers (`rc1`, `.dev3`, `+2165dc0`) is left out.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let wrong = || VersionError(text.to_owned());
        let trimmed = text.trim();
        let build = trimmed.strip_prefix('b').filter(|t| t.len() >= 3);
        let plain = build.or_else(|| trimmed.strip_prefix('v')).unwrap_or(trimmed);
        let numbers = leading_numbers(plain);
        match (numbers.as_slice(), build) {
            (&[build], Some(_)) if build >= 100 => Ok(Self::new(build, 0, 0)),
            (&[major, minor], None) => Ok(Self::new(major, minor, 0)),
            (&[major, minor, patch, ..], None) => Ok(Self::new(major, minor, patch)),
            _ => Err(wrong()),
        }
    }
}

/// The numbers at the start of a text, between dots, or between dashes where it is a day.
fn leading_numbers(text: &str) -> Vec<u32> {
    let dashed = text.split('-').count() == 3 && text.split('-').all(|n| n.parse::<u32>().is_ok());
    let mut all = Vec::new();
    for part in text.split(if dashed { '-' } else { '.' }) {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let Ok(number) = part[..digits].parse() else {
            // What follows three numbers may be anything; in their place only a number is one.
            if all.len() < 3 {
                all.clear();
            }
            break;
        };
        all.push(number);
        if digits < part.len() {
            break;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        text.parse().expect("a version")
    }

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        assert!(v("0.9.10") < v("0.10.0") && v("0.21") < v("0.21.1"));
        assert_eq!(v("0.32.2").to_string(), "0.32.2");
        assert!("0.x".parse::<Version>().is_err() && "1".parse::<Version>().is_err());
        assert_eq!(MLX_REPLAYED.to_string(), crate::versions::MLX_RULES);
    }

    #[test]
    fn versions_are_read_as_programs_print_them() {
        for (text, shown) in [
            ("v0.32.2", "0.32.2"),
            ("0.31.1+ 38ad257", "0.31.1"),
            ("0.31.2.dev20260701+2165dc0", "0.31.2"),
            ("0.30.0rc1", "0.30.0"),
            ("26.5", "26.5.0"),
            ("b10488", "b10488"),
            ("2026-08-17", "2026-08-17"),
        ] {
            assert_eq!(v(text).to_string(), shown, "{text}");
        }
        for text in ["", "b", "newest", "v", "10488", "4294967296.1", "0.32.x", "0.x.1", "0.32."] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
