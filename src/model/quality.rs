//! What quantized weights and caches lose, as published (`data/quality.csv`, whose columns `data/measurements.README.md`
//! documents). Nothing of it is predicted: where nobody measured, nothing is said.

mod loss;

pub use loss::{LossBasis, PublishedLoss, is_below_four_bits, loss_cell};

use super::names::key;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// The rows that ship.
const SHIPPED: &str = include_str!("../../data/quality.csv");

/// What is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossOf {
    /// The weights.
    Weights,
    /// The cache of keys and values.
    Kv,
}

/// What was measured.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema, Serialize,
)]
#[serde(rename_all = "snake_case")]
pub enum LossMetric {
    /// Mean KL divergence of the next token in nats: how much the logarithm of perplexity rises on text that the model
    /// itself would write.
    Kld,
    /// Perplexity of a text.
    Ppl,
    /// Score in MMLU-Pro.
    MmluPro,
    /// Score in MMLU.
    Mmlu,
    /// Mean accuracy of winogrande, boolq, arc (both), hellaswag, openbookqa, piqa and social_iqa.
    Tasks,
}

impl LossMetric {
    /// Its name in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kld => "KL divergence",
            Self::Ppl => "perplexity",
            Self::MmluPro => "MMLU-Pro",
            Self::Mmlu => "MMLU",
            Self::Tasks => "eight tasks",
        }
    }

    /// Whether it is a score: higher is better, and what is lost is a share of it.
    #[must_use]
    pub const fn is_score(self) -> bool {
        matches!(self, Self::MmluPro | Self::Mmlu | Self::Tasks)
    }
}

/// One published figure.
#[derive(Clone, Debug, Deserialize)]
pub struct LossRow {
    /// Key of the row.
    pub id: String,
    /// Repository of the model, or its name as published.
    pub model: String,
    /// Parameters in 10^9.
    pub params_b: f64,
    /// What is quantized.
    pub of: LossOf,
    /// The format, as answers name it.
    pub format: String,
    /// What was measured.
    pub metric: LossMetric,
    /// The figure with this format.
    pub value: f64,
    /// The figure without; `None` for divergences.
    pub reference: Option<f64>,
    /// Standard error of the value.
    pub spread: Option<f64>,
    /// What it is compared with.
    pub reference_format: String,
    /// Origin.
    pub source: String,
    /// License of the origin.
    pub license: String,
    /// How it was measured.
    pub notes: String,
}

static ROWS: LazyLock<Vec<LossRow>> = LazyLock::new(|| {
    let mut reader = csv::Reader::from_reader(SHIPPED.as_bytes());
    reader.deserialize().filter_map(Result::ok).collect()
});

/// Every published figure.
#[must_use]
pub fn rows() -> &'static [LossRow] {
    &ROWS
}

impl LossRow {
    /// What is lost, in percent: how much perplexity rises, or which share of a score is gone.
    #[must_use]
    pub fn percent(&self) -> f64 {
        100.0
            * match (self.metric, self.reference) {
                (LossMetric::Kld, _) | (_, None) => self.value.exp() - 1.0,
                (LossMetric::Ppl, Some(reference)) => self.value / reference - 1.0,
                (_, Some(reference)) => 1.0 - self.value / reference,
            }
    }

    /// Whether it was measured on a model of this name.
    fn is_of(&self, id: &str) -> bool {
        let name = |id: &str| key(id.rsplit('/').next().unwrap_or(id));
        key(&self.model) == key(id) || (!self.model.contains('/') && name(&self.model) == name(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_and_says_where_it_comes_from() {
        assert_eq!(rows().len(), SHIPPED.lines().count() - 1);
        let mut ids: Vec<&str> = rows().iter().map(|r| r.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), rows().len());
        for r in rows() {
            assert!(r.source.starts_with("https://") && !r.license.is_empty(), "{}", r.id);
            assert!(r.params_b > 0.0 && r.percent().is_finite(), "{}", r.id);
            assert_eq!(r.reference.is_none(), r.metric == LossMetric::Kld, "{}", r.id);
        }
    }

    #[test]
    fn a_loss_is_a_rise_of_perplexity_or_a_share_of_a_score() {
        let of =
            |metric, value, reference| LossRow { metric, value, reference, ..rows()[0].clone() };
        let near = |row: LossRow, percent: f64| assert!((row.percent() - percent).abs() < 0.01);
        near(of(LossMetric::Ppl, 6.3, Some(6.0)), 5.0);
        near(of(LossMetric::MmluPro, 57.0, Some(60.0)), 5.0);
        near(of(LossMetric::Kld, 0.048_79, None), 5.0);
    }
}
