//! The figures of a chart's values, shown where the pointer is.

use super::draw::short;
use super::{Chart, ChartShape, Mark, Scale};
use std::fmt::Write as _;

/// Most values of a chart that have figures: more lie on one another.
const MOST: usize = 400;
/// How near the pointer has to come, in pixels.
const RADIUS: i32 = 8;

/// A chart as it was drawn.
#[derive(Debug, Default)]
pub(super) struct Drawn {
    /// The SVG; empty where there was nothing to draw.
    pub text: String,
    /// Where it has figures.
    pub spots: Vec<Spot>,
}

/// A place of a chart with its figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// In pixels, from the upper left.
    pub at: (i32, i32),
    /// The figures.
    pub text: String,
}

/// A value: its place, what it is called, and its figure.
type Value = ((f64, f64), String, String);

/// Every value of a chart; none where there are too many to point at.
pub(super) fn spots(chart: &Chart, place: impl Fn((f64, f64)) -> (i32, i32)) -> Vec<Spot> {
    let values: Vec<Value> = chart.marks.iter().flat_map(|mark| chart.figures(mark)).collect();
    if values.len() > MOST {
        return Vec::new();
    }
    let spot = |(at, name, figure): Value| {
        let begin = if name.is_empty() { name } else { format!("{name}: ") };
        Spot { at: place(at), text: format!("{begin}{figure}") }
    };
    values.into_iter().filter(|((x, y), ..)| x.is_finite() && y.is_finite()).map(spot).collect()
}

impl Chart {
    /// What a mark shows, value by value.
    fn figures(&self, mark: &Mark) -> Vec<Value> {
        let at = |x: f64| format!("{} {}", short(&x), self.x.label);
        let of = |y: f64| format!("{} {}", short(&y), self.y.label);
        let within = |low: f64, high: f64| format!(" ({}–{})", short(&low), short(&high));
        match &mark.shape {
            ChartShape::Curve { points, band } | ChartShape::Dotted { points, band } => {
                let interval = |x: f64| band.iter().find(|(at, ..)| *at == x);
                let value = |&(x, y): &(f64, f64)| {
                    let ends = interval(x).map_or_else(String::new, |&(_, a, b)| within(a, b));
                    ((x, y), mark.name.clone(), format!("{}{ends} at {}", of(y), at(x)))
                };
                // A line without a name joins values that have figures of their own.
                let named = points.iter().filter(|_| !mark.name.is_empty());
                named.map(value).collect()
            }
            ChartShape::Area(points) => points
                .iter()
                .map(|&(x, low, high)| {
                    let figure = format!("{} at {}", of(high - low), at(x));
                    ((x, high), mark.name.clone(), figure)
                })
                .collect(),
            ChartShape::Points(points) => points
                .iter()
                .map(|(x, y, name)| {
                    let name = name.clone().unwrap_or_else(|| mark.name.clone());
                    ((*x, *y), name, format!("{} at {}", of(*y), at(*x)))
                })
                .collect(),
            ChartShape::Bars(bars) => bars
                .iter()
                .map(|bar| {
                    let middle = bar.sides[0].midpoint(bar.sides[1]);
                    let [low, high] = bar.interval;
                    let name = match &self.x.scale {
                        Scale::Names(names) => names.get(middle as usize).cloned(),
                        _ => None,
                    };
                    let parts = [name.unwrap_or_default(), mark.name.clone()];
                    let name: Vec<String> = parts.into_iter().filter(|p| !p.is_empty()).collect();
                    ((middle, bar.height), name.join(", "), of(bar.height) + &within(low, high))
                })
                .collect(),
            ChartShape::Level(_) | ChartShape::Diagonal => Vec::new(),
        }
    }
}

/// An SVG with what is shown at the spots. Browsers show a title by themselves, other readers read it aloud.
pub(super) fn with_spots(svg: String, spots: &[Spot]) -> String {
    let Some(end) = svg.rfind("</svg>").filter(|_| !spots.is_empty()) else { return svg };
    let (drawn, tail) = svg.split_at(end);
    let mut out = drawn.to_owned();
    for Spot { at: (x, y), text } in spots {
        let text = escaped(text);
        // A text is always written to a string.
        let _ = writeln!(
            out,
            "<circle class=\"spot\" cx=\"{x}\" cy=\"{y}\" r=\"{RADIUS}\" fill=\"transparent\"><title>{text}</title></circle>"
        );
    }
    out + tail
}

/// A text in XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
