//! Times that can be: positive and finite, or there is no answer.
//!
//! The laws were fitted on models as people run them. Sizes far outside of those can make a term negative or endless; a
//! time that holds such a term is no prediction, whatever the sum of the others.

use super::{AtDepth, Decode, Prefill, Term};
use thiserror::Error;

/// A time that cannot be.
#[derive(Clone, Debug, PartialEq, Error)]
#[error(
    "there is no {what}: the part of '{term}' comes out as {seconds:.3e} s, because the sizes of this model lie far outside \
     those that the speeds were fitted on; check head_dim, the heads and the widths in its configuration"
)]
pub struct UnsoundTime {
    /// Which time.
    pub what: &'static str,
    /// The part of it that cannot be.
    pub term: &'static str,
    /// Its value in seconds.
    pub seconds: f64,
}

/// Checks that both times are positive and finite, and that none of their parts is negative or endless.
pub(in crate::estimate) fn sound(decode: &Decode, prefill: &Prefill) -> Result<(), UnsoundTime> {
    let step = parts("time of a token", &decode.terms, decode.seconds_per_token)?;
    whole("time of a token", step)?;
    parts("time to first token", &prefill.terms, prefill.ttft_s)?;
    whole("time to first token", prefill.ttft_s)?;
    whole("speed of the prompt", 1.0 / prefill.tokens_per_s)
}

/// Checks the speeds at other depths.
pub(in crate::estimate) fn sound_depths(depths: &[AtDepth]) -> Result<(), UnsoundTime> {
    depths.iter().try_for_each(|at| whole("time of a token at that depth", 1.0 / at.tokens_per_s))
}

/// The whole, where every part can be.
fn parts(what: &'static str, terms: &[Term], whole: f64) -> Result<f64, UnsoundTime> {
    // What a program adds is a difference from mlx-lm, and some are quicker.
    let may_be = |t: &Term| t.seconds >= 0.0 || t.name == "program";
    let wrong = |t: &&Term| !(t.seconds.is_finite() && may_be(t));
    match terms.iter().find(wrong) {
        Some(t) => Err(UnsoundTime { what, term: t.name, seconds: t.seconds }),
        None => Ok(whole),
    }
}

fn whole(what: &'static str, seconds: f64) -> Result<(), UnsoundTime> {
    if seconds > 0.0 && seconds.is_finite() {
        return Ok(());
    }
    Err(UnsoundTime { what, term: "total", seconds })
}
