//! Statistics over predicted and measured rates, balanced by configuration.

use std::collections::HashMap;

/// Weights that give every configuration the same total: one over its rows.
pub fn balance<'a>(configurations: impl Iterator<Item = &'a str> + Clone) -> Vec<f64> {
    let mut count: HashMap<&str, f64> = HashMap::new();
    configurations.clone().for_each(|c| *count.entry(c).or_default() += 1.0);
    configurations.map(|c| 1.0 / count[c]).collect()
}

/// The smallest value whose cumulative weight reaches `q` of the total; 0 for an empty sample.
#[must_use]
pub fn weighted_quantile(sample: &[(f64, f64)], q: f64) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = sorted.iter().map(|(_, w)| w).sum();
    let mut sum = 0.0;
    for (value, weight) in &sorted {
        sum += weight;
        if sum >= q * total {
            return *value;
        }
    }
    sorted.last().map_or(0.0, |(value, _)| *value)
}
