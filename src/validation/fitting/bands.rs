//! Intervals from rows that were predicted without their owner or chip.

use super::rows::{LawRows, rounded};
use crate::roofline::IntervalClass;
use crate::roofline::interval::{Band, ClassBand};
use crate::stats::{BAND_Z80, BAND_Z90, few_clusters, weighted_quantile};
use crate::validation::dataset::Observed;
use crate::validation::held_out::HeldOut;
use crate::validation::score::balance;
use std::collections::{BTreeMap, BTreeSet};

/// Factors that are tried on the width of intervals for a chip without rows, in hundredths.
const UNSEEN_WIDTHS: std::ops::RangeInclusive<u32> = 110..=300;

impl LawRows<'_, '_> {
    /// Bands of the ratio of measured to predicted, by class, from the rows predicted without their owner.
    pub(super) fn bands(&self, held: &[HeldOut]) -> Vec<ClassBand> {
        let mut classes: BTreeMap<IntervalClass, Vec<(f64, &Observed<'_>)>> = BTreeMap::new();
        for ((row, o), h) in self.rows.iter().zip(&self.observations).zip(held) {
            let ratio = -o.log_time - h.owner_out.ln();
            classes.entry(self.class(row)).or_default().push((ratio, row));
        }
        classes.into_iter().map(|(class, ratios)| band(class, &ratios)).collect()
    }

    /// The smallest factor on the width of the bands with which they hold what they promise on chips left out.
    pub(super) fn unseen_chip(&self, held: &[HeldOut], bands: &[ClassBand]) -> f64 {
        let widths = UNSEEN_WIDTHS.map(|percent| f64::from(percent) / 100.0);
        let widest = f64::from(*UNSEEN_WIDTHS.end()) / 100.0;
        let holds = |width: &f64| {
            let [inside_80, inside_90] = self.inside(held, bands, *width);
            inside_80 >= 0.8 && inside_90 >= 0.9
        };
        widths.into_iter().find(holds).unwrap_or(widest)
    }

    /// Shares of the rows, each configuration counted once, that lie in the 80 % and 90 % intervals of a width when
    /// their chip is left out.
    fn inside(&self, held: &[HeldOut], bands: &[ClassBand], width: f64) -> [f64; 2] {
        let weights = balance(self.rows.iter().map(|r| r.configuration.as_str()));
        let total: f64 = weights.iter().sum();
        let mut inside = [0.0, 0.0];
        for (((row, o), h), w) in self.rows.iter().zip(&self.observations).zip(held).zip(&weights) {
            let class = self.class(row);
            let Some(band) = bands.iter().find(|b| b.class == class) else { continue };
            let ends = band.band.widened(width);
            let ratio = (-o.log_time).exp() / h.chip_out;
            for (sum, [low, high]) in inside.iter_mut().zip([ends.p80, ends.p90]) {
                if (low..=high).contains(&ratio) {
                    *sum += w / total;
                }
            }
        }
        inside
    }
}

/// The band of a class from the logarithms of measured over predicted rates.
fn band(class: IntervalClass, ratios: &[(f64, &Observed<'_>)]) -> ClassBand {
    let weights = balance(ratios.iter().map(|(_, r)| r.configuration.as_str()));
    let configurations = weights.iter().sum::<f64>().round() as u32;
    let sample: Vec<(f64, f64)> = ratios.iter().zip(weights).map(|((r, _), w)| (*r, w)).collect();
    let clusters: BTreeSet<(&str, &str)> =
        ratios.iter().map(|(_, r)| (r.row.owner(), r.chip.as_str())).collect();
    let at = |q: f64, z: f64| {
        let wide = weighted_quantile(&sample, q) * few_clusters(z, clusters.len());
        rounded(wide.exp())
    };
    let p80 = [at(0.1, BAND_Z80).min(1.0), at(0.9, BAND_Z80).max(1.0)];
    let p90 = [at(0.05, BAND_Z90).min(p80[0]), at(0.95, BAND_Z90).max(p80[1])];
    ClassBand { class, configurations, band: Band { p80, p90 } }
}
