//! What a first call leaves in the caches, remembered: searches of the longest context start from it hundreds of times.

use super::cache::Cache;
use super::tape::{Routing, TraceError};
use super::{Call, Graph};
use std::sync::{Mutex, PoisonError};

/// First calls that are remembered. A search makes one; runs that are compared differ in their chunks or their caches.
const REMEMBERED: usize = 8;

/// First calls, with the caches that each leaves, the latest last.
#[derive(Default)]
pub(super) struct FirstCalls(Mutex<Vec<(Call, Vec<Cache>)>>);

impl Graph {
    /// The caches after a first call, as far as their shapes go. Traced once.
    ///
    /// # Errors
    /// When mlx-lm could not run the model.
    pub fn caches_after(&self, call: &Call) -> Result<Vec<Cache>, TraceError> {
        let known = || self.first_calls.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, caches)) = known().iter().find(|(done, _)| done == call) {
            return Ok(caches.clone());
        }
        let mut caches = self.make_cache();
        self.trace(&mut caches, call.clone(), Routing::default())?;
        let mut known = known();
        // Others may have traced the same meanwhile.
        if known.iter().all(|(done, _)| done != call) {
            if known.len() >= REMEMBERED {
                known.remove(0);
            }
            known.push((call.clone(), caches.clone()));
        }
        Ok(caches)
    }
}
