//! What the axes of a chart span.

use super::{Axis, Chart, ChartShape, Corner, Scale};
use std::ops::Range;

/// Room beyond the values on a logarithmic axis, as a factor.
const LOG_ROOM: f64 = 1.15;
/// The same at the end of an even axis.
const ROOM: f64 = 1.08;
/// The same on a vertical axis below a legend.
const LEGEND_ROOM: f64 = 1.3;
/// Room around the values of a close axis: a part of what they span, and of the highest.
const CLOSE_ROOM: [f64; 2] = [0.1, 0.005];

impl Chart {
    /// The ranges of both axes; `None` where there is nothing to draw.
    pub(super) fn ranges(&self) -> Option<[Range<f64>; 2]> {
        let [x, y] = [0, 1].map(|index| self.values(index));
        if self.marks.iter().any(|mark| matches!(mark.shape, ChartShape::Diagonal)) {
            let both = range(&self.x, [x, y].concat(), ROOM)?;
            return Some([both.clone(), both]);
        }
        let below_legend = self.legend != Corner::LowerRight;
        let room = if below_legend { LEGEND_ROOM } else { ROOM };
        Some([range(&self.x, x, ROOM)?, range(&self.y, y, room)?])
    }

    /// Every value on an axis: 0 is the horizontal one.
    fn values(&self, axis: usize) -> Vec<f64> {
        let pick = |x: f64, y: f64| if axis == 0 { x } else { y };
        let between = |points: &[(f64, f64, f64)]| {
            let ends = points.iter().flat_map(|&(x, low, high)| [pick(x, low), pick(x, high)]);
            ends.collect::<Vec<f64>>()
        };
        let of = |shape: &ChartShape| match shape {
            ChartShape::Curve { points, band } | ChartShape::Dotted { points, band } => {
                let mut all = between(band);
                all.extend(points.iter().map(|&(x, y)| pick(x, y)));
                all
            }
            ChartShape::Area(points) => between(points),
            ChartShape::Level(y) => {
                if axis == 1 {
                    vec![*y]
                } else {
                    Vec::new()
                }
            }
            ChartShape::Points(points) => points.iter().map(|(x, y, _)| pick(*x, *y)).collect(),
            ChartShape::Diagonal => Vec::new(),
            ChartShape::Bars(bars) => bars
                .iter()
                .flat_map(|bar| match axis {
                    0 => bar.sides.to_vec(),
                    _ => vec![bar.height, bar.interval[0], bar.interval[1]],
                })
                .collect(),
        };
        self.marks.iter().flat_map(|mark| of(&mark.shape)).collect()
    }
}

/// The range of an axis with such values; `None` without any.
fn range(axis: &Axis, values: Vec<f64>, room: f64) -> Option<Range<f64>> {
    let usable = |v: &f64| v.is_finite() && (axis.scale != Scale::Log || *v > 0.0);
    let values: Vec<f64> = values.into_iter().filter(usable).collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if values.is_empty() {
        return None;
    }
    Some(match &axis.scale {
        Scale::Log => low / LOG_ROOM..high * LOG_ROOM,
        Scale::FromZero | Scale::Whole if low >= 0.0 => 0.0..(high * room).max(1e-9),
        Scale::FromZero | Scale::Whole => low..high,
        Scale::Close => {
            let [of_span, of_highest] = CLOSE_ROOM;
            let room = ((high - low) * of_span).max(high.abs() * of_highest).max(1e-6);
            low - room..high + room
        }
        Scale::Names(names) => 0.0..names.len().max(1) as f64,
    })
}
