//! What a pause before a prompt costs: after about a second without GPU work macOS lets the weights go and the clock of the
//! GPU falls, and the next prompt waits until both are back. It belongs to the time to first token, never to the rate of
//! the prompt.

use crate::engine::programs::Engines;
use crate::hardware::Tier;
use crate::roofline::{Coefficients, Silicon};
use crate::run::Run;
use schemars::JsonSchema;
use serde::Serialize;

/// Where the rate on matrix units comes from.
const FITTED: &str =
    "fitted on mlx_lm.benchmark with 15 s of pause before each trial (M5 Max, macOS 26.4 and 26.5)";
/// Where the rates of measured chips come from.
const MEASURED: &str =
    "llama.cpp before it kept weights resident (PR 10119 on M4 Pro, PR 11427 on M2 Ultra)";
/// Where the range of other chips comes from.
const SPANNED: &str = "assumption: no pause was measured on this chip; from the slowest (M2 Ultra) to the fastest (M5 Max)";

/// The time that a pause adds to the first token.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct PauseCost {
    /// Seconds of pause from which on it is paid.
    pub after_s: f64,
    /// Seconds that it adds.
    pub seconds: f64,
    /// Least and most seconds.
    pub interval_90_s: [f64; 2],
    /// Whether the time to first token holds it: the run comes after such a pause.
    pub counted: bool,
    /// Where the rate comes from.
    pub source: &'static str,
}

impl PauseCost {
    /// The cost of a pause before a run that reads so many bytes of weights; `None` where the program keeps its weights
    /// resident for longer than any pause that was said.
    #[must_use]
    pub fn of(
        coefficients: &Coefficients,
        silicon: &Silicon,
        run: &Run,
        weight_bytes: f64,
    ) -> Option<Self> {
        let idle = &Engines::embedded().ok()?.idle;
        let said = run.conditions.idle_s.map(f64::from);
        let after_s = match run.engine.program {
            program if program.runs_gguf() => f64::from(idle.llama_cpp_keepalive_s),
            _ => idle.idle_after_s,
        };
        let counted = said.is_some_and(|s| s > after_s);
        if run.engine.program.runs_gguf() && !counted {
            return None;
        }
        let fitted = coefficients.prefill_law().resident_gbs();
        let [slow, fast] = idle.rate_gbps_m5max;
        let (rate, [low, high], source) = match (silicon.generation, silicon.tier) {
            (5.., _) => (fitted, [slow.min(fitted), fast.max(fitted)], FITTED),
            (4, Tier::Pro) => (middle(idle.rate_gbps_m4pro), idle.rate_gbps_m4pro, MEASURED),
            (2, Tier::Ultra) => (middle(idle.rate_gbps_m2ultra), idle.rate_gbps_m2ultra, MEASURED),
            _ => {
                let ends = [idle.rate_gbps_m2ultra[0], fast];
                (middle(ends), ends, SPANNED)
            }
        };
        let seconds = |gbs: f64| weight_bytes / (gbs * 1e9);
        let interval_90_s = [seconds(high), seconds(low)];
        Some(Self { after_s, seconds: seconds(rate), interval_90_s, counted, source })
    }

    /// Seconds of it in the time to first token.
    #[must_use]
    pub fn counted_s(&self) -> f64 {
        if self.counted { self.seconds } else { 0.0 }
    }

    /// How much sooner and later the first token may come for it.
    #[must_use]
    pub fn counted_spread_s(&self) -> [f64; 2] {
        if self.counted { self.interval_90_s.map(|s| s - self.seconds) } else { [0.0; 2] }
    }
}

/// The middle of a range of rates on the logarithm.
fn middle([low, high]: [f64; 2]) -> f64 {
    (low * high).sqrt()
}

#[cfg(test)]
mod tests {
    use crate::estimate::Estimator;
    use crate::graph::Graph;
    use crate::hardware::{Macs, spec};
    use crate::model::Scheme;
    use crate::roofline::Coefficients;
    use crate::run::{Program, Run, RunConditions};

    fn graph() -> Graph {
        let models = crate::model::catalog::Models::built_in().expect("the built-in catalog");
        let entry = models.get("Qwen/Qwen3-8B").expect("known").entry().expect("readable");
        Graph::quantized(&entry.config, Scheme::DEFAULT).expect("a known family")
    }

    #[test]
    fn a_pause_delays_the_first_token_and_leaves_the_rate_of_the_prompt() {
        let (graph, macs) = (graph(), Macs::embedded());
        let prefill = |mac: &str, idle_s: Option<u32>, program| {
            let conditions = RunConditions { idle_s, ..RunConditions::default() };
            let run = Run::default().with_program(program).with_conditions(conditions);
            let estimator =
                Estimator::of_graph(Coefficients::embedded().expect("built in"), &graph, run);
            let machine = spec::resolve(mac, &macs).expect("a Mac");
            let (_, prefill) = estimator.speeds(&machine).expect("runs");
            let ttft = prefill.ttft_at(prefill.interval_90, &run.work);
            (prefill.tokens_per_s, prefill.ttft_s, ttft, prefill.pause)
        };
        let mlx = Program::MlxLm;
        for mac in ["m5max-40/128", "m4pro-20/48", "m2ultra-76/192", "m3max-40/64"] {
            let (rate, ttft, [soon, late], pause) = prefill(mac, None, mlx);
            let pause = pause.expect("MLX lets weights go");
            assert!(!pause.counted && pause.seconds > 0.02, "{mac}: {pause:?}");
            assert_eq!(prefill(mac, Some(1), mlx).1, ttft, "{mac}: a second is no pause");
            let (same, later, [first, last], paused) = prefill(mac, Some(30), mlx);
            assert_eq!(same, rate, "{mac}");
            assert!((later - ttft - pause.seconds).abs() < 1e-9, "{mac}");
            assert!(last - late > pause.seconds * 0.99 && first - soon <= pause.seconds, "{mac}");
            assert!(paused.is_some_and(|p| p.counted), "{mac}");
        }
        let seconds = |mac| prefill(mac, None, mlx).3.map(|p| p.seconds);
        assert!(seconds("m2ultra-76/192") > seconds("m4pro-20/48"));
        assert!(seconds("m4pro-20/48") > seconds("m5max-40/128"));
        let llama = Program::LlamaCpp;
        assert_eq!(prefill("m4pro-20/48", Some(30), llama).3, None, "it keeps them for minutes");
        assert!(prefill("m4pro-20/48", Some(600), llama).3.is_some_and(|p| p.counted));
    }
}
