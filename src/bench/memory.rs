//! Memory by the name of its metric. Figures of different metrics are never compared or added.

use serde::{Deserialize, Serialize};

/// Memory at one moment, in bytes. What could not be read is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReading {
    /// macOS: physical footprint of the server and its child processes, GPU memory included (what Activity Monitor
    /// shows).
    pub footprint_bytes: Option<u64>,
    /// Resident set of the server and its child processes. Contains mapped weight files as far as they were touched,
    /// and on macOS not all GPU memory.
    pub resident_bytes: Option<u64>,
    /// MLX: bytes of live arrays.
    pub mlx_active_bytes: Option<u64>,
    /// MLX: bytes of freed buffers kept for reuse.
    pub mlx_cache_bytes: Option<u64>,
    /// MLX: highest value of active memory.
    pub mlx_peak_bytes: Option<u64>,
}
