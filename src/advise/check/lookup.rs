//! How names in a plan are looked up.

use crate::estimate::{Basis, OpenedModel, Program, Run};
use crate::hardware::machine::Machine;

/// Opens a model by its name and the quantization asked for, as a program loads it.
pub type OpenModel<'a> = dyn Fn(Program, &str, Option<&str>) -> Result<OpenedModel, String> + 'a;
/// Finds what was measured of a model in a run on some machines, in a file.
pub type FindRuns<'a> = dyn Fn(&str, &OpenedModel, &[Machine], &Run) -> Result<Basis, String> + 'a;

/// How names in a plan are looked up; an error is what to tell the user.
pub struct Lookup<'a> {
    /// A model with the quantization asked for.
    pub model: &'a OpenModel<'a>,
    /// A Mac.
    pub mac: &'a dyn Fn(&str) -> Result<Machine, String>,
    /// What was measured.
    pub evidence: &'a FindRuns<'a>,
}
