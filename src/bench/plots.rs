//! A run as pictures, one for each thing that there is to see.

use super::record::Record;
use super::summary::{CaseSummary, TrialMetric};
use crate::files;
use crate::stats::{TrialSummary, median};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use thiserror::Error;

const SIZE: (u32, u32) = (860, 520);
/// Colors of the engines, distinguishable with any kind of color vision (Okabe and Ito).
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 148, 108),
    RGBColor(190, 100, 150),
    RGBColor(200, 140, 0),
    RGBColor(70, 160, 220),
];
/// Lines of the grid.
const GRID: RGBAColor = RGBAColor(128, 128, 128, 0.25);
/// Room above the highest value for the legend.
const HEADROOM: f64 = 1.25;
/// The longest prompt over the shortest, from which on figures are drawn against the length.
const SPAN: f64 = 2.0;

/// A picture that cannot be made.
#[derive(Debug, Error)]
pub enum PlotError {
    /// The file system.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The drawing.
    #[error("cannot draw: {0}")]
    Draw(String),
}

/// How pictures become files.
pub struct Encoding<'e> {
    /// Ending of the files: `svg`, `png`.
    pub extension: &'e str,
    /// From SVG to the content of a file; an error says what went wrong.
    pub encode: &'e dyn Fn(&str) -> Result<Vec<u8>, String>,
}

/// A point with its interval.
struct Point {
    x: f64,
    y: f64,
    low: f64,
    high: f64,
}

/// Points of one engine.
struct Series {
    name: String,
    points: Vec<Point>,
}

impl Series {
    /// Whether the points lie so far apart that a curve through them says something.
    fn spans(&self) -> bool {
        let xs = || self.points.iter().map(|p| p.x);
        xs().fold(0.0, f64::max) >= SPAN * xs().fold(f64::INFINITY, f64::min)
    }
}

/// Draws everything that a record has into a folder; returns the files. Each is complete or absent.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(
    folder: &Path,
    record: &Record,
    encoding: &Encoding<'_>,
) -> Result<Vec<PathBuf>, PlotError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| PlotError::Io { path: path.clone(), source }
    };
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let stem = record.stem();
    let mut paths = Vec::new();
    for (name, svg) in draw(record)? {
        let content = (encoding.encode)(&svg).map_err(PlotError::Draw)?;
        let path = folder.join(format!("{stem}-{name}.{}", encoding.extension));
        files::write(&path, &content).map_err(io(&path))?;
        paths.push(path);
    }
    Ok(paths)
}

/// The pictures of a record: names and SVG texts.
///
/// # Errors
/// When plotters fails.
pub fn draw(record: &Record) -> Result<Vec<(String, String)>, PlotError> {
    let mut pictures = Vec::new();
    let over_tokens = [
        ("decode-by-depth", TrialMetric::DecodeTokensPerS, "decode tokens per second"),
        ("ttft-by-prompt", TrialMetric::TtftS, "seconds to first token"),
    ];
    for (name, metric, title) in over_tokens {
        let series = by_tokens(record, metric);
        if series.iter().any(Series::spans) {
            let svg = lines(title, "prompt tokens, as the engine counts them", &series)?;
            pictures.push((name.to_owned(), svg));
        }
    }
    let series = by_batch(record);
    if series.iter().any(|s| s.points.len() > 1) {
        let title = "decode tokens per second of all sequences";
        let svg = lines(title, "sequences together", &series)?;
        pictures.push(("decode-by-batch".to_owned(), svg));
    }
    for soak in &record.soak {
        for growth in &soak.growth {
            let trials = record.trials.iter().filter(|t| t.engine == soak.engine && t.counts());
            let values: Vec<f64> =
                trials.filter_map(|t| growth.metric.of(t)).map(|b| b / 1e6).collect();
            let slope = growth.slope.per_turn.map(|s| s / 1e6);
            let title = format!("engine {}: {}, MB", soak.engine, name_of(growth.metric));
            let svg = memory(&title, &values, growth.slope.settling_turns, slope)?;
            pictures.push((format!("memory-{}-{}", soak.engine, name_of(growth.metric)), svg));
        }
    }
    if record.engines.len() == 2 {
        let title = "decode tokens per second, median and 95 % interval";
        pictures.push(("engines".to_owned(), bars(title, record)?));
    }
    Ok(pictures)
}

const fn name_of(metric: TrialMetric) -> &'static str {
    match metric {
        TrialMetric::FootprintBytes => "footprint",
        TrialMetric::ResidentBytes => "resident",
        _ => "mlx-active",
    }
}

/// Medians of a figure against the prompt's length, for each engine and batch.
fn by_tokens(record: &Record, metric: TrialMetric) -> Vec<Series> {
    let tokens = |s: &CaseSummary| Some(s.metric(TrialMetric::PromptTokens)?.median);
    grouped(
        record,
        |s| s.batch.unwrap_or(1),
        tokens,
        metric,
        |batch| match batch {
            1 => String::new(),
            n => format!(", {n} sequences"),
        },
    )
}

/// Rates of all sequences against their number, for each engine and prompt length.
fn by_batch(record: &Record) -> Vec<Series> {
    let length =
        |s: &CaseSummary| s.metric(TrialMetric::PromptTokens).map_or(0, |m| m.median as u32);
    let batch = |s: &CaseSummary| Some(f64::from(s.batch.unwrap_or(1)));
    if record.summary.iter().all(|s| s.batch.is_none()) {
        return Vec::new();
    }
    grouped(record, length, batch, TrialMetric::DecodeTokensPerS, |n| format!(", {n} tokens"))
}

/// Series of medians for each engine and key, from left to right.
fn grouped(
    record: &Record,
    key: impl Fn(&CaseSummary) -> u32,
    x: impl Fn(&CaseSummary) -> Option<f64>,
    metric: TrialMetric,
    name: impl Fn(u32) -> String,
) -> Vec<Series> {
    let point = |s: &CaseSummary| {
        let [low, high] = ends(s.metric(metric)?);
        Some(Point { x: x(s)?, y: s.metric(metric)?.median, low, high })
    };
    let mut all = Vec::new();
    for e in &record.engines {
        let mine = || record.summary.iter().filter(|s| s.engine == e.label);
        let keys: BTreeSet<u32> = mine().map(&key).collect();
        for k in keys {
            let mut points: Vec<Point> = mine().filter(|s| key(s) == k).filter_map(point).collect();
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            all.push(Series { name: format!("{} {}{}", e.label, e.program(), name(k)), points });
        }
    }
    all
}

fn ends(s: &TrialSummary) -> [f64; 2] {
    s.interval_95.unwrap_or([s.median, s.median])
}

/// Counts stand at whole numbers only.
fn whole(x: &f64) -> String {
    if (x - x.round()).abs() < 1e-6 { format!("{x:.0}") } else { String::new() }
}

fn failed<E: std::error::Error + Send + Sync>(e: DrawingAreaErrorKind<E>) -> PlotError {
    PlotError::Draw(e.to_string())
}

/// Curves with a band for the interval.
fn lines(title: &str, below: &str, series: &[Series]) -> Result<String, PlotError> {
    let all = || series.iter().flat_map(|s| &s.points);
    let right = all().map(|p| p.x).fold(1.0, f64::max) * 1.04;
    let top = all().map(|p| p.high).fold(1e-9, f64::max) * HEADROOM;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 20))
            .margin(14)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..right, 0.0..top)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc(below)
            .x_label_formatter(&whole)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .draw()
            .map_err(failed)?;
        for (s, color) in series.iter().zip(COLORS.into_iter().cycle()) {
            let upper = s.points.iter().map(|p| (p.x, p.high));
            let lower = s.points.iter().rev().map(|p| (p.x, p.low));
            let band: Vec<(f64, f64)> = upper.chain(lower).collect();
            if band.len() > 2 {
                let band = Polygon::new(band, color.mix(0.18));
                chart.draw_series(std::iter::once(band)).map_err(failed)?;
            }
            let line = s.points.iter().map(|p| (p.x, p.y));
            chart
                .draw_series(LineSeries::new(line.clone(), color.stroke_width(2)))
                .map_err(failed)?
                .label(s.name.clone())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color));
            let dots = line.map(|at| Circle::new(at, 3, color.filled()));
            chart.draw_series(dots).map_err(failed)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .draw()
            .map_err(failed)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Readings over the turns, with the fitted line behind the settling period.
fn memory(
    title: &str,
    values: &[f64],
    settling: usize,
    slope: Option<f64>,
) -> Result<String, PlotError> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = if low.is_finite() { (low, high) } else { (0.0, 1.0) };
    let room = ((high - low) * 0.1).max(high.abs() * 0.005).max(1e-6);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 20))
            .margin(14)
            .x_label_area_size(44)
            .y_label_area_size(76)
            .build_cartesian_2d(0.0..values.len().max(1) as f64, (low - room)..(high + room))
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_desc("turn")
            .x_label_formatter(&whole)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .draw()
            .map_err(failed)?;
        let dots = values.iter().enumerate().map(|(i, v)| (i as f64, *v));
        chart.draw_series(dots.map(|at| Circle::new(at, 2, COLORS[0].filled()))).map_err(failed)?;
        if let Some(slope) = slope {
            let used = values.get(settling..).unwrap_or_default();
            let offsets: Vec<f64> =
                used.iter().enumerate().map(|(i, v)| v - slope * i as f64).collect();
            if let Some(start) = median(&offsets) {
                let end = used.len().saturating_sub(1) as f64;
                let line = [(settling as f64, start), (settling as f64 + end, start + slope * end)];
                chart
                    .draw_series(LineSeries::new(line, COLORS[1].stroke_width(2)))
                    .map_err(failed)?;
            }
        }
        root.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Both engines side by side in every case.
fn bars(title: &str, record: &Record) -> Result<String, PlotError> {
    let mut cases: Vec<&str> = Vec::new();
    for s in &record.summary {
        if !cases.contains(&s.case.as_str()) {
            cases.push(&s.case);
        }
    }
    let figure = |case: &str, engine: &str| {
        let found = record.summary.iter().find(|s| s.case == case && s.engine == engine);
        found.and_then(|s| s.metric(TrialMetric::DecodeTokensPerS))
    };
    let metrics = record.summary.iter().filter_map(|s| s.metric(TrialMetric::DecodeTokensPerS));
    let top = metrics.map(|m| ends(m)[1]).fold(1e-9, f64::max) * HEADROOM;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 20))
            .margin(14)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..cases.len().max(1) as f64, 0.0..top)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_label_formatter(&|_| String::new())
            .set_tick_mark_size(LabelAreaPosition::Bottom, 0)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .draw()
            .map_err(failed)?;
        let centered = Pos::new(HPos::Center, VPos::Top);
        for (i, case) in cases.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(i as f64 + 0.5, 0.0));
            let style = ("sans-serif", 12).into_text_style(&root).pos(centered);
            root.draw(&Text::new(*case, (x, y + 8), style)).map_err(failed)?;
        }
        for (k, (engine, color)) in record.engines.iter().zip(COLORS).enumerate() {
            let left = 0.15 + 0.36 * k as f64;
            let found = cases
                .iter()
                .enumerate()
                .filter_map(|(i, case)| figure(case, &engine.label).map(|m| (i as f64 + left, m)));
            let found: Vec<(f64, &TrialSummary)> = found.collect();
            let bar = |(x, m): &(f64, &TrialSummary)| {
                Rectangle::new([(*x, 0.0), (x + 0.32, m.median)], color.mix(0.7).filled())
            };
            chart
                .draw_series(found.iter().map(bar))
                .map_err(failed)?
                .label(format!("{} {}", engine.label, engine.program()))
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 14, y + 5)], color.filled())
                });
            let whisker = |(x, m): &(f64, &TrialSummary)| {
                let [low, high] = ends(m);
                PathElement::new([(x + 0.16, low), (x + 0.16, high)], BLACK.stroke_width(2))
            };
            chart.draw_series(found.iter().map(whisker)).map_err(failed)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .draw()
            .map_err(failed)?;
        root.present().map_err(failed)?;
    }
    Ok(svg)
}
