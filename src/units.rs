//! Quantities that own their unit: parsing, conversion and display belong here.
//!
//! GB is 10^9 bytes and GiB is 2^30 bytes everywhere. MLX and model files are counted in GB; memory that Apple
//! sells and Metal limits are GiB, although Apple prints "GB" on the box.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;
use thiserror::Error;

/// Bytes in one gibibyte.
pub const GIB: u64 = 1 << 30;

/// A number of bytes. Displays as decimal gigabytes (`18.45 GB`); [`Bytes::gib`] gives the binary figure.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    JsonSchema,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// No bytes at all.
    pub const ZERO: Self = Self(0);

    /// `n` gibibytes (2^30 bytes), the unit in which memory is sold.
    #[must_use]
    pub const fn from_gib(n: u64) -> Self {
        Self(n * GIB)
    }

    /// `gb` decimal gigabytes, rounded to a byte.
    #[must_use]
    pub fn from_gb(gb: f64) -> Self {
        Self((gb.max(0.0) * 1e9).round() as u64)
    }

    /// The figure in decimal gigabytes (10^9 bytes).
    #[must_use]
    pub fn gb(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The figure in gibibytes (2^30 bytes).
    #[must_use]
    pub fn gib(self) -> f64 {
        self.0 as f64 / GIB as f64
    }

    /// Difference that stops at zero.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// A text that is no size.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "'{0}' is no size; write a number with its unit: 60GB (10^9 bytes), 58GiB (2^30), 49152MiB"
)]
pub struct SizeError(pub String);

impl FromStr for Bytes {
    type Err = SizeError;

    /// Reads a number with a unit, in any case: `60GB`, `58 GiB`, `49152MiB`, `0.5 TB`. A number without a unit could be
    /// either kind of gigabyte, so it is none.
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let wrong = || SizeError(text.to_owned());
        let text = text.trim();
        let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(unit_at);
        let number: f64 = number.trim_end().parse().map_err(|_| wrong())?;
        let unit: f64 = match unit.to_ascii_lowercase().as_str() {
            "b" => 1.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            "kib" => 1024.0,
            "mib" => 1_048_576.0,
            "gib" => GIB as f64,
            "tib" => 1024.0 * GIB as f64,
            _ => return Err(wrong()),
        };
        let bytes = (number * unit).round();
        if number.is_finite() && (0.0..1e18).contains(&bytes) {
            Ok(Self(bytes as u64))
        } else {
            Err(wrong())
        }
    }
}

impl Add for Bytes {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sub for Bytes {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Bytes {
    /// `512 B`, `38.2 kB`, `412 MB`, `18.45 GB`, `1.03 TB`: decimal units, three or four figures.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0 as f64;
        let text = match self.0 {
            0..=999 => format!("{} B", self.0),
            1_000..=999_949 => format!("{:.1} kB", n / 1e3),
            999_950..=999_499_999 => format!("{:.0} MB", n / 1e6),
            999_500_000..=99_994_999_999 => format!("{:.2} GB", n / 1e9),
            99_995_000_000..=999_949_999_999 => format!("{:.1} GB", n / 1e9),
            _ => format!("{:.2} TB", n / 1e12),
        };
        f.pad(&text)
    }
}

/// Memory bandwidth in bytes per second. Displays as `546 GB/s`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, JsonSchema, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BytesPerSecond(pub f64);

impl BytesPerSecond {
    /// `gbs` times 10^9 bytes per second.
    #[must_use]
    pub fn from_gbs(gbs: f64) -> Self {
        Self(gbs * 1e9)
    }

    /// The figure in 10^9 bytes per second.
    #[must_use]
    pub fn gbs(self) -> f64 {
        self.0 / 1e9
    }
}

impl fmt::Display for BytesPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gbs = self.gbs();
        let text = if gbs < 99.95 && (gbs * 10.0).round() % 10.0 != 0.0 {
            format!("{gbs:.1} GB/s")
        } else {
            format!("{gbs:.0} GB/s")
        };
        f.pad(&text)
    }
}

/// A duration in seconds. Displays with the unit that reads best: `1.8 µs`, `21.4 ms`, `3.20 s`, `2 min 05 s`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, PartialOrd, JsonSchema, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seconds(pub f64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0;
        let text = if !s.is_finite() {
            "never".to_owned()
        } else if s < 999.5e-9 {
            format!("{:.0} ns", s * 1e9)
        } else if s < 999.5e-6 {
            format!("{:.1} µs", s * 1e6)
        } else if s < 0.9995 {
            let ms = s * 1e3;
            if ms < 99.95 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
        } else if s < 9.995 {
            format!("{s:.2} s")
        } else if s < 99.95 {
            format!("{s:.1} s")
        } else if s < 3600.0 {
            let whole = s.round() as u64;
            format!("{} min {:02} s", whole / 60, whole % 60)
        } else {
            let minutes = (s / 60.0).round() as u64;
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        };
        f.pad(&text)
    }
}

/// A rate of tokens per second. Displays with three figures: `0.42`, `7.31`, `24.6`, `1840`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, PartialOrd, JsonSchema, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TokensPerSecond(pub f64);

impl fmt::Display for TokensPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let r = self.0;
        let text = if r < 9.995 {
            format!("{r:.2}")
        } else if r < 99.95 {
            format!("{r:.1}")
        } else {
            format!("{r:.0}")
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_show_decimal_units() {
        assert_eq!(Bytes(512).to_string(), "512 B");
        assert_eq!(Bytes(18_450_000_000).to_string(), "18.45 GB");
        assert_eq!(Bytes(412_300_000).to_string(), "412 MB");
        assert_eq!(Bytes(404_400_000_000).to_string(), "404.4 GB");
        assert_eq!(Bytes::from_gib(64).gib(), 64.0);
        assert_eq!(format!("{:>10}", Bytes(512)), "     512 B");
    }

    #[test]
    fn a_size_says_which_gigabyte() {
        let read = |text: &str| text.parse::<Bytes>().map(|b| b.0);
        assert_eq!(read("60GB"), Ok(60_000_000_000));
        assert_eq!(read(" 58 gib "), Ok(58 * GIB));
        assert_eq!(read("49152MiB"), Ok(48 * GIB));
        assert_eq!(read("0.5TB"), Ok(500_000_000_000));
        assert_eq!(read("92000MB"), Ok(92_000_000_000));
        for wrong in ["60", "GB", "-1GB", "1e99GB", "nanGB", "60 G", "", "1 2GB"] {
            let error = wrong.parse::<Bytes>().expect_err(wrong).to_string();
            assert!(error.contains("49152MiB"), "{error}");
        }
    }

    #[test]
    fn no_value_rounds_into_the_next_unit() {
        assert_eq!(Bytes(999_949).to_string(), "999.9 kB");
        assert_eq!(Bytes(999_950).to_string(), "1 MB");
        assert_eq!(Bytes(999_499_999).to_string(), "999 MB");
        assert_eq!(Bytes(999_500_000).to_string(), "1.00 GB");
        assert_eq!(Seconds(0.99949).to_string(), "999 ms");
        assert_eq!(Seconds(0.9996).to_string(), "1.00 s");
        assert_eq!(Seconds(125.0).to_string(), "2 min 05 s");
        assert_eq!(Seconds(f64::INFINITY).to_string(), "never");
    }

    #[test]
    fn rates_show_three_figures() {
        assert_eq!(TokensPerSecond(7.314).to_string(), "7.31");
        assert_eq!(TokensPerSecond(24.62).to_string(), "24.6");
        assert_eq!(TokensPerSecond(1840.4).to_string(), "1840");
        assert_eq!(BytesPerSecond::from_gbs(546.0).to_string(), "546 GB/s");
        assert_eq!(BytesPerSecond::from_gbs(68.25).to_string(), "68.2 GB/s");
    }
}
