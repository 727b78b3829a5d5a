//! A figure of a claim.

use serde::{Deserialize, Deserializer};

/// A figure, or a range of figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Lowest value.
    pub low: f64,
    /// Highest value.
    pub high: f64,
}

impl From<f64> for Range {
    fn from(value: f64) -> Self {
        Self { low: value, high: value }
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            One(f64),
            Two([f64; 2]),
        }
        let range = match Written::deserialize(d).map_err(|_| {
            serde::de::Error::custom("expected a number or a range such as [150, 180]")
        })? {
            Written::One(v) => Self::from(v),
            Written::Two([low, high]) => Self { low, high },
        };
        if let Some(x) = [range.low, range.high].iter().find(|x| !(0.0..=1e12).contains(*x)) {
            return Err(serde::de::Error::custom(format!(
                "a figure lies from 0 to 1e12, and this one is {x:e}"
            )));
        }
        match range.low <= range.high {
            true => Ok(range),
            false => {
                Err(serde::de::Error::custom("a range goes from the lower to the higher value"))
            }
        }
    }
}
