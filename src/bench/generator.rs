//! What a run measures: anything that generates text.

use super::failure::Failure;
use super::generation::{Generation, Prompt};
use super::memory::MemoryReading;

/// Something that generates text and can be timed.
pub trait Generator: Sync {
    /// Generates once. Must not repeat a request.
    ///
    /// # Errors
    /// When the generation failed.
    fn generate(&self, prompt: &Prompt) -> Result<Generation, Failure>;

    /// Counts the tokens of a generation whose counts are missing, where anything else can tell.
    fn count(&self, _prompt: &Prompt, _generation: &mut Generation) {}

    /// Memory now, as far as it can be read.
    fn memory(&self) -> Option<MemoryReading> {
        None
    }

    /// Removes the model from memory; `false` when the engine has no call for that.
    ///
    /// # Errors
    /// When the engine does not answer.
    fn unload(&self) -> Result<bool, Failure> {
        Ok(false)
    }
}
