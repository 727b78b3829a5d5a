//! The plot of several Macs: bars of decode speed for one, two and four of them.

use super::Case;
use crate::advise::cluster::{ClusterVerdict, RowFigures, cluster_rows};
use crate::chart::{Axis, Bar, Chart, ChartShape, Corner, Mark};
use crate::cli::shared::words::{format_name, short};
use crate::estimate::{Cluster, Decode, Parallelism};
use crate::roofline::Coefficients;
use anyhow::Result;

/// Most Macs of the chart.
const MACS: usize = 4;
/// Half of the width of a bar, in Macs.
const HALF: f64 = 0.16;

/// A bar on the axis of Macs.
fn bar(middle: f64, decode: &Decode) -> Bar {
    Bar {
        sides: [middle - HALF, middle + HALF],
        height: decode.tokens_per_s,
        interval: decode.interval_90,
    }
}

/// Decode speed of the first model on one, two and four of the first Mac; `None` where several cannot run it.
pub(super) fn speed_by_macs(case: &Case) -> Result<Option<Chart>> {
    let Some((subject, machine, estimator)) = case.first(Coefficients::embedded()?) else {
        return Ok(None);
    };
    let machines = vec![machine.clone(); MACS];
    let link = Cluster::usual_link(&machines);
    let rows = cluster_rows(&estimator, &Cluster::new(machines, link))?;
    let [mut one, mut tensor, mut pipeline] = [const { Vec::<Bar>::new() }; 3];
    for row in rows.iter().filter(|row| row.verdict != ClusterVerdict::Impossible) {
        let nodes = row.machines.len() as f64;
        match (&row.figures, row.parallelism) {
            (Some(RowFigures::One(f)), _) => one.push(bar(nodes, &f.decode)),
            (Some(RowFigures::Several(f)), Some(Parallelism::Tensor)) => {
                tensor.push(bar(nodes - 1.1 * HALF, &f.decode));
            }
            (Some(RowFigures::Several(f)), Some(Parallelism::Pipeline)) => {
                pipeline.push(bar(nodes + 1.1 * HALF, &f.decode));
            }
            _ => {}
        }
    }
    if tensor.is_empty() && pipeline.is_empty() {
        return Ok(None);
    }
    let named = [("one Mac", one), ("split by tensors", tensor), ("pipeline", pipeline)];
    let marks = named
        .into_iter()
        .filter(|(_, bars)| !bars.is_empty())
        .map(|(name, bars)| Mark { name: name.to_owned(), shape: ChartShape::Bars(bars) })
        .collect();
    Ok(Some(Chart {
        legend: Corner::UpperLeft,
        title: format!(
            "{} {} on several {}",
            short(&subject.id),
            format_name(&estimator.quant()),
            machine.id
        ),
        description: format!(
            "Predicted decode tokens per second of one, two and four Macs that run the model together over {link}; what does \
             not fit or cannot be divided has no bar"
        ),
        x: Axis::linear("Macs"),
        y: Axis::linear("tok/s"),
        marks,
    }))
}
