//! What rounds of drafts take on one GPU.

use crate::estimate::{EstimateError, Estimator};
use crate::roofline::speculation::{HOST_SECONDS, MOST_DRAFTS, RoundTimes};
use crate::roofline::{Silicon, StepTime};

/// What drafts.
#[derive(Clone, Copy)]
pub enum DraftWork<'w, 'd> {
    /// A smaller model, one token after the other.
    Model(&'w Estimator<'d>),
    /// A prediction head of the model.
    Heads,
    /// A drafter that was made for the model and drafts so many tokens at once.
    Block(u32),
}

/// Seconds of a pass without the program around it.
fn pass(t: &StepTime) -> f64 {
    t.total() - t.program
}

impl Estimator<'_> {
    /// What rounds take on a GPU, of up to `most` drafts.
    ///
    /// # Errors
    /// When mlx-lm could not run a model.
    pub fn round_times(
        &self,
        work: &DraftWork<'_, '_>,
        silicon: &Silicon,
        most: u32,
    ) -> Result<RoundTimes, EstimateError> {
        let (coefficients, run) = (self.coefficients(), self.run());
        let speed = self.speed()?;
        let rows = |rows: u32| speed.verify_seconds(coefficients, silicon, run, rows);
        let one = rows(1);
        let draft = match work {
            DraftWork::Model(draft) => {
                pass(&draft.speed()?.decode_seconds(coefficients, silicon, draft.run()))
            }
            DraftWork::Heads => speed.head_seconds(coefficients, silicon, run),
            DraftWork::Block(drafts) => {
                speed.block_seconds(coefficients, silicon, run, *drafts) / f64::from(*drafts)
            }
        };
        Ok(RoundTimes {
            plain: one.total(),
            draft,
            verify: (1..=most.max(MOST_DRAFTS)).map(|g| pass(&rows(g + 1))).collect(),
            host: HOST_SECONDS,
            token: one.program,
        })
    }
}
