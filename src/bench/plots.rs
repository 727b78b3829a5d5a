//! A run as pictures, one for each thing that there is to see.

use super::record::{EngineRecord, Record};
use super::summary::{CaseSummary, TrialMetric};
use crate::chart::{Axis, Bar, Chart, ChartShape, Corner, Mark};
use crate::files;
use crate::stats::{TrialSummary, median};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Where the first bar of a case begins, the distance to that of the next engine, and the width of a bar; a case has a
/// width of 1.
const FIRST_BAR: f64 = 0.15;
const APART: f64 = 0.36;
const WIDTH: f64 = 0.32;
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
    let mut drawn = Vec::new();
    for (name, chart) in charts(record) {
        let svg = chart.svg().map_err(PlotError::Draw)?;
        // Without readings there is nothing to see.
        drawn.extend((!svg.is_empty()).then_some((name, svg)));
    }
    Ok(drawn)
}

/// The charts of a record with their names.
#[must_use]
pub fn charts(record: &Record) -> Vec<(String, Chart)> {
    let mut pictures = Vec::new();
    let over_tokens = [
        ("decode-by-depth", TrialMetric::DecodeTokensPerS, "decode tokens per second"),
        ("ttft-by-prompt", TrialMetric::TtftS, "seconds to first token"),
    ];
    for (name, metric, title) in over_tokens {
        let series = by_tokens(record, metric);
        if series.iter().any(Series::spans) {
            let below = "prompt tokens, as the engine counts them";
            pictures.push((name.to_owned(), lines(title, below, &series)));
        }
    }
    let series = by_batch(record);
    if series.iter().any(|s| s.points.len() > 1) {
        let title = "decode tokens per second of all sequences";
        pictures.push(("decode-by-batch".to_owned(), lines(title, "sequences together", &series)));
    }
    for soak in &record.soak {
        for growth in &soak.growth {
            let trials = record.trials.iter().filter(|t| t.engine == soak.engine && t.counts());
            let values: Vec<f64> =
                trials.filter_map(|t| growth.metric.of(t)).map(|b| b / 1e6).collect();
            let slope = growth.slope.per_turn.map(|s| s / 1e6);
            let title = format!("engine {}: {}, MB", soak.engine, name_of(growth.metric));
            let chart = memory(title, &values, growth.slope.settling_turns, slope);
            pictures.push((format!("memory-{}-{}", soak.engine, name_of(growth.metric)), chart));
        }
    }
    if record.engines.len() == 2 {
        let title = "decode tokens per second, median and 95 % interval";
        pictures.push(("engines".to_owned(), bars(title, record)));
    }
    pictures
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

/// Curves with a band for the interval.
fn lines(title: &str, below: &str, series: &[Series]) -> Chart {
    let mark = |s: &Series| Mark {
        name: s.name.clone(),
        shape: ChartShape::Dotted {
            points: s.points.iter().map(|p| (p.x, p.y)).collect(),
            band: s.points.iter().map(|p| (p.x, p.low, p.high)).collect(),
        },
    };
    Chart {
        title: title.to_owned(),
        description: "Medians with 95 % intervals".to_owned(),
        x: Axis::whole(below),
        y: Axis::linear(""),
        legend: Corner::UpperRight,
        marks: series.iter().map(mark).collect(),
    }
}

/// Readings over the turns, with the fitted line behind the settling period.
fn memory(title: String, values: &[f64], settling: usize, slope: Option<f64>) -> Chart {
    let readings = values.iter().enumerate().map(|(i, v)| (i as f64, *v, None)).collect();
    let fitted = slope.and_then(|slope| {
        let used = values.get(settling..)?;
        let offsets: Vec<f64> =
            used.iter().enumerate().map(|(i, v)| v - slope * i as f64).collect();
        let start = median(&offsets)?;
        let (from, turns) = (settling as f64, used.len().saturating_sub(1) as f64);
        let points = vec![(from, start), (from + turns, start + slope * turns)];
        Some(ChartShape::Curve { points, band: Vec::new() })
    });
    let shapes = std::iter::once(ChartShape::Points(readings)).chain(fitted);
    Chart {
        title,
        description: "Readings over the turns, with the line behind the settling period".to_owned(),
        x: Axis::whole("turn"),
        y: Axis::close(""),
        legend: Corner::LowerRight,
        marks: shapes.map(|shape| Mark { name: String::new(), shape }).collect(),
    }
}

/// Both engines side by side in every case.
fn bars(title: &str, record: &Record) -> Chart {
    let mut cases: Vec<String> = Vec::new();
    for s in &record.summary {
        if !cases.contains(&s.case) {
            cases.push(s.case.clone());
        }
    }
    let figure = |case: &str, engine: &str| {
        let found = record.summary.iter().find(|s| s.case == case && s.engine == engine);
        found.and_then(|s| s.metric(TrialMetric::DecodeTokensPerS))
    };
    let bar = |left: f64, m: &TrialSummary| Bar {
        sides: [left, left + WIDTH],
        height: m.median,
        interval: ends(m),
    };
    let mark = |(k, engine): (usize, &EngineRecord)| {
        let left = |case: usize| case as f64 + FIRST_BAR + APART * k as f64;
        let places = cases.iter().enumerate();
        let found = places.filter_map(|(i, case)| Some(bar(left(i), figure(case, &engine.label)?)));
        let shape = ChartShape::Bars(found.collect());
        Mark { name: format!("{} {}", engine.label, engine.program()), shape }
    };
    Chart {
        title: title.to_owned(),
        description: "Medians with 95 % intervals".to_owned(),
        legend: Corner::UpperRight,
        y: Axis::linear("tok/s"),
        marks: record.engines.iter().enumerate().map(mark).collect(),
        x: Axis::names(cases),
    }
}
