//! What a speed rests on.

use crate::hardware::Tier;
use crate::roofline::coefficients::ChipEvidence;
use crate::roofline::{Coefficients, LawKind, Silicon};
use schemars::JsonSchema;
use serde::Serialize;

/// The measurements behind a prediction.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Evidence {
    /// One sentence for people, for example `41 configurations on M4 Max, 310 on its neighbors`.
    pub text: String,
    /// Measured configurations (owner, chip, model, format) on chips of this generation and tier.
    pub configurations: u32,
    /// Rows among them.
    pub rows: u32,
    /// Configurations on chips of the same generation or tier.
    pub neighbour_configurations: u32,
}

/// Name of a chip family: `M4 Max`.
pub(in crate::estimate) fn chip_name(target: &Silicon) -> String {
    let word = match target.tier {
        Tier::Phone => " (phone)",
        Tier::Base => "",
        Tier::Pro => " Pro",
        Tier::Max => " Max",
        Tier::Ultra => " Ultra",
    };
    format!("M{}{word}", target.generation)
}

impl Evidence {
    pub(super) fn of(coefficients: &Coefficients, target: &Silicon, law: LawKind) -> Self {
        let own = coefficients.evidence(law, target);
        let is_neighbor = |c: &&ChipEvidence| {
            let (generation, tier) = (c.generation == target.generation, c.tier == target.tier);
            c.law == law && generation != tier
        };
        let chips = &coefficients.file().chips;
        let neighbors = chips.iter().filter(is_neighbor).map(|c| c.configurations).sum();
        let (configurations, rows) = own.map_or((0, 0), |c| (c.configurations, c.rows));
        let name = chip_name(target);
        let text = if configurations == 0 {
            format!("no measurement on {name}; from {neighbors} configurations on its neighbors")
        } else {
            format!(
                "from {configurations} configurations on {name}, and {neighbors} on its neighbors"
            )
        };
        Self { text, configurations, rows, neighbour_configurations: neighbors }
    }
}
