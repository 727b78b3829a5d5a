//! Plots as SVG.

use super::chart::COLORS;
use plotters::prelude::*;
use std::ops::Range;

/// Points of one color with a name in the legend.
#[derive(Clone, Debug)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points.
    pub points: Vec<(f64, f64)>,
}

/// A plot of predictions against measurements, both on logarithmic axes, with the diagonal.
#[derive(Clone, Debug)]
pub struct Scatter {
    /// Heading.
    pub title: String,
    /// Label of the horizontal axis, with its unit.
    pub x: String,
    /// Label of the vertical axis, with its unit.
    pub y: String,
    /// The points.
    pub series: Vec<Series>,
}

/// Width and height in pixels.
const SIZE: (u32, u32) = (900, 700);

impl Scatter {
    /// The plot as the text of an SVG file; empty without points.
    ///
    /// # Errors
    /// When the plotting library fails; the text says how.
    pub fn svg(&self) -> Result<String, String> {
        let values = self.series.iter().flat_map(|s| &s.points).flat_map(|&(x, y)| [x, y]);
        let positive: Vec<f64> = values.filter(|v| v.is_finite() && *v > 0.0).collect();
        let low = positive.iter().copied().fold(f64::INFINITY, f64::min) / 1.2;
        let high = positive.iter().copied().fold(0.0, f64::max) * 1.2;
        if positive.is_empty() {
            return Ok(String::new());
        }
        let mut text = String::new();
        self.draw(&mut text, low..high).map_err(|e| e.to_string())?;
        Ok(text)
    }

    fn draw(
        &self,
        text: &mut String,
        range: Range<f64>,
    ) -> Result<(), Box<dyn std::error::Error + '_>> {
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(45)
            .y_label_area_size(65)
            .build_cartesian_2d(range.clone().log_scale(), range.clone().log_scale())?;
        chart
            .configure_mesh()
            .x_desc(&self.x)
            .y_desc(&self.y)
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(128, 128, 128).mix(0.25))
            .draw()?;
        let diagonal = [(range.start, range.start), (range.end, range.end)];
        chart.draw_series(LineSeries::new(diagonal, BLACK.mix(0.5)))?;
        for (i, series) in self.series.iter().enumerate() {
            let color = *COLORS.get(i % COLORS.len()).unwrap_or(&BLACK);
            chart
                .draw_series(
                    series.points.iter().map(|&p| Circle::new(p, 3, color.mix(0.6).filled())),
                )?
                .label(&series.name)
                .legend(move |(x, y)| Circle::new((x + 8, y), 4, color.filled()));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        root.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scatter_names_its_axes_and_series() {
        let plot = Scatter {
            title: "decode".to_owned(),
            x: "measured, tok/s".to_owned(),
            y: "predicted, tok/s".to_owned(),
            series: vec![Series {
                name: "m4max".to_owned(),
                points: vec![(90.0, 94.0), (50.0, 49.0)],
            }],
        };
        let svg = plot.svg().expect("drawable");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in ["decode", "measured, tok/s", "predicted, tok/s", "m4max"] {
            assert!(svg.contains(text), "{text}");
        }
        let empty = Scatter { series: Vec::new(), ..plot };
        assert_eq!(empty.svg(), Ok(String::new()));
    }
}
