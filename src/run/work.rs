//! The work of a run: what is read and what is generated.

/// Prompt, output and sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Tokens of the prompt, which are in the cache when decoding starts.
    pub context_tokens: u32,
    /// Tokens generated after the prompt.
    pub generate_tokens: u32,
    /// Sequences processed together.
    pub batch: u32,
}

impl Default for Work {
    fn default() -> Self {
        Self { context_tokens: 4096, generate_tokens: 256, batch: 1 }
    }
}
