//! `data/power.toml`: what power modes and heat leave of a Mac's speed. Read strictly.

use super::machine::Machine;
use super::tier::Tier;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::LazyLock;
use thiserror::Error;

const EMBEDDED: &str = include_str!("../../data/power.toml");

/// A file of power modes that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("data/power.toml: {0}")]
pub struct PowerDataError(String);

/// A power mode of macOS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerSetting {
    /// Low Power Mode.
    Low,
    /// Automatic, which is the default of macOS.
    #[default]
    Automatic,
    /// High Power.
    High,
    /// On battery, without Low Power Mode.
    Battery,
}

impl PowerSetting {
    /// The name on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Automatic => "automatic",
            Self::High => "high",
            Self::Battery => "battery",
        }
    }
}

impl fmt::Display for PowerSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a Mac is cooled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A laptop without a fan.
    Air,
    /// A laptop of 13 inches with a fan (M1 and M2), which is cooled like one of 14.
    Mbp13,
    /// A laptop of 14 inches.
    Mbp14,
    /// A laptop of 16 inches.
    Mbp16,
    /// A desktop.
    Desktop,
    /// The product is not known.
    Unknown,
}

impl Form {
    /// The form of a machine, as far as its product is known. Ultra chips are sold in desktops alone.
    #[must_use]
    pub fn of(machine: &Machine) -> Self {
        let name = machine.mac.as_ref().map(|m| m.name.as_str());
        match (machine.fanless, name) {
            (Some(true), _) => Self::Air,
            (_, Some(name)) if name.starts_with("MacBook") && name.contains("16\"") => Self::Mbp16,
            (_, Some(name)) if name.starts_with("MacBook") && name.contains("13\"") => Self::Mbp13,
            (_, Some(name)) if name.starts_with("MacBook") => Self::Mbp14,
            (_, Some(_)) => Self::Desktop,
            (_, None) if machine.tier.value == Tier::Ultra => Self::Desktop,
            (_, None) => Self::Unknown,
        }
    }

    /// Whether it is a laptop, or may be one.
    #[must_use]
    pub const fn may_be_laptop(self) -> bool {
        !matches!(self, Self::Desktop)
    }
}

/// How a figure is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub enum RangeBasis {
    /// Published measurements.
    #[serde(rename = "meas")]
    Measured,
    /// An assumption.
    #[serde(rename = "est")]
    Assumed,
}

/// What is known of power modes and heat.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerFile {
    /// Version of the format of the file.
    pub schema: u32,
    /// Day of the knowledge, ISO.
    pub as_of: String,
    /// Modes.
    pub mode: Vec<ModeRow>,
    /// Heat.
    pub heat: Vec<HeatRow>,
    /// Watts of a Mac that generates.
    pub draw: Vec<DrawRow>,
    /// Batteries.
    pub battery: Vec<BatteryRow>,
}

/// What a Mac draws while a model generates.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawRow {
    /// `base`, `pro`, `max` or `ultra`.
    pub tier: String,
    /// Watts of the whole machine: lowest, middle, highest.
    pub watts: [f64; 3],
    /// How it is known.
    pub basis: RangeBasis,
    /// What was found, with figures.
    pub evidence: String,
    /// Where.
    pub sources: Vec<String>,
}

/// The batteries of a form.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatteryRow {
    /// `air`, `mbp13`, `mbp14` or `mbp16`.
    pub form: String,
    /// Watt-hours: smallest and largest.
    pub wh: [f64; 2],
    /// What was found, with figures.
    pub evidence: String,
    /// Where.
    pub sources: Vec<String>,
}

/// What a mode leaves of the speed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeRow {
    /// The mode.
    pub name: PowerSetting,
    /// Factor on a laptop: lowest, middle, highest.
    pub laptop: [f64; 3],
    /// Factor on a desktop.
    pub desktop: [f64; 3],
    /// How it is known.
    pub basis: RangeBasis,
    /// What was found, with figures.
    pub evidence: String,
    /// Where.
    pub sources: Vec<String>,
}

/// What ten minutes of work leave of the speed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeatRow {
    /// `air`, `mbp14`, `mbp16`, `desktop`, `laptop` (any of the first three) or `any`.
    pub form: String,
    /// A mode, or `any`.
    pub mode: String,
    /// Factor: lowest, middle, highest.
    pub after_ten_minutes: [f64; 3],
    /// How it is known.
    pub basis: RangeBasis,
    /// What was found, with figures.
    pub evidence: String,
    /// Where.
    pub sources: Vec<String>,
}

impl PowerFile {
    /// The embedded file.
    ///
    /// # Errors
    /// Never, as a test shows.
    pub fn embedded() -> Result<&'static Self, PowerDataError> {
        static READ: LazyLock<Result<PowerFile, PowerDataError>> =
            LazyLock::new(|| toml::from_str(EMBEDDED).map_err(|e| PowerDataError(e.to_string())));
        READ.as_ref().map_err(Clone::clone)
    }

    /// What a machine of a tier draws while it generates; phones are in no row.
    #[must_use]
    pub fn draw(&self, tier: Tier) -> Option<&DrawRow> {
        let name = match tier {
            Tier::Phone => return None,
            Tier::Base => "base",
            Tier::Pro => "pro",
            Tier::Max => "max",
            Tier::Ultra => "ultra",
        };
        self.draw.iter().find(|r| r.tier == name)
    }

    /// Watt-hours of the batteries of a form: smallest and largest; `None` where there is none, or it is not known.
    #[must_use]
    pub fn battery_wh(&self, form: Form) -> Option<[f64; 2]> {
        let name = match form {
            Form::Air => "air",
            Form::Mbp13 => "mbp13",
            Form::Mbp14 => "mbp14",
            Form::Mbp16 => "mbp16",
            Form::Desktop | Form::Unknown => return None,
        };
        self.battery.iter().find(|r| r.form == name).map(|r| r.wh)
    }

    /// The row of a mode.
    ///
    /// # Errors
    /// When there is none, which a test rules out.
    pub fn mode(&self, mode: PowerSetting) -> Result<&ModeRow, PowerDataError> {
        let missing = || PowerDataError(format!("no mode {mode}"));
        self.mode.iter().find(|r| r.name == mode).ok_or_else(missing)
    }

    /// The rows on heat that a form in a mode may follow: those of the mode where there are some, else those of any. A
    /// product that is not known may be a laptop with a fan or a desktop.
    #[must_use]
    pub fn heat(&self, form: Form, mode: PowerSetting) -> Vec<&HeatRow> {
        let forms: &[&str] = match form {
            Form::Air => &["air", "any"],
            Form::Mbp13 | Form::Mbp14 => &["mbp14", "laptop", "any"],
            Form::Mbp16 => &["mbp16", "laptop", "any"],
            Form::Desktop => &["desktop", "any"],
            Form::Unknown => {
                let mut all: Vec<&HeatRow> = Vec::new();
                let may_be = [Form::Mbp14, Form::Mbp16, Form::Desktop];
                for row in may_be.into_iter().flat_map(|form| self.heat(form, mode)) {
                    if !all.iter().any(|known| std::ptr::eq(*known, row)) {
                        all.push(row);
                    }
                }
                return all;
            }
        };
        let of = |name: &str| -> Vec<&HeatRow> {
            let is = |r: &&HeatRow| r.mode == name && forms.contains(&r.form.as_str());
            self.heat.iter().filter(is).collect()
        };
        let mine = of(mode.name());
        if mine.is_empty() { of("any") } else { mine }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Macs;
    use crate::hardware::spec::resolve;

    #[test]
    fn every_mode_and_form_has_a_row_with_a_range_in_order() {
        let file = PowerFile::embedded().expect("readable");
        let modes =
            [PowerSetting::Low, PowerSetting::Automatic, PowerSetting::High, PowerSetting::Battery];
        for mode in modes {
            let row = file.mode(mode).expect("there");
            for range in [row.laptop, row.desktop] {
                assert!(range.is_sorted() && range[0] > 0.0, "{mode}: {range:?}");
            }
            assert!(row.basis == RangeBasis::Assumed || !row.sources.is_empty(), "{mode}");
            let laptops = [Form::Air, Form::Mbp13, Form::Mbp14, Form::Mbp16];
            for form in laptops.into_iter().chain([Form::Desktop, Form::Unknown]) {
                let rows = file.heat(form, mode);
                assert!(!rows.is_empty(), "{form:?} {mode}");
                for r in rows {
                    assert!(r.after_ten_minutes.is_sorted() && !r.evidence.is_empty(), "{r:?}");
                }
            }
        }
    }

    #[test]
    fn every_tier_draws_watts_and_every_laptop_has_a_battery() {
        let file = PowerFile::embedded().expect("readable");
        let mut before = 0.0;
        for tier in [Tier::Base, Tier::Pro, Tier::Max, Tier::Ultra] {
            let row = file.draw(tier).expect("there");
            assert!(row.watts.is_sorted() && row.watts[1] > before, "{tier:?}");
            assert!(!row.evidence.is_empty() && !row.sources.is_empty());
            before = row.watts[1];
        }
        for row in &file.battery {
            assert!(!row.sources.is_empty() && !row.evidence.is_empty(), "{row:?}");
            assert!(row.sources.iter().all(|s| s.starts_with("https://")), "{row:?}");
        }
        for form in [Form::Air, Form::Mbp13, Form::Mbp14, Form::Mbp16] {
            assert!(file.battery_wh(form).is_some_and(|wh| wh.is_sorted()), "{form:?}");
        }
        assert_eq!(file.battery_wh(Form::Desktop), None);
    }

    /// Automatic mode has a row of its own for laptops alone; a machine that may be a desktop may follow that of desktops.
    #[test]
    fn a_product_that_is_not_known_may_be_a_desktop() {
        let file = PowerFile::embedded().expect("readable");
        let forms = |mode| -> Vec<&str> {
            file.heat(Form::Unknown, mode).iter().map(|r| r.form.as_str()).collect()
        };
        assert_eq!(forms(PowerSetting::Automatic), ["laptop", "desktop"]);
        assert_eq!(forms(PowerSetting::High), ["mbp14", "mbp16", "desktop"]);
        assert_eq!(forms(PowerSetting::Low), ["any"]);
    }

    #[test]
    fn products_tell_the_form() {
        let macs = Macs::embedded();
        let form = |spec: &str| Form::of(&resolve(spec, &macs).expect("a Mac"));
        assert_eq!(form("m3ultra-80/512"), Form::Desktop);
        assert_eq!(form("m4max-40/128"), Form::Unknown);
        assert_eq!(form("mbp16-m5max-40-2026/128"), Form::Mbp16);
        assert_eq!(form("mbp14-m5pro-16-2026/24"), Form::Mbp14);
        assert_eq!(form("mbp13-m1-2020/16"), Form::Mbp13);
        assert_eq!(form("air13-m5-10-2026/16"), Form::Air);
        assert_eq!(form("studio-m4max-40-2025/64"), Form::Desktop);
    }
}
