//! The time that a server adds to a token.

/// What a server adds to every token of a single stream, beside the step of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerTime {
    /// Seconds a token.
    pub token_s: f64,
    /// Seconds a token for every token in the cache.
    pub cached_token_s: f64,
    /// Lowest and highest factor on both.
    pub band: [f64; 2],
}

impl ServerTime {
    /// Seconds of a token with so many tokens in the cache.
    #[must_use]
    pub fn seconds(&self, tokens: f64) -> f64 {
        self.token_s + self.cached_token_s * tokens
    }
}
