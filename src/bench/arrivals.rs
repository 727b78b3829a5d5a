//! What the times at which pieces of an answer arrived can say about the engine's speed.
//!
//! A proxy or a buffer on the way may hold an answer back and hand it over in a few pieces. The time between them is then
//! the way's, not the engine's, and a rate from it can be wrong a thousandfold.

/// Pieces that arrive closer together than this came with one reading of the network; no engine makes tokens so fast.
const TOGETHER_S: f64 = 1e-4;
/// So many hand-overs bound the share of the first one, whose making lies before the first time, to an eighth.
const ENOUGH: usize = 8;
/// Tokens of a hand-over, from which on few of them support nothing.
const TOKENS: usize = 8;
/// No single sequence is decoded faster than this, tokens per second, by any model that takes its time for the prompt.
const FASTEST: f64 = 1000.0;
/// A decode shorter than this share of the whole answer, and faster than [`FASTEST`], was held back.
const SHARE: f64 = 0.05;

/// Pieces that came with the first hand-over. They were made before it, in a time that is not known.
fn in_the_first(times_s: &[f64]) -> usize {
    1 + times_s.windows(2).take_while(|w| w[1] - w[0] <= TOGETHER_S).count()
}

/// Whether arrival times, in seconds since the request, support a decode rate of so many tokens.
#[must_use]
pub fn support_a_rate(times_s: &[f64], generated: u32, total_s: f64) -> bool {
    let (Some(first), Some(last)) = (times_s.first(), times_s.last()) else { return false };
    let tokens = generated as usize;
    let gaps = times_s.windows(2).filter(|w| w[1] - w[0] > TOGETHER_S).count();
    let handed_over = gaps + 1;
    let few = handed_over < ENOUGH;
    if few && (2 * handed_over < times_s.len() || TOKENS * handed_over < tokens) {
        return false;
    }
    let first_ones = in_the_first(times_s);
    if first_ones > TOKENS && first_ones * ENOUGH > times_s.len() {
        return false;
    }
    let span = last - first;
    let fast = f64::from(generated) > FASTEST * span;
    !(fast && span < SHARE * total_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(n: u32, at: impl Fn(u32) -> f64) -> Vec<f64> {
        (0..n).map(at).collect()
    }

    #[test]
    fn steady_streams_support_a_rate() {
        for gap in [5e-4, 1e-2, 1.0] {
            let t = times(64, |i| 0.1 + gap * f64::from(i));
            assert!(support_a_rate(&t, 64, t[63]), "{gap}");
        }
        // A long prompt before a short answer, a stall, three tokens only.
        let long = times(128, |i| 60.0 + 0.01 * f64::from(i));
        assert!(support_a_rate(&long, 128, 61.3));
        let stall =
            times(20, |i| if i < 10 { 0.01 * f64::from(i) } else { 90.0 + 0.01 * f64::from(i) });
        assert!(support_a_rate(&stall, 20, 91.0));
        // Bursts of four tokens after the first one: what the first ones hide is little.
        let fours = times(128, |i| f64::from(i / 4));
        assert!(support_a_rate(&fours, 128, 32.0));
        assert!(support_a_rate(&[0.5, 0.6, 0.7], 3, 0.7));
    }

    #[test]
    fn what_was_held_back_supports_none() {
        let at_once = times(128, |i| 12.0 + 1e-6 * f64::from(i));
        assert!(!support_a_rate(&at_once, 128, 12.0));
        let in_four = times(128, |i| f64::from(i / 32));
        assert!(!support_a_rate(&in_four, 128, 4.0));
        // A buffer that fills up first, and is passed through from then on.
        let half = times(128, |i| if i < 64 { 6.4 } else { 0.1 * f64::from(i) });
        assert!(!support_a_rate(&half, 128, 12.8));
        // Sent on one by one by a slow proxy, after everything was there.
        let resent = times(128, |i| 12.0 + 3e-4 * f64::from(i));
        assert!(!support_a_rate(&resent, 128, 12.04));
        assert!(!support_a_rate(&[1.0, 2.0], 128, 2.0));
        assert!(!support_a_rate(&[], 1, 1.0));
    }
}
