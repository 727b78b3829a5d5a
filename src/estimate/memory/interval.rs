//! How far a measured peak lies from the simulated one.

use crate::units::Bytes;

/// Where the interval comes from, in words.
pub const PEAK_INTERVAL_SOURCE: &str = "peaks published for mlx-lm (data/measurements.csv), one weight per owner, chip, model and format: 90 % of them \
     lie within -0.055 GB - 0.2 % and +0.28 GB + 0.2 % of the simulated peak";

/// A measured peak is hardly ever lower than the simulated one, but often a little higher: images' parts of a model that
/// a server keeps, another version of MLX, a warm-up. What is missing does not grow with the model, so most of the band
/// is a number of bytes.
const BELOW: (f64, f64) = (55e6, 0.002);
const ABOVE: (f64, f64) = (280e6, 0.002);

/// The range in which nine of ten measured peaks lie.
#[must_use]
pub fn interval_90(peak: Bytes) -> [Bytes; 2] {
    let part = |(bytes, share): (f64, f64)| Bytes((bytes + share * peak.0 as f64) as u64);
    [peak.saturating_sub(part(BELOW)), peak + part(ABOVE)]
}

/// The highest expected peak whose interval ends at `limit` or below.
pub(super) fn peak_below(limit: Bytes) -> Bytes {
    let (bytes, share) = ABOVE;
    let peak = Bytes(((limit.0 as f64 - bytes).max(0.0) / (1.0 + share)) as u64);
    if interval_90(peak)[1] > limit { peak.saturating_sub(Bytes(1)) } else { peak }
}
