//! Rates of the shipped rows, predicted from fits that have not seen them (`data/cross_validation.csv`).

use crate::roofline::{LawKind, PerLaw};
use serde::Deserialize;
use std::collections::HashMap;

/// A row predicted from fits that have not seen it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOut {
    /// Id of the row.
    pub id: String,
    /// The law.
    pub law: LawKind,
    /// Tokens per second predicted without the rows of the same owner.
    #[serde(rename = "owner_out_tok_s")]
    pub owner_out: f64,
    /// Tokens per second predicted without the rows of the same chip.
    #[serde(rename = "chip_out_tok_s")]
    pub chip_out: f64,
}

/// Held-out rates by law and id of the row.
#[derive(Clone, Debug, Default)]
pub struct HeldOutRates(PerLaw<HashMap<String, HeldOut>>);

impl HeldOutRates {
    /// No row: every prediction is made with the shipped coefficients.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads the text of `cross_validation.csv`, as [`text`] writes it.
    ///
    /// # Errors
    /// When a line is damaged.
    pub fn read(text: &str) -> Result<Self, csv::Error> {
        let mut rates = Self::default();
        for row in csv::Reader::from_reader(text.as_bytes()).deserialize() {
            let row: HeldOut = row?;
            rates.0.of_mut(row.law).insert(row.id.clone(), row);
        }
        Ok(rates)
    }

    /// The rates of a row for a law.
    #[must_use]
    pub fn get(&self, id: &str, law: LawKind) -> Option<&HeldOut> {
        self.0.of(law).get(id)
    }

    /// Rows of all laws.
    #[must_use]
    pub fn len(&self) -> usize {
        LawKind::ALL.iter().map(|&law| self.0.of(law).len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The text of `cross_validation.csv`.
///
/// # Errors
/// When a row cannot be written, which does not happen in memory.
pub fn text(rows: &[HeldOut]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["id", "law", "owner_out_tok_s", "chip_out_tok_s"])?;
    for r in rows {
        let rates = [r.owner_out, r.chip_out].map(|rate| format!("{rate:.4}"));
        writer.write_record([&r.id, r.law.name(), &rates[0], &rates[1]])?;
    }
    writer.into_inner().map_err(|e| csv::Error::from(e.into_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_come_back_as_they_were_written() {
        let row = |law, owner_out| HeldOut { id: "a".to_owned(), law, owner_out, chip_out: 2.0 };
        let rows = [row(LawKind::Mlx, 1.5), row(LawKind::Prefill, 300.25)];
        let text = String::from_utf8(text(&rows).expect("text")).expect("UTF-8");
        assert!(text.ends_with("a,prefill,300.2500,2.0000\n"), "{text}");
        let back = HeldOutRates::read(&text).expect("rates");
        assert_eq!((back.len(), back.get("a", LawKind::Mlx)), (2, Some(&rows[0])));
        assert_eq!(back.get("a", LawKind::Gguf), None);
        assert!(HeldOutRates::read("id,law\na,mlx\n").is_err());
    }
}
