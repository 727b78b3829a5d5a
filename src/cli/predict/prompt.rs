//! What is said of the prompt: its speed, in both modes where it is not known which one it is, and the first token, after
//! a pause too.

use crate::estimate::Prefill;
use crate::run::Work;
use crate::units::{Seconds, TokensPerSecond};

/// Adds the rows of the prompt.
pub(super) fn add(add: &mut impl FnMut(&str, String), prefill: &Prefill, work: &Work) {
    let other = prefill.without_units.as_deref();
    let [with, without] = match other {
        Some(_) => [" on matrix units", " without them"],
        None => ["", ""],
    };
    add("prefill", format!("{}{with}", rate(prefill)));
    if let Some(other) = other {
        add("", format!("{}{without}", rate(other)));
    }
    add("first token", format!("{}{with}", first_token(prefill, work)));
    if let Some(other) = other {
        add("", format!("{}{without}", first_token(other, work)));
    }
    if let Some(pause) = &prefill.pause {
        let [least, most] = pause.interval_90_s.map(Seconds);
        let cost = format!("{} ({least}–{most})", Seconds(pause.seconds));
        let text = match pause.counted {
            true => format!("of these {cost} after the pause"),
            false => format!("{cost} later after a pause of more than {}", Seconds(pause.after_s)),
        };
        add("", text);
    }
}

fn rate(p: &Prefill) -> String {
    let [low, high] = p.interval_90.map(TokensPerSecond);
    format!("{} tok/s, 90 % {low}–{high}", TokensPerSecond(p.tokens_per_s))
}

fn first_token(p: &Prefill, work: &Work) -> String {
    let [soon, late] = p.ttft_at(p.interval_90, work).map(Seconds);
    format!("after {}, 90 % {soon}–{late}", Seconds(p.ttft_s))
}
