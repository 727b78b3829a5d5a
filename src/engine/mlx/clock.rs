//! The clock of timings.
//!
//! On Metal it is the wall clock. MLX's CPU backend computes on one thread, so there the CPU time of this process is
//! the time a step would take on a machine that does nothing else; the wall clock would count other programs too.

use std::time::Duration;

/// Which clock measures.
#[must_use]
pub fn name() -> &'static str {
    if cfg!(target_os = "linux") { "process_cpu" } else { "wall" }
}

/// A point in time of this clock.
#[derive(Clone, Copy, Debug)]
pub struct Instant(Duration);

impl Instant {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self(reading())
    }

    /// Seconds since this point.
    #[must_use]
    pub fn seconds(self) -> f64 {
        reading().saturating_sub(self.0).as_secs_f64()
    }
}

#[cfg(target_os = "linux")]
fn reading() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(t.tv_nsec).unwrap_or(0))
}

#[cfg(not(target_os = "linux"))]
fn reading() -> Duration {
    use std::sync::OnceLock;
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}
