//! What updates of installed programs would change on a machine.

use super::context::Catalogs;
use crate::advise::engine_update::UpdateEffect;
use crate::bench::http::{RunningServer, running_servers};
use crate::engine::installed::Installed;
use crate::hardware::probe::Probe;

/// The effects of all updates that are out; none where the machine is no Mac or a model cannot be read.
pub(in crate::cli) fn effects(
    catalogs: &Catalogs,
    probe: &Probe,
    engines: &[Installed],
) -> Vec<UpdateEffect> {
    if engines.iter().all(|e| e.newer_mlx.is_none()) {
        return Vec::new();
    }
    let (Ok(machine), Ok(models)) = (probe.machine(&catalogs.macs), catalogs.models()) else {
        return Vec::new();
    };
    engines.iter().filter_map(|e| UpdateEffect::of(e, &machine, models).ok()?).collect()
}

/// The servers that answer on this machine, where that is a Mac and nothing forbids to ask.
pub(in crate::cli) fn running(offline: bool) -> Vec<RunningServer> {
    if offline || !cfg!(target_os = "macos") { Vec::new() } else { running_servers() }
}
