//! The plot of drafts: speed-up against acceptance.

use super::Case;
use crate::chart::{Axis, Chart, ChartShape, Corner, Mark};
use crate::cli::shared::context::Context;
use crate::cli::shared::drafts::Drafts;
use crate::cli::shared::words::{format_name, short};
use crate::estimate::speculation::DraftChoice;
use crate::roofline::Coefficients;
use anyhow::Result;

/// Points of a curve, from no draft that is right to all of them.
const POINTS: u32 = 21;
/// Most curves of the chart.
const CURVES: usize = 4;

/// Speed-up of what could draft for the first model on the first Mac; `None` where nothing may.
pub(super) fn speedup_by_acceptance(context: &Context, case: &Case) -> Result<Option<Chart>> {
    let Some((subject, machine, estimator)) = case.first(Coefficients::embedded()?) else {
        return Ok(None);
    };
    let acceptances: Vec<f64> = (0..POINTS).map(|i| f64::from(i) / f64::from(POINTS - 1)).collect();
    let drafts = Drafts::all(context, subject)?;
    let mut marks = Vec::new();
    for choice in drafts.choices() {
        let Some(at) = estimator.speedups(machine, &choice, &acceptances)? else { continue };
        let name = match choice {
            DraftChoice::Model(model) => {
                format!("{} {}", short(&model.id), format_name(&model.quant))
            }
            DraftChoice::Heads => "own heads (MTP)".to_owned(),
        };
        let points = at.iter().map(|p| (p.acceptance, p.speedup)).collect();
        let band = match marks.is_empty() {
            true => at.iter().map(|p| (p.acceptance, p.interval_90[0], p.interval_90[1])).collect(),
            false => Vec::new(),
        };
        marks.push(Mark { name, shape: ChartShape::Curve { points, band } });
        if marks.len() == CURVES {
            break;
        }
    }
    if marks.is_empty() {
        return Ok(None);
    }
    marks.push(Mark { name: "without drafts".to_owned(), shape: ChartShape::Level(1.0) });
    Ok(Some(Chart {
        legend: Corner::UpperLeft,
        title: format!("Drafts for {} on {}", short(&subject.id), machine.id),
        description: "Predicted speed-up with the engine's number of drafts a round, by the probability that a draft is \
                      right; the band of the first holds 90 % of measurements. Below 1 drafts are slower"
            .to_owned(),
        x: Axis::linear("acceptance"),
        y: Axis::linear("times as fast"),
        marks,
    }))
}
