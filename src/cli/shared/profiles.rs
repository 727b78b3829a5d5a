//! This machine and the calibrations that were stored on it.

use super::context::Context;
use crate::calibration::profile::{self, Host, Profile};
use crate::calibration::shipped::shipped;
use crate::estimate::{Kernels, OpenedModel, Program, Run};
use crate::hardware::machine::Machine;
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
        Ok(probe(&self.catalogs.macs)?)
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

    /// The kernel times that a run of a model is predicted with: of this machine (`here`), of the file of `--profile`, or of
    /// another machine of the same bin whose owner has sent them; `None` where there are none, or they say nothing of its
    /// program or its sequences.
    pub(in crate::cli) fn kernels_for(
        &self,
        model: &OpenedModel,
        run: &Run,
        (machine, here): (Option<&Machine>, bool),
    ) -> Result<Option<Kernels>> {
        let mlx = run.engine.program == Program::MlxLm && model.source.gguf.is_none();
        if !mlx || run.work.batch != 1 {
            return Ok(None);
        }
        let macs = &self.catalogs.macs;
        if here || self.profile.is_some() {
            let probe = self.here()?;
            if let Some(profile) = self.profile(&probe)? {
                let here = here && profile.machine == host(&probe, &profile.machine.backend);
                return Ok(Some(match here {
                    true => Kernels::here(profile),
                    false => Kernels::elsewhere(profile, macs),
                }));
            }
        }
        Ok(machine.and_then(|machine| Kernels::shared(shipped(), machine, macs)))
    }
}
