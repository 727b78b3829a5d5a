//! What a program does with drafts.

use serde::Deserialize;

/// What happens to sliding windows when drafts are taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowsWithDrafts {
    /// Nothing looks at it: from the window on, tokens of rejected drafts stay in the cache and the output is another.
    Wrong,
    /// It goes back.
    Right,
}

/// Speculative decoding of a program. A key that is absent is not known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drafting {
    /// Whether a smaller model may draft.
    pub model: Option<bool>,
    /// Whether prediction heads of the model may draft.
    pub heads: Option<bool>,
    /// Drafts a round, unless told otherwise.
    pub tokens: Option<u32>,
    /// What happens to sliding windows.
    pub windows: Option<WindowsWithDrafts>,
    /// Whether recurrent states go back to before a rejected draft.
    pub states: Option<bool>,
    /// Whether requests with drafts are served one at a time.
    pub alone: Option<bool>,
    /// Whether models that are loaded with a vision tower may have drafts.
    pub towers: Option<bool>,
    /// A setting without which there are no drafts.
    pub needs: Option<String>,
    /// The option that names the draft model.
    pub model_option: Option<String>,
    /// The option that sets the drafts a round.
    pub tokens_option: Option<String>,
    /// Where this comes from.
    pub source: String,
}
