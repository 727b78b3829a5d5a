//! Charts as SVG: curves with bands, areas, levels, points and bars, on axes of several kinds.
//!
//! Whoever has something to show says what is drawn; ranges, colors, grid and legend are chosen here.

mod draw;
mod hover;
mod labels;
mod range;
#[cfg(test)]
mod tests;

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Label with its unit.
    pub label: String,
    /// What it goes by.
    pub scale: Scale,
}

/// What an axis goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, from zero where no value is below.
    FromZero,
    /// Evenly, around the values.
    Close,
    /// Evenly from zero, with labels at whole numbers only: counts.
    Whole,
    /// By the logarithm.
    Log,
    /// One place for each name, of width 1.
    Names(Vec<String>),
}

impl Axis {
    fn of(label: &str, scale: Scale) -> Self {
        Self { label: label.to_owned(), scale }
    }

    /// An even axis from zero.
    #[must_use]
    pub fn linear(label: &str) -> Self {
        Self::of(label, Scale::FromZero)
    }

    /// An even axis around the values.
    #[must_use]
    pub fn close(label: &str) -> Self {
        Self::of(label, Scale::Close)
    }

    /// An axis of counts.
    #[must_use]
    pub fn whole(label: &str) -> Self {
        Self::of(label, Scale::Whole)
    }

    /// A logarithmic axis.
    #[must_use]
    pub fn log(label: &str) -> Self {
        Self::of(label, Scale::Log)
    }

    /// An axis with a place for each name.
    #[must_use]
    pub fn names(names: Vec<String>) -> Self {
        Self::of("", Scale::Names(names))
    }
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

/// Points, x and y, with the name that stands beside one.
pub type ChartPoints = Vec<(f64, f64, Option<String>)>;

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
    /// A curve through measured points, which are shown.
    Dotted {
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
    Points(ChartPoints),
    /// Where both axes show the same value. Both have one range then.
    Diagonal,
    /// Bars from zero.
    Bars(Vec<Bar>),
}

/// A bar with its interval.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Left and right end.
    pub sides: [f64; 2],
    /// Height.
    pub height: f64,
    /// Ends of the interval.
    pub interval: [f64; 2],
}

/// Most bars with names of their own.
const MOST_BARS: usize = 14;

/// A bar with the name below it.
#[derive(Clone, Debug)]
pub struct NamedBar {
    /// The name.
    pub name: String,
    /// Height.
    pub height: f64,
    /// Ends of the interval.
    pub interval: [f64; 2],
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

impl Chart {
    /// The chart as the text of an SVG file on white; empty when there is nothing to draw.
    ///
    /// # Errors
    /// When the plotting library fails; the text says how.
    pub fn svg(&self) -> Result<String, String> {
        Ok(self.render(true)?.text)
    }

    /// The chart as SVG to stand in a page: without background, with text and axes in the color of the page, and with the
    /// figures of every value under the pointer.
    ///
    /// # Errors
    /// As [`Self::svg`].
    pub fn inline_svg(&self) -> Result<String, String> {
        let drawn = self.render(false)?;
        let text = drawn.text.replace("\"#000000\"", "\"currentColor\"");
        Ok(hover::with_spots(text, &drawn.spots))
    }

    /// Bars with names below them and intervals, in one color, as many as have room; without bars, nothing is drawn.
    #[must_use]
    pub fn of_bars(title: &str, description: &str, unit: &str, mut bars: Vec<NamedBar>) -> Self {
        let left_out = bars.len().saturating_sub(MOST_BARS);
        bars.truncate(MOST_BARS);
        let rest = match left_out {
            0 => String::new(),
            n => format!("; {n} more are in the table"),
        };
        let place = |(i, bar): (usize, &NamedBar)| {
            let middle = i as f64 + 0.5;
            Bar { sides: [middle - 0.3, middle + 0.3], height: bar.height, interval: bar.interval }
        };
        let shape = ChartShape::Bars(bars.iter().enumerate().map(place).collect());
        Self {
            title: title.to_owned(),
            description: format!("{description}{rest}"),
            x: Axis::names(bars.into_iter().map(|bar| bar.name).collect()),
            y: Axis::linear(unit),
            legend: Corner::UpperRight,
            marks: vec![Mark { name: String::new(), shape }],
        }
    }
}
