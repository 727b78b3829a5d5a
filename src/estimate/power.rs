//! What power modes and heat leave of predicted speeds, as labeled ranges.
//!
//! Predictions are of full clocks. A laptop runs below them in Low Power Mode, and after minutes of work; by how much is
//! known only as ranges, most of them assumptions, which is why they stand beside the prediction and not in it.

use super::energy::Energy;
use super::speed::{Decode, Prefill};
use crate::hardware::machine::Machine;
use crate::hardware::power::{Form, PowerDataError, PowerFile, PowerSetting, RangeBasis};
use crate::run::{PromptUse, Run};
use schemars::JsonSchema;
use serde::Serialize;

/// Minutes after which heat has had its effect.
const SETTLED: u32 = 10;

/// Speeds in a power mode, at first and after lasting work.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct PowerSpeeds {
    /// The mode.
    pub mode: PowerSetting,
    /// Whether the mode was said rather than assumed.
    pub stated: bool,
    /// In the first seconds.
    pub burst: PowerRange,
    /// Minutes of work of `sustained`.
    pub minutes: u32,
    /// After that work.
    pub sustained: PowerRange,
    /// Joules of a token, as an assumption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy: Option<Energy>,
}

/// Speeds as a range: lowest, middle, highest.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct PowerRange {
    /// Factor on the predicted speeds.
    pub factor: [f64; 3],
    /// Tokens per second; `null` for a model that generates no text.
    pub decode_tokens_per_s: Option<[f64; 3]>,
    /// Prompt tokens per second.
    pub prefill_tokens_per_s: [f64; 3],
    /// How the factor is known.
    pub basis: RangeBasis,
    /// What was found, with figures.
    pub evidence: Vec<String>,
    /// Where.
    pub sources: Vec<String>,
}

impl PowerSpeeds {
    /// The speeds of a run on a machine that is a laptop or may be one, or of which a mode or lasting work was said;
    /// `None` elsewhere.
    ///
    /// # Errors
    /// When the file of power modes cannot be read.
    pub(super) fn of(
        run: &Run,
        machine: &Machine,
        (decode, prefill): (&Decode, &Prefill),
    ) -> Result<Option<Self>, PowerDataError> {
        let (form, said) = (Form::of(machine), run.conditions);
        let generates = run.file.purpose == PromptUse::Generates;
        let stated = said.power.is_some();
        if !form.may_be_laptop() && !stated && said.sustained_minutes.is_none() {
            return Ok(None);
        }
        let mode = said.power.unwrap_or_default();
        let file = PowerFile::embedded()?;
        let row = file.mode(mode)?;
        let at_once = if form.may_be_laptop() { row.laptop } else { row.desktop };
        let minutes = said.sustained_minutes.unwrap_or(SETTLED);
        let heated = f64::from(minutes.min(SETTLED)) / f64::from(SETTLED);
        let (mut hot, mut evidence, mut sources) = ([1.0, 0.0, 0.0], Vec::new(), Vec::new());
        let mut basis = row.basis;
        let rows = file.heat(form, mode);
        for r in &rows {
            let [low, middle, high] = r.after_ten_minutes;
            hot = [
                f64::min(hot[0], low),
                hot[1] + middle / rows.len() as f64,
                f64::max(hot[2], high),
            ];
            evidence.push(r.evidence.clone());
            sources.extend(r.sources.iter().cloned());
            if r.basis == RangeBasis::Assumed {
                basis = RangeBasis::Assumed;
            }
        }
        let lasting = [0, 1, 2].map(|i| at_once[i] * (1.0 - (1.0 - hot[i]) * heated));
        let range = |factor: [f64; 3], basis, evidence, sources| PowerRange {
            factor,
            decode_tokens_per_s: generates.then(|| factor.map(|f| f * decode.tokens_per_s)),
            prefill_tokens_per_s: factor.map(|f| f * prefill.tokens_per_s),
            basis,
            evidence,
            sources,
        };
        Ok(Some(Self {
            mode,
            stated,
            burst: range(at_once, row.basis, vec![row.evidence.clone()], row.sources.clone()),
            minutes,
            sustained: range(lasting, basis, evidence, sources),
            // A mode or lasting work that was said is a question about power.
            energy: match generates && (stated || said.sustained_minutes.is_some()) {
                true => Energy::of(machine, decode.tokens_per_s, decode.interval_90)?,
                false => None,
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::hardware::Macs;
    use crate::hardware::spec::resolve;
    use crate::model::Config;
    use crate::run::RunConditions;
    use crate::{Coefficients, Estimator, Scheme};

    fn speeds(mac: &str, conditions: RunConditions) -> Option<PowerSpeeds> {
        let config = r#"{ "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 16,
            "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256 }"#;
        let config = Config::parse(config).expect("a configuration");
        let graph = Graph::quantized(&config, Scheme::DEFAULT).expect("a graph");
        let run = Run::default().with_conditions(conditions);
        let coefficients = Coefficients::embedded().expect("built in");
        let estimator = Estimator::of_graph(coefficients, &graph, run);
        let machine = resolve(mac, &Macs::embedded()).expect("a Mac");
        let (decode, prefill) = estimator.speeds(&machine).expect("speeds");
        PowerSpeeds::of(&run, &machine, (&decode, &prefill)).expect("readable")
    }

    #[test]
    fn a_laptop_names_its_mode_and_a_desktop_only_what_was_said() {
        let laptop = speeds("mbp16-m5max-40-2026/128", RunConditions::default()).expect("a laptop");
        assert!(laptop.mode == PowerSetting::Automatic && !laptop.stated && laptop.minutes == 10);
        assert!(laptop.sustained.factor[0] < laptop.burst.factor[0]);
        assert_eq!(speeds("m3ultra-80/512", RunConditions::default()), None);
        let low = RunConditions { power: Some(PowerSetting::Low), ..RunConditions::default() };
        let desktop = speeds("m3ultra-80/512", low).expect("said");
        assert!(desktop.stated && desktop.burst.factor[1] < 0.7);
    }

    #[test]
    fn heat_takes_minutes() {
        let after = |minutes| {
            let lasting = RunConditions {
                power: Some(PowerSetting::High),
                sustained_minutes: Some(minutes),
                ..RunConditions::default()
            };
            speeds("mbp14-m5pro-16-2026/24", lasting).expect("a laptop").sustained.factor
        };
        assert_eq!(after(0), [0.97, 1.0, 1.0]);
        assert!(after(5)[0] > after(10)[0] && after(10) == after(60));
    }
}
