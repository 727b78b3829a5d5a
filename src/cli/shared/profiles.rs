//! This machine and the calibrations that were stored on it.

use super::context::Context;
use crate::calibration::profile::{self, Host, Profile};
use crate::hardware::probe::{Probe, probe};
use anyhow::Result;

/// This machine as profiles name it.
pub(in crate::cli) fn host(probe: &Probe, backend: &str) -> Host {
    Host {
        system: std::env::consts::OS.to_owned(),
        chip: probe.brand.clone().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        gpu_cores: probe.gpu_cores,
        cpu_cores: probe.cpu_cores,
        memory_bytes: probe.memory_bytes.map(|b| b.0),
        backend: backend.to_owned(),
    }
}

impl Context {
    /// The probe of this machine.
    pub(in crate::cli) fn here(&self) -> Result<Probe> {
        Ok(probe(&self.catalogues.macs)?)
    }

    /// The profile of `--profile`, or the newest one of this machine.
    pub(in crate::cli) fn profile(&self, probe: &Probe) -> Result<Option<Profile>> {
        if let Some(path) = &self.profile {
            return Ok(Some(Profile::read(path)?));
        }
        let Some(folder) = profile::folder() else { return Ok(None) };
        let (stored, _) = profile::list(&folder);
        let fits = |p: &Profile| p.machine == host(probe, &p.machine.backend);
        Ok(stored.into_iter().map(|(_, p)| p).find(fits))
    }
}
