//! Machines that are not in the catalog, from figures the user gives.

use super::{Machine, MachineError};
use crate::hardware::catalog::{Chip, Macs};
use crate::hardware::limits::GpuLimit;
use crate::hardware::provenance::{Provenance, Sourced};
use crate::hardware::tier::{Tier, default_metal_arch};
use crate::units::{Bytes, BytesPerSecond};

/// A machine described by its figures: `--bandwidth 546 --gpu-cores 40 --memory 128`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CustomMachine {
    /// Memory bandwidth in 10^9 bytes per second.
    pub bandwidth_gbs: f64,
    /// GPU cores.
    pub gpu_cores: u32,
    /// Unified memory in GiB.
    pub memory_gib: u64,
    /// Family number, if known.
    pub generation: Option<u32>,
    /// Tier, if known.
    pub tier: Option<Tier>,
}

impl CustomMachine {
    /// Completes the figures to a machine.
    ///
    /// What was not given is guessed and marked as assumed. The tier follows the GPU cores (up to 12 base, up to 20 Pro,
    /// up to 40 Max, more Ultra: true of every chip so far). The generation, clock and matrix units are those of the
    /// catalog chip of that tier whose bandwidth and cores are closest, by the sum of the logarithms of both ratios;
    /// of equally close chips, the newest.
    ///
    /// # Errors
    /// When a figure is out of range, or the catalog has problems or no chip of the generation and tier given.
    pub fn resolve(&self, catalog: &Macs) -> Result<Machine, MachineError> {
        within("--bandwidth", self.bandwidth_gbs, 1.0, 100_000.0)?;
        within("--gpu-cores", f64::from(self.gpu_cores), 1.0, 1024.0)?;
        within("--memory", self.memory_gib as f64, 1.0, 65_536.0)?;

        let tier = self.tier.unwrap_or_else(|| guess_tier(self.gpu_cores));
        let chips = catalog.chips()?.iter().filter(|chip| chip.tier == tier);
        let model = chips
            .filter(|chip| self.generation.is_none_or(|generation| chip.generation == generation))
            .min_by(|a, b| {
                let by_distance = self.distance(a).total_cmp(&self.distance(b));
                by_distance.then(b.generation.cmp(&a.generation))
            });
        let Some(model) = model else {
            let generation = self.generation.unwrap_or_default();
            return Err(MachineError::NoSuchFamily { generation, tier });
        };
        let like =
            || Provenance::assumed(format!("as on {}, the closest chip of its tier", model.id));
        let generation = match self.generation {
            Some(generation) => Sourced::new(generation, Provenance::UserGiven),
            None => Sourced::new(model.generation, like()),
        };
        let tier_provenance = match self.tier {
            Some(_) => Provenance::UserGiven,
            None => {
                Provenance::assumed(format!("the tier of chips with {} GPU cores", self.gpu_cores))
            }
        };
        let memory = Bytes::from_gib(self.memory_gib);
        let bandwidth =
            Sourced::new(BytesPerSecond::from_gbs(self.bandwidth_gbs), Provenance::UserGiven);
        Ok(Machine {
            id: format!("custom-{}gbs-{}c/{}", self.bandwidth_gbs, self.gpu_cores, self.memory_gib),
            name: format!(
                "custom machine ({}-core GPU, {}), {} GB",
                self.gpu_cores, bandwidth.value, self.memory_gib
            ),
            chip: None,
            mac: None,
            tier: Sourced::new(tier, tier_provenance),
            gpu_cores: Sourced::new(self.gpu_cores, Provenance::UserGiven),
            bus_bandwidth: bandwidth.clone(),
            bandwidth,
            memory: Sourced::new(memory, Provenance::UserGiven),
            gpu_clock_mhz: Sourced::new(model.gpu_clock_mhz, like()),
            matrix_units: Sourced::new(model.matrix_units, like()),
            metal_arch: Sourced::new(default_metal_arch(generation.value, tier), like()),
            gpu_limit: GpuLimit::predicted(catalog.limits()?, memory, generation.value),
            budget: None,
            cap: None,
            generation,
            fanless: None,
            slc_mb: None,
            thunderbolt: None,
            decode_gpu_w: None,
            bins: Vec::new(),
            notes: vec![format!(
                "not in the catalog: generation, GPU clock and matrix units are taken from {}",
                model.name
            )],
        })
    }

    fn distance(&self, chip: &Chip) -> f64 {
        let cores = f64::from(self.gpu_cores) / f64::from(chip.gpu_cores);
        (self.bandwidth_gbs / chip.bandwidth_gbs).ln().abs() + cores.ln().abs()
    }
}

fn within(what: &'static str, value: f64, low: f64, high: f64) -> Result<(), MachineError> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(MachineError::OutOfRange { what, value, low, high })
    }
}

const fn guess_tier(gpu_cores: u32) -> Tier {
    match gpu_cores {
        0..=12 => Tier::Base,
        13..=20 => Tier::Pro,
        21..=40 => Tier::Max,
        _ => Tier::Ultra,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(bandwidth_gbs: f64, gpu_cores: u32, memory_gib: u64) -> CustomMachine {
        CustomMachine { bandwidth_gbs, gpu_cores, memory_gib, generation: None, tier: None }
    }

    #[test]
    fn the_figures_of_a_catalog_chip_find_its_generation_and_tier() {
        let catalog = Macs::embedded();
        for chip in catalog.chips().unwrap().iter().filter(|chip| chip.tier != Tier::Phone) {
            let machine = custom(chip.bandwidth_gbs, chip.gpu_cores, 16).resolve(&catalog).unwrap();
            assert_eq!(machine.tier.value, chip.tier, "{}", chip.id);
            // Bins that share figures, such as the 8- and 10-core M2 and M3, are told to be the newest.
            let twins = catalog.chips().unwrap().iter().filter(|other| {
                (other.tier, other.gpu_cores) == (chip.tier, chip.gpu_cores)
                    && other.bandwidth_gbs == chip.bandwidth_gbs
            });
            let newest = twins.map(|twin| twin.generation).max().unwrap();
            assert_eq!(machine.generation.value, newest, "{}", chip.id);
        }
    }

    #[test]
    fn what_was_not_given_is_marked_as_assumed() {
        let machine = custom(546.0, 40, 128).resolve(&Macs::embedded()).unwrap();
        assert_eq!(machine.bandwidth.provenance, Provenance::UserGiven);
        assert_eq!(machine.id, "custom-546gbs-40c/128");
        assert_eq!(machine.metal_arch.value, "applegpu_g16s");
        assert!(matches!(machine.generation.provenance, Provenance::Assumed { .. }));
        assert!(matches!(machine.tier.provenance, Provenance::Assumed { .. }));
        assert_eq!(machine.gpu_limit.range[1], Bytes(115_448_725_504));
    }

    #[test]
    fn what_was_given_is_kept() {
        let given =
            CustomMachine { generation: Some(6), tier: Some(Tier::Base), ..custom(300.0, 16, 48) };
        let machine = given.resolve(&Macs::embedded()).unwrap();
        assert_eq!((machine.generation.value, machine.tier.value), (6, Tier::Base));
        assert!(machine.matrix_units.value);
        let missing = CustomMachine { generation: Some(6), tier: Some(Tier::Max), ..given };
        assert_eq!(
            missing.resolve(&Macs::embedded()).unwrap_err().to_string(),
            "no chip of generation 6 in the catalog has the tier max; leave one of them out"
        );
    }

    #[test]
    fn figures_out_of_range_are_errors() {
        let catalog = Macs::embedded();
        for bad in [
            custom(0.0, 40, 128),
            custom(f64::NAN, 40, 128),
            custom(546.0, 0, 128),
            custom(546.0, 40, 0),
        ] {
            assert!(matches!(bad.resolve(&catalog), Err(MachineError::OutOfRange { .. })));
        }
        assert_eq!(
            custom(-1.0, 40, 128).resolve(&catalog).unwrap_err().to_string(),
            "--bandwidth must be from 1 to 100000, got -1"
        );
    }
}
