//! Formats whose bits vary by layer: what the published files of a kind hold against the uniform format that the name
//! suggests. Only a file tells its own bytes, so that these give ranges.

use crate::model::quant::{DType, Scheme};

/// A format whose bits vary by layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixed {
    /// The uniform format that the name suggests.
    pub nominal: Scheme,
    /// Bytes of published files of the kind over those of the uniform format: the lowest and the highest.
    pub over_nominal: [f64; 2],
    /// Where the range comes from.
    pub source: &'static str,
}

const PUBLISHED: &str = "published files of this kind against uniform ones";
const NOT_MEASURED: &str =
    "assumption: recipes of this kind keep sensitive matrices at up to 8 bits";
const AVERAGE: &str = "the average that the name states, with norms and rounding";

impl Mixed {
    /// The range of a recipe, by the word that names it.
    pub(super) fn of(recipe: &str, nominal: Scheme) -> Self {
        let (over_nominal, source) = match recipe {
            "optiq" => ([1.0, 1.8], PUBLISHED),
            "ud" | "unsloth" => ([1.0, 2.1], PUBLISHED),
            "q8" => ([0.95, 1.1], PUBLISHED),
            _ => ([0.95, 1.8], NOT_MEASURED),
        };
        Self { nominal, over_nominal, source }
    }

    /// Between two uniform formats.
    pub(super) fn between(low: Scheme, high: Scheme) -> Self {
        Self { nominal: low, over_nominal: [1.0, bits(high) / bits(low)], source: PUBLISHED }
    }

    /// An average number of bits over all weights.
    pub(super) fn average(average: f64) -> Self {
        let all = Scheme::AFFINE_BITS.map(|bits| Scheme::Affine { bits, group: 64 });
        let distance = |s: &Scheme| (bits(*s) - average).abs();
        let nearest = all.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let nominal = nearest.unwrap_or(Scheme::DEFAULT);
        let ratio = average / bits(nominal);
        Self { nominal, over_nominal: [0.95 * ratio, 1.08 * ratio], source: AVERAGE }
    }

    /// The uniform format in the middle of the range, whose figures stand for the file's, and the range over it.
    #[must_use]
    pub fn middle(&self) -> (Scheme, [f64; 2]) {
        let Scheme::Affine { group, .. } = self.nominal else {
            return (self.nominal, self.over_nominal);
        };
        let nominal = bits(self.nominal);
        let middle = nominal * self.over_nominal[0].midpoint(self.over_nominal[1]);
        let all = Scheme::AFFINE_BITS.map(|bits| Scheme::Affine { bits, group });
        let distance = |s: &Scheme| (bits(*s) - middle).abs();
        let nearest = all.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let scheme = nearest.unwrap_or(self.nominal);
        (scheme, self.over_nominal.map(|over| over * nominal / bits(scheme)))
    }
}

/// Bits per weight of a matrix, scales and biases included.
fn bits(scheme: Scheme) -> f64 {
    match scheme.packing() {
        None => {
            if matches!(scheme, Scheme::Float(DType::F32)) {
                32.0
            } else {
                16.0
            }
        }
        Some(p) => {
            let scales = if p.has_biases() { 32.0 } else { 8.0 };
            f64::from(p.bits) + scales / f64::from(p.group)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_lies_in_the_range() {
        for recipe in ["optiq", "ud", "oq", "msq"] {
            for bits in [3, 4, 6] {
                let mixed = Mixed::of(recipe, Scheme::Affine { bits, group: 64 });
                let (_, [low, high]) = mixed.middle();
                assert!(low < 1.0 && high > 1.0, "{recipe} {bits}: {low} {high}");
            }
        }
        let (scheme, [low, high]) = Mixed::average(4.6).middle();
        assert_eq!(scheme, Scheme::DEFAULT);
        assert!(low < 1.03 && high > 1.03);
    }
}
