//! A prediction for this machine, which is no Mac, for people.

use crate::calibration::evidence::PredictedRate;
use crate::estimate::TimedAlone;
use crate::report::Document;
use crate::units::{Seconds, TokensPerSecond};

/// Speeds of this machine, which is no Mac.
pub(super) fn document(p: &TimedAlone) -> Document {
    let mut d = Document::default();
    d.heading(format!("{}  {}  on  this machine", p.model.id, p.model.quant));
    let speed = |p: PredictedRate| {
        let (r, [low, high]) = (TokensPerSecond, p.interval_90);
        format!("{} tok/s, 90 % {}–{}", r(p.rate), r(low), r(high))
    };
    let t = &p.timing;
    let mut pairs = vec![
        ("decode".to_owned(), speed(t.decode.rates(1.0))),
        (String::new(), format!("{} a token", Seconds(t.decode.seconds))),
    ];
    for (depth, timed) in &t.at_depth {
        pairs.push((String::new(), format!("{} at {depth} tokens", speed(timed.rates(1.0)))));
    }
    let mut basis = format!("{}: decode {}", t.fidelity.name(), t.text());
    if let Some(prompt) = &t.prompt {
        let (ttft, [soon, late]) = prompt.ttft();
        let [ttft, soon, late] = [ttft, soon, late].map(Seconds);
        pairs.push(("prefill".to_owned(), speed(prompt.rates())));
        pairs.push(("first token".to_owned(), format!("after {ttft}, 90 % {soon}–{late}")));
        basis = format!("{basis}; prefill {}", prompt.text());
    }
    pairs.push(("basis".to_owned(), basis));
    d.pairs(pairs);
    let missing = if t.prompt.is_some() { "limits are" } else { "limits and prefill are" };
    d.notes(vec![format!("no Apple Silicon Mac, so memory {missing} not predicted")]);
    d
}
