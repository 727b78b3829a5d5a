//! From a probe to a machine to plan for.

use super::{Probe, ProbeError};
use crate::hardware::catalog::{AS_OF, Macs};
use crate::hardware::machine::{CustomMachine, Machine, MachineError};
use crate::hardware::provenance::{Provenance, Sourced};
use crate::units::GIB;

impl Probe {
    /// The machine that was probed, with what was read in place of what the catalog says.
    ///
    /// # Errors
    /// When it is not an Apple Silicon Mac, is a virtual machine, or is not in the catalog; the error says what to
    /// give instead.
    pub fn machine(&self, catalog: &Macs) -> Result<Machine, ProbeError> {
        let (brand, memory_gib) = self.require_mac()?;
        let chip = match &self.chip {
            Some(id) => catalog.chip(id)?,
            None => None,
        };
        let Some(chip) = chip else {
            let cores = self.gpu_cores.map_or_else(String::new, |n| format!(" with {n} GPU cores"));
            return Err(ProbeError::UnknownChip {
                what: format!("{brand}{cores} and {memory_gib} GB"),
                as_of: AS_OF,
            });
        };
        let mut machine = Machine::from_chip(chip, memory_gib, catalog.limits()?);
        if let Some(mac) = &self.mac {
            machine.mac = Some(mac.clone());
        }
        machine.fanless = self.fanless;
        self.overlay(&mut machine);
        Ok(machine)
    }

    /// The machine that was probed, when the catalog does not know its bandwidth and the user does.
    ///
    /// # Errors
    /// As [`Probe::machine`], except for a chip that is not in the catalog; and when the bandwidth is out of range.
    pub fn machine_with_bandwidth(
        &self,
        catalog: &Macs,
        bandwidth_gbs: f64,
    ) -> Result<Machine, ProbeError> {
        let (brand, memory_gib) = self.require_mac()?;
        let gpu_cores = self.gpu_cores.ok_or(ProbeError::Incomplete("the number of GPU cores"))?;
        let custom = |generation| {
            CustomMachine { bandwidth_gbs, gpu_cores, memory_gib, generation, tier: self.tier }
                .resolve(catalog)
        };
        // A generation that the catalog does not have yet borrows from the closest chip it has.
        let mut machine = match custom(self.generation) {
            Err(MachineError::NoSuchFamily { .. }) => custom(None),
            result => result,
        }
        .map_err(|error| match error {
            MachineError::Catalog(error) => ProbeError::Catalog(error),
            other => ProbeError::Unreadable(other.to_string()),
        })?;
        machine.name = format!("{brand} ({gpu_cores}-core GPU), {memory_gib} GB");
        let measured = |field: &str| self.measured(field);
        machine.tier.provenance = measured("tier").unwrap_or(machine.tier.provenance);
        if let (Some(generation), Some(provenance)) = (self.generation, measured("generation")) {
            machine.generation = Sourced::new(generation, provenance);
        }
        self.overlay(&mut machine);
        Ok(machine)
    }

    fn require_mac(&self) -> Result<(&str, u64), ProbeError> {
        let brand = self.brand.as_deref().unwrap_or("unknown");
        if self.virtual_machine == Some(true) {
            return Err(ProbeError::VirtualMachine(brand.to_owned()));
        }
        if !self.apple_silicon {
            return Err(ProbeError::NotAppleSilicon(brand.to_owned()));
        }
        let memory = self.memory_bytes.ok_or(ProbeError::Incomplete("the memory"))?;
        match memory.0 / GIB {
            0 => Err(ProbeError::Incomplete("the memory")),
            gib => Ok((brand, gib)),
        }
    }

    /// Puts readings over figures of the catalog.
    fn overlay(&self, machine: &mut Machine) {
        fn put<T: Clone>(field: &mut Sourced<T>, value: Option<&T>, reading: Option<Provenance>) {
            if let (Some(value), Some(provenance)) = (value, reading) {
                *field = Sourced::new(value.clone(), provenance);
            }
        }
        put(&mut machine.memory, self.memory_bytes.as_ref(), self.measured("memory_bytes"));
        put(&mut machine.gpu_cores, self.gpu_cores.as_ref(), self.measured("gpu_cores"));
        put(
            &mut machine.gpu_clock_mhz,
            self.gpu_clock_mhz.as_ref(),
            self.measured("gpu_clock_mhz"),
        );
        put(&mut machine.metal_arch, self.metal_arch.as_ref(), self.measured("metal_arch"));
        if let Some(limit) = &self.gpu_limit {
            machine.gpu_limit = limit.clone();
        }
        machine.notes.extend(self.notes.iter().cloned());
    }

    /// Provenance of a field that was read from the machine; `None` for one filled in from the catalog.
    fn measured(&self, field: &str) -> Option<Provenance> {
        let source = self.sources.get(field)?;
        (!source.contains(".toml")).then(|| Provenance::measured(source.as_str()))
    }
}
