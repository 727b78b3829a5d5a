//! Drawing a chart with plotters.

use super::hover::{Drawn, Spot, spots};
use super::labels::{Anchor, LABEL_SIZE, places};
use super::{Bar, Chart, ChartShape, Corner, Mark, Scale};
use plotters::chart::{ChartContext, SeriesAnno};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;

/// Colors that stand out on white and on black, and that color-blind people tell apart (Okabe and Ito, darkened
/// where they were too light).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 148, 108),
    RGBColor(190, 100, 150),
    RGBColor(200, 140, 0),
    RGBColor(70, 160, 220),
    RGBColor(128, 128, 128),
];
/// Lines of the grid.
const GRID: RGBAColor = RGBAColor(128, 128, 128, 0.25);
/// Width and height in pixels.
const SIZE: (u32, u32) = (900, 560);
/// Letters of names that stand beside one another below an axis.
const LETTERS: usize = 130;
const FONT: &str = "sans-serif";

type Failed = DrawingAreaErrorKind<std::io::Error>;
type Canvas<'a, 's, X, Y> = ChartContext<'a, SVGBackend<'s>, Cartesian2d<X, Y>>;

impl Chart {
    pub(super) fn render(&self, background: bool) -> Result<Drawn, String> {
        let Some([x, y]) = self.ranges() else { return Ok(Drawn::default()) };
        let mut text = String::new();
        let drawn = match (self.x.scale == Scale::Log, self.y.scale == Scale::Log) {
            (true, true) => {
                let scales = (x.clone().log_scale(), y.clone().log_scale());
                self.draw(&mut text, background, scales, [x, y])
            }
            (true, false) => {
                self.draw(&mut text, background, (x.clone().log_scale(), y.clone()), [x, y])
            }
            (false, true) => {
                self.draw(&mut text, background, (x.clone(), y.clone().log_scale()), [x, y])
            }
            (false, false) => self.draw(&mut text, background, (x.clone(), y.clone()), [x, y]),
        };
        let spots = drawn.map_err(|e| e.to_string())?;
        Ok(Drawn { text, spots })
    }

    fn draw<X, Y>(
        &self,
        text: &mut String,
        background: bool,
        (x, y): (X, Y),
        ends: [Range<f64>; 2],
    ) -> Result<Vec<Spot>, Failed>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        if background {
            root.fill(&WHITE)?;
        }
        let mut canvas = ChartBuilder::on(&root)
            .caption(&self.title, (FONT, 20))
            .margin(12)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(x, y)?;
        self.mesh(&mut canvas)?;
        for (mark, color) in self.marks.iter().zip(COLORS.into_iter().cycle()) {
            shape(&mut canvas, mark, color, &ends)?;
        }
        self.names_of_points(&root, &canvas)?;
        self.names_of_places(&root, &canvas, &ends)?;
        if self.marks.iter().any(|mark| !mark.name.is_empty()) {
            self.legend(&mut canvas, background)?;
        }
        root.present()?;
        Ok(spots(self, |at| canvas.backend_coord(&at)))
    }

    fn mesh<X, Y>(&self, canvas: &mut Canvas<'_, '_, X, Y>) -> Result<(), Failed>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let label = |scale: &Scale| match scale {
            Scale::Names(_) => |_: &f64| String::new(),
            Scale::Whole => whole,
            Scale::FromZero | Scale::Close | Scale::Log => short,
        };
        let labels = [&self.x, &self.y].map(|axis| label(&axis.scale));
        let mut mesh = canvas.configure_mesh();
        mesh.x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .x_label_formatter(&labels[0])
            .y_label_formatter(&labels[1])
            .axis_desc_style((FONT, 15))
            .label_style((FONT, 13))
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID);
        if matches!(self.x.scale, Scale::Names(_)) {
            mesh.disable_x_mesh().set_tick_mark_size(LabelAreaPosition::Bottom, 0);
        }
        mesh.draw()
    }

    /// The names beside points, none of which covers another.
    fn names_of_points<X, Y>(
        &self,
        root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
        canvas: &Canvas<'_, '_, X, Y>,
    ) -> Result<(), Failed>
    where
        X: Ranged<ValueType = f64>,
        Y: Ranged<ValueType = f64>,
    {
        let mut anchors = Vec::new();
        for mark in &self.marks {
            if let ChartShape::Points(points) = &mark.shape {
                anchors.extend(points.iter().map(|(x, y, name)| Anchor {
                    at: canvas.backend_coord(&(*x, *y)),
                    name: name.clone(),
                }));
            }
        }
        for (name, place) in places(&anchors, SIZE.0 as i32) {
            root.draw(&Text::new(name, place, (FONT, LABEL_SIZE).into_font().color(&BLACK)))?;
        }
        Ok(())
    }

    /// The names below the places of a horizontal axis that has names.
    fn names_of_places<X, Y>(
        &self,
        root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
        canvas: &Canvas<'_, '_, X, Y>,
        [_, y]: &[Range<f64>; 2],
    ) -> Result<(), Failed>
    where
        X: Ranged<ValueType = f64>,
        Y: Ranged<ValueType = f64>,
    {
        let Scale::Names(names) = &self.x.scale else { return Ok(()) };
        let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        // Where they would touch, every other one stands lower.
        let rows = if names.len() * (longest + 1) > LETTERS { 2 } else { 1 };
        for (i, name) in names.iter().enumerate() {
            let (x, y) = canvas.backend_coord(&(i as f64 + 0.5, y.start));
            let style = (FONT, 12).into_text_style(root).pos(Pos::new(HPos::Center, VPos::Top));
            let below = 8 + 14 * (i % rows) as i32;
            root.draw(&Text::new(name.as_str(), (x, y + below), style))?;
        }
        Ok(())
    }

    fn legend<'a, 's: 'a, X, Y>(
        &self,
        canvas: &mut Canvas<'a, 's, X, Y>,
        background: bool,
    ) -> Result<(), Failed>
    where
        X: Ranged<ValueType = f64>,
        Y: Ranged<ValueType = f64>,
    {
        let box_style = if background { WHITE.mix(0.8) } else { TRANSPARENT };
        canvas
            .configure_series_labels()
            .position(match self.legend {
                Corner::UpperLeft => SeriesLabelPosition::UpperLeft,
                Corner::UpperRight => SeriesLabelPosition::UpperRight,
                Corner::LowerRight => SeriesLabelPosition::LowerRight,
            })
            .label_font((FONT, 13))
            .background_style(box_style)
            .draw()
    }
}

/// How a mark looks in the legend.
#[derive(Clone, Copy)]
enum Swatch {
    Line,
    Box,
    Dot,
}

/// Names what has been drawn in the legend.
fn named<'a, 's: 'a>(
    drawn: &mut SeriesAnno<'a, SVGBackend<'s>>,
    name: &str,
    swatch: Swatch,
    color: RGBColor,
) {
    if name.is_empty() {
        return;
    }
    drawn.label(name).legend(move |(x, y)| match swatch {
        Swatch::Line => PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)).into_dyn(),
        Swatch::Box => {
            Rectangle::new([(x, y - 5), (x + 18, y + 5)], color.mix(0.55).filled()).into_dyn()
        }
        Swatch::Dot => Circle::new((x + 9, y), 4, color.filled()).into_dyn(),
    });
}

fn shape<'a, 's: 'a, X, Y>(
    canvas: &mut Canvas<'a, 's, X, Y>,
    mark: &Mark,
    color: RGBColor,
    [x_ends, y_ends]: &[Range<f64>; 2],
) -> Result<(), Failed>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    let line = color.stroke_width(2);
    let (drawn, swatch) = match &mark.shape {
        ChartShape::Curve { points, band } | ChartShape::Dotted { points, band } => {
            if !band.is_empty() {
                canvas.draw_series([Polygon::new(outline(band), color.mix(0.15))])?;
            }
            if matches!(mark.shape, ChartShape::Dotted { .. }) {
                canvas.draw_series(points.iter().map(|&at| Circle::new(at, 3, color.filled())))?;
            }
            (canvas.draw_series(LineSeries::new(points.iter().copied(), line))?, Swatch::Line)
        }
        ChartShape::Area(points) => {
            (canvas.draw_series([Polygon::new(outline(points), color.mix(0.55))])?, Swatch::Box)
        }
        ChartShape::Level(y) => {
            let level = [(x_ends.start, *y), (x_ends.end, *y)];
            (canvas.draw_series(LineSeries::new(level, line))?, Swatch::Line)
        }
        ChartShape::Points(points) => {
            let dot = |(x, y, _): &(f64, f64, _)| Circle::new((*x, *y), 4, color.mix(0.8).filled());
            (canvas.draw_series(points.iter().map(dot))?, Swatch::Dot)
        }
        ChartShape::Diagonal => {
            let ends = [(x_ends.start, y_ends.start), (x_ends.end, y_ends.end)];
            (canvas.draw_series(LineSeries::new(ends, BLACK.mix(0.5)))?, Swatch::Line)
        }
        ChartShape::Bars(bars) => {
            let bar = |bar: &Bar| {
                let [left, right] = bar.sides;
                Rectangle::new([(left, 0.0), (right, bar.height)], color.mix(0.7).filled())
            };
            let whisker = |bar: &Bar| {
                let middle = bar.sides[0].midpoint(bar.sides[1]);
                let [low, high] = bar.interval;
                PathElement::new([(middle, low), (middle, high)], BLACK.stroke_width(2))
            };
            canvas.draw_series(bars.iter().map(bar))?;
            (canvas.draw_series(bars.iter().map(whisker))?, Swatch::Box)
        }
    };
    named(drawn, &mark.name, swatch, color);
    Ok(())
}

/// The outline of what lies between two curves.
fn outline(points: &[(f64, f64, f64)]) -> Vec<(f64, f64)> {
    let up = points.iter().map(|&(x, low, _)| (x, low));
    let back = points.iter().rev().map(|&(x, _, high)| (x, high));
    up.chain(back).collect()
}

/// A number of an axis, without needless digits: `0.5`, `12`, `4k`, `2M`.
pub(super) fn short(x: &f64) -> String {
    let (value, suffix) = match x.abs() {
        a if a >= 1e12 => (x / 1e12, "T"),
        a if a >= 1e9 => (x / 1e9, "G"),
        a if a >= 1e6 => (x / 1e6, "M"),
        a if a >= 1e3 => (x / 1e3, "k"),
        _ => (*x, ""),
    };
    let text = format!("{value:.2}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

/// Counts stand at whole numbers only.
fn whole(x: &f64) -> String {
    if (x - x.round()).abs() < 1e-6 { format!("{x:.0}") } else { String::new() }
}
