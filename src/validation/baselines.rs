//! Simpler predictors of decode speed, on the same rows: what a better model has to beat.

use super::dataset::{Dataset, Observed};
use crate::roofline::features::MatrixRole;
use crate::stats::weighted_quantile;

/// A predictor and its rates, in the order of the rows.
pub struct Baseline {
    /// What it is.
    pub name: &'static str,
    /// Predicted decode rates.
    pub rates: Vec<f64>,
}

/// Measured rows as the baselines see them: bandwidth, exact bytes of a step, measured rate.
struct Seen {
    bandwidth: f64,
    bytes: f64,
    measured: f64,
    weight: f64,
}

/// The baselines on rows with a measured decode rate. Their constants are fitted on these very rows, which favors them.
#[must_use]
pub fn all(data: &Dataset<'_>, rows: &[(&Observed<'_>, f64)], weights: &[f64]) -> Vec<Baseline> {
    let seen: Vec<Seen> = rows
        .iter()
        .zip(weights)
        .map(|((row, measured), &weight)| Seen {
            bandwidth: mean_bandwidth(row),
            bytes: data.features_of(row).weight_bytes_per_step(),
            measured: *measured,
            weight,
        })
        .collect();
    vec![
        Baseline { name: "one constant: k · bandwidth / bytes", rates: one_constant(&seen) },
        Baseline {
            name: "llmfit: 0.55 · bandwidth / bytes (its MoE rule for experts)",
            rates: rows.iter().map(|(row, _)| llmfit(data, row)).collect(),
        },
        Baseline {
            name: "two constants: bytes / (k · bandwidth) + time per token",
            rates: two_constants(&seen),
        },
    ]
}

fn mean_bandwidth(row: &Observed<'_>) -> f64 {
    let sum: f64 = row.targets.iter().map(|t| t.bandwidth.ln()).sum();
    (sum / row.targets.len().max(1) as f64).exp()
}

fn one_constant(seen: &[Seen]) -> Vec<f64> {
    let naive = |s: &Seen| s.bandwidth / s.bytes;
    let sample: Vec<(f64, f64)> = seen.iter().map(|s| (s.measured / naive(s), s.weight)).collect();
    let k = weighted_quantile(&sample, 0.5);
    seen.iter().map(|s| k * naive(s)).collect()
}

/// The pair of constants with the smallest mean absolute logarithmic error, found on a grid.
fn two_constants(seen: &[Seen]) -> Vec<f64> {
    let rate = |s: &Seen, k: f64, fixed: f64| 1.0 / (s.bytes / (k * s.bandwidth) + fixed);
    let error = |k: f64, fixed: f64| -> f64 {
        seen.iter().map(|s| s.weight * (rate(s, k, fixed) / s.measured).ln().abs()).sum()
    };
    let mut best = (f64::INFINITY, 1.0, 0.0);
    for k in (50..=100).map(|i| f64::from(i) / 100.0) {
        for fixed in (0..=60).map(|i| f64::from(i) * 1e-4) {
            let e = error(k, fixed);
            if e < best.0 {
                best = (e, k, fixed);
            }
        }
    }
    seen.iter().map(|s| rate(s, best.1, best.2)).collect()
}

/// llmfit's published estimate (`estimate_tps` in llmfit-core/src/fit.rs, github.com/AlexsJones/llmfit, 2026-08): for
/// dense models 0.55 times bandwidth over parameters times nominal bytes per parameter; for mixtures of experts the
/// bandwidth over the chosen experts' bytes plus 3.2 bytes for every other parameter.
fn llmfit(data: &Dataset<'_>, row: &Observed<'_>) -> f64 {
    let f = data.features_of(row);
    let bandwidth = mean_bandwidth(row);
    let bits = f.matrices.iter().map(|m| (m.launches * m.weights, m.bytes / m.weights.max(1.0)));
    let (weights, bytes) = bits.fold((0.0, 0.0), |(w, b), (n, per)| (w + n, b + n * per));
    let bits = (8.0 * bytes / f64::max(weights, 1.0)).floor();
    if !f.has_experts() {
        return 0.55 * bandwidth / (f.parameters * bits / 8.0).max(1.0);
    }
    let per_expert_weight = match bits as u32 {
        0..=3 => 0.48,
        4 => 0.55,
        5 => 0.68,
        6 => 0.80,
        7..=9 => 1.0,
        _ => 2.0,
    };
    let of = |part: MatrixRole| -> f64 {
        f.matrices.iter().filter(|m| m.part == part).map(|m| m.launches * m.weights).sum()
    };
    bandwidth
        / (of(MatrixRole::Expert) * per_expert_weight
            + 3.2 * (of(MatrixRole::Layer) + of(MatrixRole::Head)))
}
