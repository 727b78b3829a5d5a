//! What rounds of drafts take on one GPU.

use crate::estimate::{EstimateError, Estimator};
use crate::roofline::speculation::{HOST_SECONDS, MOST_DRAFTS, RoundTimes};
use crate::roofline::{Silicon, StepTime};

/// Seconds of a pass without the program around it.
fn pass(t: &StepTime) -> f64 {
    t.total() - t.program
}

impl Estimator<'_> {
    /// What rounds take with a draft model, or with the model's own heads where there is none.
    pub(super) fn round_times(
        &self,
        draft: Option<&Estimator<'_>>,
        silicon: &Silicon,
        most: u32,
    ) -> Result<RoundTimes, EstimateError> {
        let (coefficients, run) = (self.coefficients(), self.run());
        let speed = self.speed()?;
        let rows = |rows: u32| speed.verify_seconds(coefficients, silicon, run, rows);
        let one = rows(1);
        let draft = match draft {
            Some(draft) => {
                let speed = draft.speed()?;
                pass(&speed.decode_seconds(coefficients, silicon, draft.run()))
            }
            None => speed.head_seconds(coefficients, silicon, run),
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
