//! Speculative decoding: what a round of drafts and one verification yields, and what it takes.
//!
//! ```text
//! round            = g × draft + verify(g + 1) + host
//! tokens a round   = 1 + a + a² + … + a^g
//! speed-up         = tokens × plain / (round + tokens × token)
//! ```
//! A draft is right with probability `a`, given that those before it were; `g` drafts are verified by one pass of `g + 1`
//! rows, whose own token follows the last draft that was right. Everything waits for every round, which the host pays for.

/// More drafts a round than these are not looked at: verification becomes a matrix product with a matrix.
pub const MOST_DRAFTS: u32 = 8;

/// Seconds of the program around a round: evaluating, comparing and launching anew. An assumption.
pub const HOST_SECONDS: f64 = 1e-3;

/// Steps of a search for an acceptance: halves [0, 1] down to 2^-40.
const HALVINGS: u32 = 40;

/// Tokens that a round of `drafts` yields where each is right with probability `acceptance`.
#[must_use]
pub fn tokens_per_round(acceptance: f64, drafts: u32) -> f64 {
    let a = acceptance.clamp(0.0, 1.0);
    (0..drafts).fold(1.0, |tokens, _| a.mul_add(tokens, 1.0))
}

/// Share of the drafts that are accepted, which is what programs report as acceptance.
#[must_use]
pub fn accepted_share(acceptance: f64, drafts: u32) -> f64 {
    (tokens_per_round(acceptance, drafts) - 1.0) / f64::from(drafts.max(1))
}

/// The acceptance at which a round yields so many tokens; `None` where even drafts that are all right do not.
#[must_use]
pub fn acceptance_of_tokens(tokens: f64, drafts: u32) -> Option<f64> {
    if tokens > f64::from(drafts) + 1.0 {
        return None;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if tokens_per_round(middle, drafts) < tokens {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(high)
}

/// The acceptance behind a share of accepted drafts as programs report it.
#[must_use]
pub fn acceptance_of_share(share: f64, drafts: u32) -> f64 {
    let share = share.clamp(0.0, 1.0);
    acceptance_of_tokens(share.mul_add(f64::from(drafts), 1.0), drafts).unwrap_or(1.0)
}

/// Seconds of what rounds consist of, on one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundTimes {
    /// A token without drafts.
    pub plain: f64,
    /// A draft.
    pub draft: f64,
    /// Verification of one draft, of two, and so on: passes of two rows, of three …
    pub verify: Vec<f64>,
    /// The program around a round.
    pub host: f64,
    /// The program around a token, which every token of a round takes.
    pub token: f64,
}

/// The fastest number of drafts at an acceptance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BestDrafts {
    /// Drafts a round.
    pub drafts: u32,
    /// Times as fast as without drafts.
    pub speedup: f64,
}

impl RoundTimes {
    /// Seconds of a round of `drafts`, beside what its tokens take themselves; `None` for more than [`Self::verify`] has, and
    /// for none.
    #[must_use]
    pub fn round(&self, drafts: u32) -> Option<f64> {
        let verify = self.verify.get(drafts.checked_sub(1)? as usize)?;
        Some(f64::from(drafts).mul_add(self.draft, verify + self.host))
    }

    /// Times as fast as without drafts where a round yields so many tokens.
    #[must_use]
    pub fn speedup_of(&self, tokens: f64, drafts: u32) -> Option<f64> {
        Some(tokens * self.plain / tokens.mul_add(self.token, self.round(drafts)?))
    }

    /// Times as fast as without drafts.
    #[must_use]
    pub fn speedup(&self, acceptance: f64, drafts: u32) -> Option<f64> {
        self.speedup_of(tokens_per_round(acceptance, drafts), drafts)
    }

    /// The acceptance at which `drafts` a round are neither faster nor slower; `None` where they never pay.
    #[must_use]
    pub fn break_even(&self, drafts: u32) -> Option<f64> {
        let gained = self.plain - self.token;
        if gained <= 0.0 {
            return None;
        }
        acceptance_of_tokens(self.round(drafts)? / gained, drafts)
    }
}

impl BestDrafts {
    /// The fastest number of drafts, up to [`MOST_DRAFTS`], in the mean over GPUs that a machine may have; the fewest of
    /// those that are equally fast.
    #[must_use]
    pub fn of(times: &[RoundTimes], acceptance: f64) -> Option<Self> {
        let at = |drafts| Some(Self { drafts, speedup: mean_speedup(times, acceptance, drafts)? });
        let all = (1..=MOST_DRAFTS).filter_map(at);
        all.reduce(|best, next| if next.speedup > best.speedup { next } else { best })
    }
}

/// Times as fast as without drafts, in the mean over GPUs that a machine may have; `None` where it is known of none.
#[must_use]
pub fn mean_speedup(times: &[RoundTimes], acceptance: f64, drafts: u32) -> Option<f64> {
    let all: Vec<f64> = times.iter().filter_map(|t| t.speedup(acceptance, drafts)).collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn times() -> impl Strategy<Value = RoundTimes> {
        let verify = prop::collection::vec(0.5..8.0_f64, 8);
        (1.0..50.0_f64, 0.01..1.0_f64, verify, 0.0..0.3_f64).prop_map(
            |(plain, draft, verify, token)| RoundTimes {
                plain,
                draft: draft * plain,
                verify: verify.into_iter().map(|v| v * plain).collect(),
                host: 0.05,
                token: token * plain,
            },
        )
    }

    #[test]
    fn a_round_yields_what_is_right_in_a_row_and_one_more() {
        assert!((tokens_per_round(0.0, 3) - 1.0).abs() < 1e-12);
        assert!((tokens_per_round(1.0, 3) - 4.0).abs() < 1e-12);
        assert!((tokens_per_round(0.8, 2) - 2.44).abs() < 1e-12);
        let closed = (1.0 - 0.7_f64.powi(5)) / (1.0 - 0.7);
        assert!((tokens_per_round(0.7, 4) - closed).abs() < 1e-12);
    }

    #[test]
    fn shares_of_accepted_drafts_are_lower_than_the_acceptance() {
        // Three drafts at 0.8: 0.8, 0.64 and 0.512 of them are used.
        let share = (0.8 + 0.64 + 0.512) / 3.0;
        assert!((accepted_share(0.8, 3) - share).abs() < 1e-12);
        assert!((acceptance_of_share(share, 3) - 0.8).abs() < 1e-9);
        assert!((acceptance_of_share(0.6, 1) - 0.6).abs() < 1e-9);
        assert_eq!(acceptance_of_tokens(4.01, 3), None);
    }

    #[test]
    fn what_costs_more_than_it_yields_never_pays() {
        let times = RoundTimes {
            plain: 0.01,
            draft: 0.004,
            verify: vec![0.02, 0.03],
            host: HOST_SECONDS,
            token: 0.0,
        };
        assert_eq!(times.break_even(1), None);
        assert_eq!(times.break_even(2), None);
        assert_eq!(times.round(3), None);
        assert_eq!(times.round(0), None);
        let best = BestDrafts::of(&[times], 0.9).unwrap();
        assert!(best.speedup < 1.0);
    }

    proptest! {
        #[test]
        fn a_higher_acceptance_is_never_slower(t in times(), a in 0.0..1.0_f64, b in 0.0..1.0_f64, g in 1_u32..=8) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(t.speedup(low, g) <= t.speedup(high, g));
            let best = |a| BestDrafts::of(std::slice::from_ref(&t), a).unwrap().speedup;
            prop_assert!(best(low) <= best(high));
        }

        #[test]
        fn the_best_number_of_drafts_is_at_least_as_fast_as_others(t in times(), a in 0.0..1.0_f64) {
            let best = BestDrafts::of(std::slice::from_ref(&t), a).unwrap();
            for g in 1..=8 {
                prop_assert!(t.speedup(a, g).unwrap() <= best.speedup);
            }
        }

        #[test]
        fn the_break_even_is_where_neither_is_faster(t in times(), g in 1_u32..=8) {
            match t.break_even(g) {
                Some(a) if a > 1e-9 => prop_assert!((t.speedup(a, g).unwrap() - 1.0).abs() < 1e-6),
                // Without a single accepted draft it is at least as fast, or not even with all of them.
                Some(_) => prop_assert!(t.speedup(0.0, g).unwrap() >= 1.0 - 1e-6),
                None => prop_assert!(t.speedup(1.0, g).unwrap() < 1.0),
            }
        }

        #[test]
        fn shares_and_acceptances_convert_both_ways(a in 0.0..1.0_f64, g in 1_u32..=16) {
            prop_assert!((acceptance_of_share(accepted_share(a, g), g) - a).abs() < 1e-6);
        }
    }
}
