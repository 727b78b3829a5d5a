//! Signals that end a run: the first lets it end in order, the second ends the process at once.

use super::output::say;
use crate::bench::Stop;
use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::time::Duration;

/// How often it is looked for a signal in order to say what happens now.
const LOOK: Duration = Duration::from_millis(50);

/// From now on SIGINT, SIGTERM and SIGHUP ask a run to end with what it has; a second one ends the process with 128
/// plus its number. A signal that is ignored, as `nohup` does with SIGHUP, stays ignored.
pub(in crate::cli) fn stop(quiet: bool) -> Result<Stop> {
    let stop = Stop::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if is_ignored(signal) {
            continue;
        }
        flag::register_conditional_shutdown(signal, 128 + signal, stop.flag())
            .and_then(|_| flag::register(signal, stop.flag()))
            .with_context(|| format!("cannot listen for signal {signal}"))?;
    }
    if !quiet {
        let asked = stop.clone();
        std::thread::spawn(move || {
            while !asked.requested() {
                std::thread::sleep(LOOK);
            }
            say("hint: ending after what runs now; once more ends at once");
        });
    }
    Ok(stop)
}

/// Whether whoever started this process wants it to ignore a signal.
pub(in crate::cli) fn is_ignored(signal: i32) -> bool {
    let mut old = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the present one into the structure it is given.
    let result = unsafe { libc::sigaction(signal, std::ptr::null(), old.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid value of this plain structure, and the call succeeded.
    result == 0 && unsafe { old.assume_init() }.sa_sigaction == libc::SIG_IGN
}
