//! What tokens cost on a Mac that is bought.

use schemars::JsonSchema;
use serde::Serialize;

/// Days of a year.
const DAYS: f64 = 365.25;
/// Seconds of a day.
const DAY: f64 = 86_400.0;
/// Joules of a kilowatt-hour.
const KWH: f64 = 3.6e6;

/// What costs are reckoned with.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Economics {
    /// Years over which the price is spread.
    pub years: f64,
    /// Price of electricity.
    pub usd_per_kwh: Option<f64>,
    /// Tokens generated a day; `None` for a Mac that generates all the time.
    pub tokens_per_day: Option<f64>,
    /// Price of a million generated tokens elsewhere.
    pub api_usd_per_million_tokens: Option<f64>,
}

impl Default for Economics {
    fn default() -> Self {
        Self {
            years: 3.0,
            usd_per_kwh: None,
            tokens_per_day: None,
            api_usd_per_million_tokens: None,
        }
    }
}

/// What tokens cost on one Mac. A figure is absent where an input of it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize)]
pub struct Costs {
    /// Price for every token per second.
    pub usd_per_tok_s: Option<f64>,
    /// Price spread over all tokens of the years, for a million of them, without electricity.
    pub usd_per_million_tokens: Option<f64>,
    /// Electricity of the GPU for a million tokens, where its watts were measured.
    pub gpu_energy_usd_per_million_tokens: Option<f64>,
    /// Both together.
    pub usd_per_million_tokens_with_energy: Option<f64>,
    /// Part of the day it takes to generate the day's tokens; more than 1 is impossible.
    pub busy_share: Option<f64>,
    /// Tokens after which the Mac is cheaper than the API: its price over the API's less electricity, where that is
    /// known.
    pub break_even_tokens: Option<f64>,
    /// Days until then at the tokens a day, or at full load.
    pub break_even_days: Option<f64>,
}

impl Costs {
    /// Costs of a Mac with a price that generates so many tokens per second and whose GPU draws so many watts then.
    #[must_use]
    pub fn of(e: &Economics, usd: Option<u32>, tok_s: f64, gpu_watts: Option<f64>) -> Self {
        let usd = usd.map(f64::from);
        let capacity = tok_s * DAY;
        let a_day = e.tokens_per_day.map_or(capacity, |n| n.min(capacity));
        let positive = |x: f64| (x.is_finite() && x > 0.0).then_some(x);
        let energy = gpu_watts
            .zip(e.usd_per_kwh)
            .map(|(watts, usd_per_kwh)| watts / tok_s * 1e6 / KWH * usd_per_kwh);
        let hardware = usd.and_then(|usd| positive(usd / (a_day * DAYS * e.years) * 1e6));
        let saved = e.api_usd_per_million_tokens.map(|api| (api - energy.unwrap_or(0.0)) / 1e6);
        let break_even = usd.zip(saved).and_then(|(usd, saved)| positive(usd / saved));
        Self {
            usd_per_tok_s: usd.map(|usd| usd / tok_s),
            usd_per_million_tokens: hardware,
            gpu_energy_usd_per_million_tokens: energy,
            usd_per_million_tokens_with_energy: hardware.zip(energy).map(|(h, e)| h + e),
            busy_share: e.tokens_per_day.map(|n| n / capacity),
            break_even_tokens: break_even,
            break_even_days: break_even.and_then(|tokens| positive(tokens / a_day)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: Option<f64>, expected: f64) {
        let found = found.expect("known");
        assert!((found / expected - 1.0).abs() < 1e-9, "{found} is not {expected}");
    }

    /// 50 tok/s for a year of 365.25 days are 1577.88 million tokens; 37 W at 50 tok/s are 0.74 J a token, 0.20556 kWh
    /// a million.
    #[test]
    fn a_million_tokens_costs_its_share_of_the_price_and_its_electricity() {
        let e = Economics {
            years: 1.0,
            usd_per_kwh: Some(0.3),
            api_usd_per_million_tokens: Some(1.0),
            ..Economics::default()
        };
        let c = Costs::of(&e, Some(5000), 50.0, Some(37.0));
        close(c.usd_per_tok_s, 100.0);
        close(c.usd_per_million_tokens, 5000.0 / 1577.88);
        close(c.gpu_energy_usd_per_million_tokens, 0.74e6 / 3.6e6 * 0.3);
        close(c.break_even_tokens, 5000.0 / (1.0 - 0.74e6 / 3.6e6 * 0.3) * 1e6);
        close(c.break_even_days, c.break_even_tokens.expect("known") / (50.0 * 86_400.0));
        assert_eq!(c.busy_share, None);
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let e = Economics { usd_per_kwh: Some(0.3), ..Economics::default() };
        let c = Costs::of(&e, None, 50.0, None);
        assert_eq!(c, Costs::default());
        let c = Costs::of(&e, Some(1000), 50.0, None);
        assert_eq!(c.usd_per_million_tokens_with_energy, None);
        assert!(c.usd_per_million_tokens.is_some() && c.break_even_tokens.is_none());
    }

    #[test]
    fn an_api_cheaper_than_the_electricity_is_never_beaten() {
        let e = Economics {
            usd_per_kwh: Some(1.0),
            api_usd_per_million_tokens: Some(0.01),
            ..Economics::default()
        };
        assert_eq!(Costs::of(&e, Some(1000), 10.0, Some(50.0)).break_even_tokens, None);
    }
}
