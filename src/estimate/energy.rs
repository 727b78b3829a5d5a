//! Energy of generated tokens. No power of a decoding Mac is published by chip that can be trusted: every figure is a wide
//! range and an assumption, and says so.

use super::time_range::TimeRange;
use crate::hardware::machine::Machine;
use crate::hardware::power::{Form, PowerDataError, PowerFile, RangeBasis};
use schemars::JsonSchema;
use serde::Serialize;

/// How many times the watts of decoding a prompt draws: lowest, middle, highest.
const PROMPT: [f64; 3] = [1.5, 1.75, 2.0];
/// Part of a battery that can be used.
const USABLE: f64 = 0.9;
const JOULES_PER_WH: f64 = 3600.0;
const WH_PER_KWH: f64 = 1000.0;

/// Energy and money of work, as assumptions: lowest, middle, highest.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Energy {
    /// Watts of the whole machine while it generates.
    pub watts: [f64; 3],
    /// Joules of a generated token, without the prompt.
    pub joules_per_token: [f64; 3],
    /// Watt-hours of a thousand generated tokens.
    pub wh_per_1000_tokens: [f64; 3],
    /// Part of the battery that a thousand generated tokens take; `null` where there is none, or the product is not known.
    pub battery_share_per_1000_tokens: Option<[f64; 3]>,
    /// Hours of generating on the battery.
    pub battery_hours: Option<[f64; 3]>,
    /// How it is known.
    pub basis: RangeBasis,
    /// What was found, with figures.
    pub evidence: String,
    /// Where.
    pub sources: Vec<String>,
}

/// Watt-hours of prompts and outputs, as an assumption: lowest, middle, highest.
#[must_use]
pub fn watt_hours(watts: [f64; 3], prompts: TimeRange, outputs: TimeRange) -> [f64; 3] {
    let seconds = |t: TimeRange| [t.interval_90_s[0], t.seconds, t.interval_90_s[1]];
    let (prompts, outputs) = (seconds(prompts), seconds(outputs));
    [0, 1, 2].map(|i| watts[i] * (PROMPT[i] * prompts[i] + outputs[i]) / JOULES_PER_WH)
}

/// What watt-hours cost.
#[must_use]
pub fn cost(watt_hours: [f64; 3], per_kwh: f64) -> [f64; 3] {
    watt_hours.map(|wh| wh / WH_PER_KWH * per_kwh)
}

impl Energy {
    /// The energy of tokens that are generated at a rate within an interval; `None` for what is no Mac.
    ///
    /// # Errors
    /// When the file of power modes cannot be read.
    pub fn of(
        machine: &Machine,
        rate: f64,
        [slow, fast]: [f64; 2],
    ) -> Result<Option<Self>, PowerDataError> {
        let file = PowerFile::embedded()?;
        let Some(row) = file.draw(machine.tier.value) else { return Ok(None) };
        let watts = row.watts;
        let rates = [fast, rate, slow];
        let joules_per_token = [0, 1, 2].map(|i| watts[i] / rates[i]);
        let wh_per_1000_tokens = joules_per_token.map(|j| 1000.0 * j / JOULES_PER_WH);
        let battery = file
            .battery_wh(Form::of(machine))
            .map(|[small, large]| [small, small.midpoint(large), large].map(|wh| USABLE * wh));
        let [small, middle, large] = battery.unwrap_or_default();
        let [low, usual, high] = wh_per_1000_tokens;
        Ok(Some(Self {
            watts,
            joules_per_token,
            wh_per_1000_tokens,
            battery_share_per_1000_tokens: battery
                .map(|_| [low / large, usual / middle, high / small]),
            battery_hours: battery.map(|_| [small / watts[2], middle / watts[1], large / watts[0]]),
            basis: row.basis,
            evidence: row.evidence.clone(),
            sources: row.sources.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Macs;
    use crate::hardware::spec::resolve;

    #[test]
    fn a_token_takes_the_watts_over_its_rate() {
        let laptop = resolve("mbp16-m5max-40-2026/128", &Macs::embedded()).expect("a Mac");
        let e = Energy::of(&laptop, 50.0, [40.0, 60.0]).expect("readable").expect("a Mac");
        assert!((e.joules_per_token[1] - 60.0 / 50.0).abs() < 1e-12);
        assert!((e.joules_per_token[2] - 132.0 / 40.0).abs() < 1e-12);
        assert!((e.wh_per_1000_tokens[1] - 1.2 / 3.6).abs() < 1e-12);
        let [_, share, _] = e.battery_share_per_1000_tokens.expect("a battery");
        assert!((share - (1.2 / 3.6) / (0.9 * 99.6)).abs() < 1e-12);
        let hours = e.battery_hours.expect("a battery");
        assert!(hours.is_sorted() && (hours[1] - 0.9 * 99.6 / 60.0).abs() < 1e-12);
        let desktop = resolve("m3ultra-80/512", &Macs::embedded()).expect("a Mac");
        let e = Energy::of(&desktop, 50.0, [40.0, 60.0]).expect("readable").expect("a Mac");
        assert_eq!(e.battery_share_per_1000_tokens, None);
    }

    #[test]
    fn prompts_draw_more_than_outputs() {
        let hour = TimeRange::known(3600.0);
        assert_eq!(watt_hours([10.0, 20.0, 40.0], hour, TimeRange::known(0.0)), [15.0, 35.0, 80.0]);
        assert_eq!(watt_hours([10.0; 3], TimeRange::known(0.0), hour), [10.0; 3]);
        assert_eq!(cost([500.0, 1000.0, 2000.0], 0.3), [0.15, 0.3, 0.6]);
    }
}
