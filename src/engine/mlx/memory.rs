//! MLX's memory: what it uses, and the limit of wired memory during a generation.

use super::rs::memory;
use serde::Serialize;

/// Bytes by MLX's own counters.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MlxMemory {
    /// In use by arrays.
    pub active_bytes: u64,
    /// Freed, but kept for reuse.
    pub cache_bytes: u64,
    /// Most bytes that were active at a time since [`reset_peak`].
    pub peak_bytes: u64,
}

impl MlxMemory {
    /// The counters now; `None` where MLX has none.
    #[must_use]
    pub fn now() -> Option<Self> {
        Some(Self {
            active_bytes: memory::active_memory().ok()? as u64,
            cache_bytes: memory::cache_memory().ok()? as u64,
            peak_bytes: memory::peak_memory().ok()? as u64,
        })
    }
}

/// Resident bytes of this process.
#[must_use]
pub fn process_bytes() -> Option<u64> {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
    let me = Pid::from_u32(std::process::id());
    let mut system = System::new();
    let what = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[me]), false, what);
    system.process(me).map(sysinfo::Process::memory)
}

/// Starts a new count of the peak.
pub fn reset_peak() {
    let _ = memory::reset_peak_memory();
}

/// Gives freed buffers back to the system.
pub fn clear_cache() {
    let _ = memory::clear_cache();
}

/// While it lives, MLX may wire as much memory as Metal recommends, as during `mlx_lm.generate`; then the old limit
/// holds again. Without Metal it does nothing.
pub(super) struct Wired {
    old: Option<usize>,
}

impl Wired {
    pub fn recommended() -> Self {
        Self { old: recommended_bytes().and_then(|n| memory::set_wired_limit(n).ok()) }
    }
}

impl Drop for Wired {
    fn drop(&mut self) {
        if let Some(old) = self.old {
            let _ = super::ops::synchronize();
            let _ = memory::set_wired_limit(old);
        }
    }
}

/// Version of MLX.
#[must_use]
pub fn version() -> String {
    // SAFETY: a string made here and freed here.
    unsafe {
        let mut text = mlx_sys::mlx_string_new();
        let known = mlx_sys::mlx_version(&raw mut text) == 0;
        let out = if known {
            let data = mlx_sys::mlx_string_data(text);
            std::ffi::CStr::from_ptr(data).to_string_lossy().into_owned()
        } else {
            String::new()
        };
        mlx_sys::mlx_string_free(text);
        out
    }
}

/// `metal` or `cpu`.
#[must_use]
pub fn backend() -> &'static str {
    if recommended_bytes().is_some() { "metal" } else { "cpu" }
}

/// `max_recommended_working_set_size` of the GPU; `None` without Metal.
fn recommended_bytes() -> Option<usize> {
    let mut metal = false;
    // SAFETY: writes one flag.
    let status = unsafe { mlx_sys::mlx_metal_is_available(&raw mut metal) };
    if status != 0 || !metal {
        return None;
    }
    // SAFETY: objects made here and freed here.
    unsafe {
        let device = mlx_sys::mlx_device_new_type(mlx_sys::mlx_device_type__MLX_GPU, 0);
        let mut info = mlx_sys::mlx_device_info_new();
        let mut bytes = 0usize;
        let key = c"max_recommended_working_set_size";
        let known = mlx_sys::mlx_device_info_get(&raw mut info, device) == 0
            && mlx_sys::mlx_device_info_get_size(&raw mut bytes, info, key.as_ptr()) == 0;
        mlx_sys::mlx_device_info_free(info);
        mlx_sys::mlx_device_free(device);
        known.then_some(bytes)
    }
}
