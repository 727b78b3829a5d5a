//! The charts of a session: a timeline, waiting with and without the kept cache, and memory.

use crate::advise::session::{SessionPlan, TurnRow};
use crate::chart::{Axis, Chart, ChartShape, Corner, Mark};
use crate::estimate::TimeRange;

/// The charts; none of one turn.
pub(super) fn charts(plan: &SessionPlan) -> Vec<Chart> {
    match plan.turns.len() {
        0 | 1 => Vec::new(),
        _ => vec![timeline(plan), waits(plan), memory(plan)],
    }
}

fn chart(plan: &SessionPlan, what: &str, description: &str, unit: &str, marks: Vec<Mark>) -> Chart {
    Chart {
        title: format!("{what} of {} {} on {}", plan.model.id, plan.model.quant, plan.machine.id),
        description: description.to_owned(),
        x: Axis::close("turn"),
        y: Axis::linear(unit),
        legend: Corner::UpperLeft,
        marks,
    }
}

/// What a part of a turn takes.
type Part = (&'static str, fn(&TurnRow) -> TimeRange);

/// The parts of a turn in their order.
const PARTS: [Part; 5] = [
    ("server", |t| t.parts.server),
    ("kept cache", |t| t.parts.kept),
    ("prefill", |t| t.parts.prefill),
    ("output", |t| t.parts.output),
    ("tools", |t| t.parts.tools),
];

fn timeline(plan: &SessionPlan) -> Chart {
    let mut below = vec![0.0; plan.turns.len()];
    let mut marks = Vec::new();
    for (name, of) in PARTS {
        let points: Vec<(f64, f64, f64)> = plan
            .turns
            .iter()
            .zip(&mut below)
            .map(|(turn, below)| {
                let low = *below;
                *below += of(turn).seconds;
                (f64::from(turn.turn), low, *below)
            })
            .collect();
        if points.iter().any(|(_, low, high)| high > low) {
            marks.push(Mark { name: name.to_owned(), shape: ChartShape::Area(points) });
        }
    }
    let description = "Seconds of every turn with the kept cache, by where they go";
    chart(plan, "Turns", description, "s", marks)
}

fn waits(plan: &SessionPlan) -> Chart {
    let curve = |name: &str, of: fn(&TurnRow) -> (f64, [f64; 2])| {
        let at = |t: &TurnRow| (f64::from(t.turn), of(t));
        let points = plan.turns.iter().map(at).map(|(x, (y, _))| (x, y)).collect();
        let band = plan.turns.iter().map(at).map(|(x, (_, [low, high]))| (x, low, high)).collect();
        Mark { name: name.to_owned(), shape: ChartShape::Curve { points, band } }
    };
    let marks = vec![
        curve("with the kept cache", |t| (t.ttft_warm_s, t.ttft_warm_interval_90_s)),
        curve("without", |t| (t.ttft_cold_s, t.ttft_cold_interval_90_s)),
    ];
    let description =
        "Seconds to the first token of every turn, with bands that hold 90 % of measurements";
    chart(plan, "First tokens", description, "s", marks)
}

fn memory(plan: &SessionPlan) -> Chart {
    let curve = |name: &str, of: fn(&TurnRow) -> u64| {
        let points = plan.turns.iter().map(|t| (f64::from(t.turn), of(t) as f64 / 1e9)).collect();
        Mark { name: name.to_owned(), shape: ChartShape::Curve { points, band: Vec::new() } }
    };
    let marks = vec![
        curve("peak", |t| t.peak_bytes),
        curve("kept cache", |t| t.cache_bytes),
        Mark {
            name: "GPU limit".to_owned(),
            shape: ChartShape::Level(plan.machine.gpu_limit_bytes.gb()),
        },
    ];
    chart(plan, "Memory", "Peak memory and the kept cache of every turn", "GB", marks)
}
