//! The charts of several users.

use crate::advise::serving::{AtRate, Serving, UserRow};
use crate::chart::{Axis, Chart, ChartShape, Corner, Mark};
use crate::cli::shared::words::{format_name, short};

/// Total and each by users, waiting by users, and waiting by rate.
pub(super) fn charts(serving: &Serving) -> Vec<Chart> {
    vec![speeds(serving), waits(serving), by_rate(serving)]
}

fn subject(s: &Serving) -> String {
    format!("{} {} on {}", short(&s.model.id), format_name(&s.model.quant), s.machine.id)
}

/// A curve over users with its band.
fn curve(rows: &[UserRow], name: &str, of: impl Fn(&UserRow) -> (f64, [f64; 2])) -> Mark {
    let at = |r: &UserRow| (f64::from(r.users), of(r));
    let points = rows.iter().map(at).map(|(x, (y, _))| (x, y)).collect();
    let band = rows.iter().map(at).map(|(x, (_, [low, high]))| (x, low, high)).collect();
    Mark { name: name.to_owned(), shape: ChartShape::Dotted { points, band } }
}

fn speeds(s: &Serving) -> Chart {
    let total = |r: &UserRow| (r.total_tokens_per_s, r.interval_90);
    let each = |r: &UserRow| (r.per_user_tokens_per_s, r.per_user_interval_90);
    Chart {
        title: format!("Speed by users of {}", subject(s)),
        description: "Predicted tokens per second of all users together and of each, with the bands that hold 90 % of \
                      measurements"
            .to_owned(),
        x: Axis::whole("users"),
        y: Axis::linear("tok/s"),
        legend: Corner::UpperLeft,
        marks: vec![curve(&s.rows, "all together", total), curve(&s.rows, "each", each)],
    }
}

fn waits(s: &Serving) -> Chart {
    let median = |r: &UserRow| (r.ttft_median_s, r.ttft_median_interval_90_s);
    let most = |r: &UserRow| (r.ttft_p90_s, r.ttft_p90_interval_90_s);
    Chart {
        title: format!("First token by users of {}", subject(s)),
        description: "Predicted seconds to the first token when all users ask at once, the median and what nine of ten stay \
                      below, with 90 % bands"
            .to_owned(),
        x: Axis::whole("users"),
        y: Axis::linear("s"),
        legend: Corner::UpperLeft,
        marks: vec![curve(&s.rows, "median", median), curve(&s.rows, "nine of ten", most)],
    }
}

/// Nothing where no rate was given.
fn by_rate(s: &Serving) -> Chart {
    let line = |name: &str, of: fn(&AtRate) -> f64| Mark {
        name: name.to_owned(),
        shape: ChartShape::Dotted {
            points: s.by_rate.iter().map(|at| (at.requests_per_s, of(at))).collect(),
            band: Vec::new(),
        },
    };
    Chart {
        title: format!("First token by rate of {}", subject(s)),
        description: "Predicted seconds to the first token against the requests that arrive, up to nine tenths of the most \
                      that the server keeps up with"
            .to_owned(),
        x: Axis::linear("requests per second"),
        y: Axis::linear("s"),
        legend: Corner::UpperLeft,
        marks: vec![line("median", |at| at.ttft_median_s), line("nine of ten", |at| at.ttft_p90_s)],
    }
}
