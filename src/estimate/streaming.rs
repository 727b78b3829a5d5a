//! Experts that are read from the SSD, for models with more weights than memory.
//!
//! ```text
//! t = t of one step in memory + layers x wait + bytes of the chosen experts that are not in memory / SSD
//! ```
//!
//! This is another thing than swapping: an engine that streams keeps all that every token uses in memory, and as many
//! experts as fit, and reads the chosen ones that are missing itself. In every layer the CPU must know which were chosen
//! before it can read them, while the GPU waits: that wait, and how many are found in memory, decide, and engines differ
//! by more than ten times in it (mlx-lm issue 1438). mlx-lm itself does not stream. Everything here is a range.

use super::estimator::Estimator;
use super::memory::{Fit, Memory, budget};
use crate::hardware::machine::Machine;
use crate::hardware::tier::Tier;
use crate::ledger::weights::Weights;
use crate::roofline::features::MatrixRole;
use crate::roofline::{Silicon, StepFeatures};
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// What decides the pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamingBound {
    /// Reading from the SSD.
    Ssd,
    /// The wait for the CPU in every layer.
    Layers,
    /// The step itself.
    Step,
}

/// A model whose experts are streamed.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct StreamedExperts {
    /// Tokens per second: the middle of the assumptions.
    pub tokens_per_s: f64,
    /// The slowest and the fastest engine and routing.
    pub tokens_per_s_range: [f64; 2],
    /// What takes most of the time in the middle.
    pub bound: StreamingBound,
    /// Share of the experts that memory holds.
    pub resident_share: f64,
    /// Bytes of experts that memory holds.
    pub resident_expert_bytes: Bytes,
    /// Share of the chosen experts that are found in memory: chosen evenly, and with the locality of a good cache.
    pub hit_rate: [f64; 2],
    /// Bytes of chosen experts that a token uses.
    pub expert_bytes_per_token: Bytes,
    /// Bytes per second that the SSD reads.
    pub ssd_bytes_per_s: [f64; 2],
    /// Layers that wait.
    pub layers: u64,
    /// Seconds that a layer waits for the CPU: least, middle, most.
    pub wait_s: [f64; 3],
    /// Where the assumptions come from.
    pub source: &'static str,
}

/// Seconds that a layer with experts waits while the CPU learns what was chosen: engines with their own loop, and those that
/// read one expert after the other.
const WAIT_S: [f64; 3] = [0.5e-3, 3e-3, 25e-3];
const SOURCE: &str = "assumption: mlx-lm issue 1438 (13.5 GB/s on an M5 Max, waits decide), omlx issue 3686 (1.0 and 4.7 tok/s of one \
                      model by engine), ds4 issue 840 (2.2 to 4.6 tok/s on an M4 Max with 36 GB), SwiftLM issue 24 (0.6 tok/s)";

/// Bytes per second that the SSD of a Mac reads at the sizes of experts: small SSDs of base Macs, and the newest.
const fn ssd(tier: Tier, generation: u32) -> [f64; 2] {
    let small = matches!(tier, Tier::Base | Tier::Phone);
    match (small, generation >= 5) {
        (true, false) => [1.5e9, 3.5e9],
        (true, true) => [3e9, 7e9],
        (false, false) => [3.5e9, 7.5e9],
        (false, true) => [6e9, 14.5e9],
    }
}

/// What a token needs, whatever the engine.
#[derive(Clone, Copy, Debug)]
struct Demand {
    /// Seconds of a step with all weights in memory.
    step_s: f64,
    /// Bytes of the chosen experts.
    chosen: f64,
    /// Layers with experts.
    layers: f64,
}

impl Demand {
    /// Seconds of reading and of waiting.
    fn seconds(self, hit: f64, ssd: f64, wait: f64) -> [f64; 3] {
        [self.chosen * (1.0 - hit) / ssd, self.layers * wait, self.step_s]
    }
}

/// Bytes of the experts that a token chooses.
fn chosen(features: &StepFeatures) -> f64 {
    let experts = features.matrices.iter().filter(|m| m.part == MatrixRole::Expert);
    experts.map(|m| m.launches * m.bytes).sum()
}

impl StreamedExperts {
    /// The pace of a model that does not fit a machine, with its experts streamed; `None` where it has none, or where not
    /// even the rest fits beside a few of them.
    pub(super) fn of(
        estimator: &Estimator<'_>,
        machine: &Machine,
        memory: &Memory,
        step_s: f64,
    ) -> Option<Self> {
        let run = estimator.run();
        if memory.judgment.verdict < Fit::Uncertain || run.engine.program.runs_gguf() {
            return None;
        }
        let features = estimator.speed().ok()?.features();
        if !features.has_experts() || run.work.batch != 1 {
            return None;
        }
        let bytes = chosen(features);
        let layers = estimator.graph().layers_with_experts() as u64;
        let experts = Weights::of(estimator.graph()).routed_expert_bytes;
        let beside = memory.peak.peak_bytes.saturating_sub(experts);
        let room = budget(machine, run.engine.reserve).0.saturating_sub(beside);
        // Fewer than what one token chooses, and nothing is found in memory.
        if experts == 0 || (room as f64) < bytes {
            return None;
        }
        let resident = room.min(experts);
        let share = resident as f64 / experts as f64;
        let hit_rate = [share, share.sqrt()];
        let silicon = Silicon::of(machine);
        let rates = ssd(silicon.tier, silicon.generation);
        let demand = Demand { step_s, chosen: bytes, layers: layers as f64 };
        let middle = demand.seconds(
            f64::midpoint(hit_rate[0], hit_rate[1]),
            (rates[0] * rates[1]).sqrt(),
            WAIT_S[1],
        );
        let slow: f64 = demand.seconds(hit_rate[0], rates[0], WAIT_S[2]).iter().sum();
        let [read, wait, step] = demand.seconds(hit_rate[1], rates[1], WAIT_S[0]);
        // The best engines read while the GPU works.
        let fast = read.max(step) + wait;
        let bound = match middle {
            [read, wait, step] if read >= wait && read >= step => StreamingBound::Ssd,
            [_, wait, step] if wait >= step => StreamingBound::Layers,
            _ => StreamingBound::Step,
        };
        Some(Self {
            tokens_per_s: 1.0 / middle.iter().sum::<f64>(),
            tokens_per_s_range: [1.0 / slow, 1.0 / fast],
            bound,
            resident_share: share,
            resident_expert_bytes: Bytes(resident),
            hit_rate,
            expert_bytes_per_token: Bytes(bytes as u64),
            ssd_bytes_per_s: rates,
            layers,
            wait_s: WAIT_S,
            source: SOURCE,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::hardware::{Macs, spec};
    use crate::model::Scheme;
    use crate::model::catalog::Models;
    use crate::roofline::Coefficients;
    use crate::run::Run;

    fn streamed(id: &str, mac: &str) -> Option<StreamedExperts> {
        let models = Models::built_in().expect("the built-in catalog");
        let entry = models.get(id).expect("known").entry().expect("readable");
        let graph = Graph::quantized(&entry.config, Scheme::DEFAULT).expect("a known family");
        let coefficients = Coefficients::embedded().expect("built in");
        let estimator = Estimator::of_graph(coefficients, &graph, Run::default().with_context(512));
        let machine = spec::resolve(mac, &Macs::embedded()).expect("a Mac");
        let figures = estimator.on(&machine).expect("runs");
        let step = figures.decode.seconds_per_token;
        StreamedExperts::of(&estimator, &machine, &figures.memory, step)
    }

    #[test]
    fn only_models_that_do_not_fit_and_have_experts_are_streamed() {
        assert!(streamed("Qwen/Qwen3-30B-A3B", "m4max-40/128").is_none(), "it fits");
        assert!(streamed("meta-llama/Llama-3.3-70B-Instruct", "m4-10/24").is_none(), "no experts");
        let large = streamed("Qwen/Qwen3-235B-A22B", "m4max-40/64").expect("streams");
        let [low, high] = large.tokens_per_s_range;
        assert!(low < large.tokens_per_s && large.tokens_per_s < high && high / low > 3.0);
        assert!(large.resident_share > 0.1 && large.resident_share < 0.6);
        assert!(high < 30.0, "far below what memory would give: {high}");
    }

    #[test]
    fn more_memory_and_a_faster_ssd_are_never_slower() {
        let rates: Vec<f64> = ["m4max-32/36", "m4max-40/48", "m4max-40/64", "m5max-40/64"]
            .iter()
            .filter_map(|mac| streamed("Qwen/Qwen3-235B-A22B", mac))
            .map(|s| s.tokens_per_s)
            .collect();
        assert!(rates.len() >= 2 && rates.is_sorted(), "{rates:?}");
    }
}
