//! Charts of curves, bands, areas and points as SVG.

use super::labels::{Anchor, LABEL_SIZE, places};
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::error::Error;

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Label with its unit.
    pub label: String,
    /// Whether it is logarithmic.
    pub log: bool,
}

/// A corner of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corner {
    /// At the top on the left.
    UpperLeft,
    /// At the top on the right.
    UpperRight,
    /// At the bottom on the right.
    LowerRight,
}

/// Something drawn in one color with a name in the legend.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Name in the legend; without one, it is not in it.
    pub name: String,
    /// What it is.
    pub shape: ChartShape,
}

/// What is drawn.
#[derive(Clone, Debug)]
pub enum ChartShape {
    /// A curve, with its band of lower and upper values if it has one.
    Curve {
        /// Points from left to right.
        points: Vec<(f64, f64)>,
        /// x, lower and upper end.
        band: Vec<(f64, f64, f64)>,
    },
    /// The area between two curves: x, lower and upper end.
    Area(Vec<(f64, f64, f64)>),
    /// A level, drawn from side to side.
    Level(f64),
    /// Points, some with a name beside them.
    Points(Vec<(f64, f64, Option<String>)>),
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Heading.
    pub title: String,
    /// What it shows, for people who do not see it.
    pub description: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// Where the legend stands.
    pub legend: Corner,
    /// What is drawn, in this order.
    pub marks: Vec<Mark>,
}

/// Colors that stand out on white and on black, and that color-blind people tell apart (Okabe and Ito, darkened
/// where they were too light).
pub(super) const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 148, 108),
    RGBColor(190, 100, 150),
    RGBColor(200, 140, 0),
    RGBColor(70, 160, 220),
    RGBColor(128, 128, 128),
];

/// Width and height in pixels.
const SIZE: (u32, u32) = (900, 560);
const FONT: &str = "sans-serif";

impl Chart {
    /// The chart as the text of an SVG file on white; empty when there is nothing to draw.
    ///
    /// # Errors
    /// When the plotting library fails; the text says how.
    pub fn svg(&self) -> Result<String, String> {
        self.render(true)
    }

    /// The chart as SVG to stand in a page: without background, and with text and axes in the color of the page.
    ///
    /// # Errors
    /// As [`Self::svg`].
    pub fn inline_svg(&self) -> Result<String, String> {
        let text = self.render(false)?;
        Ok(text.replace("\"#000000\"", "\"currentColor\""))
    }

    fn render(&self, background: bool) -> Result<String, String> {
        let (Some(x), Some(y)) = (self.range(&self.x, 0), self.range(&self.y, 1)) else {
            return Ok(String::new());
        };
        let mut text = String::new();
        let drawn = match (self.x.log, self.y.log) {
            (true, true) => self.draw(&mut text, background, x.log_scale(), y.log_scale()),
            (true, false) => self.draw(&mut text, background, x.log_scale(), y),
            (false, true) => self.draw(&mut text, background, x, y.log_scale()),
            (false, false) => self.draw(&mut text, background, x, y),
        };
        drawn.map_err(|e| e.to_string())?;
        Ok(text)
    }

    /// Every value on an axis.
    fn values(&self, axis: usize) -> Vec<f64> {
        let pick = |x: f64, y: f64| if axis == 0 { x } else { y };
        let mut all = Vec::new();
        for mark in &self.marks {
            match &mark.shape {
                ChartShape::Curve { points, band } => {
                    all.extend(points.iter().map(|&(x, y)| pick(x, y)));
                    all.extend(
                        band.iter().flat_map(|&(x, low, high)| [pick(x, low), pick(x, high)]),
                    );
                }
                ChartShape::Area(points) => {
                    all.extend(
                        points.iter().flat_map(|&(x, low, high)| [pick(x, low), pick(x, high)]),
                    );
                }
                ChartShape::Level(y) => all.extend((axis == 1).then_some(*y)),
                ChartShape::Points(points) => {
                    all.extend(points.iter().map(|(x, y, _)| pick(*x, *y)))
                }
            }
        }
        all
    }

    fn range(&self, axis: &Axis, index: usize) -> Option<std::ops::Range<f64>> {
        let usable = |v: &f64| v.is_finite() && (!axis.log || *v > 0.0);
        let values: Vec<f64> = self.values(index).into_iter().filter(usable).collect();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if values.is_empty() {
            return None;
        }
        Some(match axis.log {
            true => low / 1.15..high * 1.15,
            // Room above for a legend that would lie on a level.
            false if low >= 0.0 && index == 1 && self.legend == Corner::UpperLeft => {
                0.0..(high * 1.3).max(1e-9)
            }
            false if low >= 0.0 => 0.0..(high * 1.08).max(1e-9),
            false => low..high,
        })
    }

    fn draw<'s, X, Y>(
        &self,
        text: &'s mut String,
        background: bool,
        x: X,
        y: Y,
    ) -> Result<(), Box<dyn Error + 's>>
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
        let ends = self.range(&self.x, 0).unwrap_or(0.0..1.0);
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, (FONT, 20))
            .margin(12)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .x_label_formatter(&short)
            .y_label_formatter(&short)
            .axis_desc_style((FONT, 15))
            .label_style((FONT, 13))
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(128, 128, 128).mix(0.25))
            .draw()?;
        for (i, mark) in self.marks.iter().enumerate() {
            let color = *COLORS.get(i % COLORS.len()).unwrap_or(&BLACK);
            let outline = |points: &[(f64, f64, f64)]| {
                let up = points.iter().map(|&(x, low, _)| (x, low));
                let back = points.iter().rev().map(|&(x, _, high)| (x, high));
                up.chain(back).collect::<Vec<_>>()
            };
            match &mark.shape {
                ChartShape::Curve { points, band } => {
                    if !band.is_empty() {
                        chart.draw_series([Polygon::new(outline(band), color.mix(0.15))])?;
                    }
                    let drawn = chart.draw_series(LineSeries::new(
                        points.iter().copied(),
                        color.stroke_width(2),
                    ))?;
                    if !mark.name.is_empty() {
                        drawn.label(&mark.name).legend(move |(x, y)| {
                            PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
                        });
                    }
                }
                ChartShape::Area(points) => {
                    chart
                        .draw_series([Polygon::new(outline(points), color.mix(0.55))])?
                        .label(&mark.name)
                        .legend(move |(x, y)| {
                            Rectangle::new([(x, y - 5), (x + 18, y + 5)], color.mix(0.55).filled())
                        });
                }
                ChartShape::Level(y) => {
                    let line = [(ends.start, *y), (ends.end, *y)];
                    chart
                        .draw_series(LineSeries::new(line, color.stroke_width(2)))?
                        .label(&mark.name)
                        .legend(move |(x, y)| {
                            PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2))
                        });
                }
                ChartShape::Points(points) => {
                    let dots =
                        points.iter().map(|(x, y, _)| Circle::new((*x, *y), 4, color.filled()));
                    chart
                        .draw_series(dots)?
                        .label(&mark.name)
                        .legend(move |(x, y)| Circle::new((x + 9, y), 4, color.filled()));
                }
            }
        }
        let points = |mark: &Mark| match &mark.shape {
            ChartShape::Points(points) => points.clone(),
            _ => Vec::new(),
        };
        let points: Vec<_> = self.marks.iter().flat_map(points).collect();
        let pixel = |(x, y, name): &(f64, f64, Option<String>)| Anchor {
            at: chart.backend_coord(&(*x, *y)),
            name: name.clone(),
        };
        for (name, place) in places(&points.iter().map(pixel).collect::<Vec<_>>(), SIZE.0 as i32) {
            root.draw(&Text::new(name, place, (FONT, LABEL_SIZE).into_font().color(&BLACK)))?;
        }
        let box_style = if background { WHITE.mix(0.8) } else { TRANSPARENT };
        chart
            .configure_series_labels()
            .position(match self.legend {
                Corner::UpperLeft => SeriesLabelPosition::UpperLeft,
                Corner::UpperRight => SeriesLabelPosition::UpperRight,
                Corner::LowerRight => SeriesLabelPosition::LowerRight,
            })
            .label_font((FONT, 13))
            .background_style(box_style)
            .draw()?;
        root.present()?;
        Ok(())
    }
}

/// A number of an axis, without needless digits: `0.5`, `12`, `4k`, `2M`.
fn short(x: &f64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(marks: Vec<Mark>) -> Chart {
        let axis = |log| Axis { label: "a & b".to_owned(), log };
        Chart {
            title: "<t>".to_owned(),
            description: String::new(),
            legend: Corner::UpperRight,
            x: axis(true),
            y: axis(false),
            marks,
        }
    }

    #[test]
    fn names_are_escaped_and_numbers_short() {
        let points =
            ChartShape::Points(vec![(1.0, 2.0, Some("<script>".to_owned())), (100.0, 3.0, None)]);
        let svg = chart(vec![Mark { name: "a<b".to_owned(), shape: points }]).svg().expect("drawn");
        assert!(
            svg.contains("&lt;script&gt;") && svg.contains("a&lt;b") && !svg.contains("<script"),
            "{svg}"
        );
        assert_eq!([0.5, 12.0, 4096.0, 2e6].map(|x| short(&x)), ["0.5", "12", "4.1k", "2M"]);
    }

    #[test]
    fn a_page_gives_text_its_own_color() {
        let curve = ChartShape::Curve {
            points: vec![(1.0, 1.0), (9.0, 2.0)],
            band: vec![(1.0, 0.5, 1.5), (9.0, 1.0, 3.0)],
        };
        let marks = vec![Mark { name: "c".to_owned(), shape: curve }];
        let svg = chart(marks).inline_svg().expect("drawn");
        assert!(svg.contains("currentColor") && !svg.contains("#000000"), "{svg}");
    }

    #[test]
    fn nothing_to_draw_is_nothing() {
        assert_eq!(chart(Vec::new()).svg(), Ok(String::new()));
        let nan = ChartShape::Points(vec![(f64::NAN, f64::NAN, None)]);
        assert_eq!(chart(vec![Mark { name: String::new(), shape: nan }]).svg(), Ok(String::new()));
    }
}
