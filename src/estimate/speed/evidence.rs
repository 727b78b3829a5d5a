//! What a speed rests on.

use super::Engine;
use crate::hardware::Tier;
use crate::roofline::coefficients::ChipEvidence;
use crate::roofline::{Coefficients, LawKind, Silicon};
use schemars::JsonSchema;
use serde::Serialize;

/// The measurements behind a prediction.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Evidence {
    /// One sentence for people, for example `41 configurations on M4 Max, 310 on its neighbours`.
    pub text: String,
    /// Measured configurations (owner, chip, model, format) on chips of this generation and tier.
    pub configurations: u32,
    /// Rows among them.
    pub rows: u32,
    /// Configurations on chips of the same generation or tier.
    pub neighbour_configurations: u32,
}

/// Name of a chip family: `M4 Max`.
fn chip_name(generation: u32, tier: Tier) -> String {
    let word = match tier {
        Tier::Phone => " (phone)",
        Tier::Base => "",
        Tier::Pro => " Pro",
        Tier::Max => " Max",
        Tier::Ultra => " Ultra",
    };
    format!("M{generation}{word}")
}

impl Evidence {
    pub(super) fn of_decode(coefficients: &Coefficients, target: &Silicon, engine: Engine) -> Self {
        Self::of(coefficients, target, LawKind::of_decode(engine.program()))
    }

    pub(super) fn of_prefill(coefficients: &Coefficients, target: &Silicon) -> Self {
        Self::of(coefficients, target, LawKind::Prefill)
    }

    fn of(coefficients: &Coefficients, target: &Silicon, law: LawKind) -> Self {
        let own = coefficients.evidence(law, target);
        let is_neighbour = |c: &&ChipEvidence| {
            let (generation, tier) = (c.generation == target.generation, c.tier == target.tier);
            c.law == law && generation != tier
        };
        let chips = &coefficients.file().chips;
        let neighbours = chips.iter().filter(is_neighbour).map(|c| c.configurations).sum();
        let (configurations, rows) = own.map_or((0, 0), |c| (c.configurations, c.rows));
        let name = chip_name(target.generation, target.tier);
        let text = if configurations == 0 {
            format!("no measurement on {name}; from {neighbours} configurations on its neighbours")
        } else {
            format!(
                "from {configurations} configurations on {name}, and {neighbours} on its neighbours"
            )
        };
        Self { text, configurations, rows, neighbour_configurations: neighbours }
    }

    /// Says so when the chip was not measured.
    pub(super) fn chip_doubt(&self, target: &Silicon, warnings: &mut Vec<String>) {
        if self.configurations == 0 {
            let name = chip_name(target.generation, target.tier);
            warnings.push(format!(
                "no measurement on {name}; the prediction follows its neighbours and the interval is widened"
            ));
        }
    }
}
