//! Ending a run early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a pause looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// Whether a run is to end before its time, with what it has. Copies share their state.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// The flag itself, for a signal to set.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Whether the run is to end.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits, but not longer than until the run is to end.
    pub fn sleep(&self, time: Duration) {
        let begin = Instant::now();
        while !self.requested() {
            let left = time.saturating_sub(begin.elapsed());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_with_the_run() {
        let stop = Stop::default();
        stop.flag().store(true, Ordering::Relaxed);
        let begin = Instant::now();
        stop.clone().sleep(Duration::from_secs(60));
        assert!(stop.requested() && begin.elapsed() < Duration::from_secs(5));
    }
}
