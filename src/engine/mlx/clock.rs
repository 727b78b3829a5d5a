//! The clock of timings.
//!
//! On Metal it is the wall clock. MLX's CPU backend computes on a thread of its own while the caller builds the next
//! step, so there the CPU time of all threads but the caller's is the time that a step takes on a machine that does
//! nothing else; the wall clock would count other programs too. Comparisons state the wall clock's rate beside it.

use std::time::Duration;

/// Which clock measures.
#[must_use]
pub fn name() -> &'static str {
    if cfg!(target_os = "linux") { "cpu_of_mlx_threads" } else { "wall" }
}

/// A point in time of this clock, for the thread that made it.
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
    use rustix::time::{ClockId, clock_gettime};
    let of = |clock| {
        let t = clock_gettime(clock);
        let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(t.tv_nsec).unwrap_or(0))
    };
    of(ClockId::ProcessCPUTime).saturating_sub(of(ClockId::ThreadCPUTime))
}

#[cfg(not(target_os = "linux"))]
fn reading() -> Duration {
    use std::sync::OnceLock;
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}
