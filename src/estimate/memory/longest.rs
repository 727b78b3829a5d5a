//! The longest context of a run on a machine, whatever prompt the run is about.
//!
//! The search starts from the peak of one prompt, the same one for every request, so that two requests that differ in
//! their prompt alone are told the same longest context.

use super::below::{Room, below};
use super::context::{MaxContext, budget, within};
use super::ends::Ends;
use crate::hardware::machine::Machine;
use crate::ledger::peak::{Peak, PeakError};
use crate::run::Run;

/// Tokens of the prompt from whose peak a search starts: those of a request that states none, whose peak is then known.
const STARTS_FROM: u32 = 4096;

/// The run from whose peak the search of the longest context starts.
#[must_use]
pub const fn start(run: &Run) -> Run {
    run.with_context(STARTS_FROM)
}

/// The longest context, prompt and generated tokens together, below which every prompt fits by the expected peak.
/// `ends` are those of [`start`], and `known` is its peak.
///
/// # Errors
/// When mlx-lm could not run the model.
pub fn longest(ends: &Ends<'_>, machine: &Machine, known: &Peak) -> Result<MaxContext, PeakError> {
    let peak = budget(machine, ends.run.engine.reserve);
    let room = Room { peak, buffer: machine.gpu_limit.max_buffer() };
    let found = within(ends, peak, Some(known))?;
    below(ends, room, known, found)
}
