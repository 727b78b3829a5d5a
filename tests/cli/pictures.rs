//! The picture of the screen in the documentation: what a terminal shows of it, as SVG.
//!
//! `INSTA_UPDATE=always cargo test --test cli pictures` renews `docs/pictures/explore.svg`.

use crate::explore::{answered, explore};
use std::fmt::Write as _;
use std::path::Path;
use vt100::{Cell, Color, Screen};

/// Columns and rows of the picture.
const SIZE: (u16, u16) = (100, 32);
/// A cell in pixels.
const CELL: (u16, u16) = (8, 17);
/// Space around the screen.
const MARGIN: u16 = 12;
/// Colors of the background and of text, and the sixteen of the terminal.
const GROUND: &str = "#16181d";
const TEXT: &str = "#d7dae0";
const COLORS: [&str; 16] = [
    "#3b4048", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#abb2bf",
    "#7f848e", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#ffffff",
];

fn color(color: Color, default: &'static str) -> &'static str {
    match color {
        Color::Idx(i) => COLORS.get(usize::from(i)).copied().unwrap_or(default),
        Color::Default | Color::Rgb(..) => default,
    }
}

/// Foreground and background of a cell.
fn colors(cell: &Cell) -> (&'static str, &'static str) {
    let (front, back) = (color(cell.fgcolor(), TEXT), color(cell.bgcolor(), GROUND));
    if cell.inverse() { (back, front) } else { (front, back) }
}

/// The shape of a sign that fonts draw differently or not at all: rectangles in eighths of a cell.
fn shape(sign: &str) -> Option<Vec<[u16; 4]>> {
    let c = sign.chars().next()?;
    Some(match c {
        '█' => vec![[0, 0, 8, 8]],
        '▓' => (0..8).map(|y| [0, y, 8 - y % 2, 1]).filter(|r| r[1] % 4 != 3).collect(),
        '▒' => (0..4).map(|y| [0, 2 * y, 8, 1]).collect(),
        '░' => (0..4).flat_map(|y| [[y % 2, 2 * y, 1, 1], [4 + y % 2, 2 * y, 1, 1]]).collect(),
        '│' => vec![[4, 0, 1, 8]],
        '─' => vec![[0, 4, 8, 1]],
        '└' => vec![[4, 0, 1, 4], [4, 4, 4, 1]],
        '\u{2800}'..='\u{28ff}' => {
            // The bits of a pattern stand in two columns: 0, 1, 2, 6 and 3, 4, 5, 7.
            let bits = u32::from(c) - 0x2800;
            let places = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
            let set = places.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
            set.map(|(_, (x, y))| [4 * x + 1, 2 * y, 3, 2]).collect()
        }
        _ => return None,
    })
}

fn svg(screen: &Screen) -> String {
    let (width, height) = (SIZE.0 * CELL.0 + 2 * MARGIN, SIZE.1 * CELL.1 + 2 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"13\">\n\
         <title>mlxplan explore</title>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{GROUND}\"/>\n"
    );
    for y in 0..SIZE.1 {
        let mut x = 0;
        while x < SIZE.0 {
            x += run(screen, (x, y), &mut out);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Draws the cells from a place on that look alike; returns how many there are.
fn run(screen: &Screen, (x, y): (u16, u16), out: &mut String) -> u16 {
    let cell = |x: u16| screen.cell(y, x);
    let Some(first) = cell(x) else { return 1 };
    let kind = |c: &Cell| (colors(c), c.bold(), c.underline(), shape(c.contents()).is_some());
    let alike = (x..SIZE.0).take_while(|x| cell(*x).is_some_and(|c| kind(c) == kind(first)));
    let count = alike.count() as u16;
    let (left, top) = (MARGIN + x * CELL.0, MARGIN + y * CELL.1);
    let (front, back) = colors(first);
    if back != GROUND {
        let _ = writeln!(
            out,
            "<rect x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\" fill=\"{back}\"/>",
            count * CELL.0,
            CELL.1
        );
    }
    if shape(first.contents()).is_some() {
        let _ = writeln!(out, "<path fill=\"{front}\" d=\"{}\"/>", path(screen, (x, y), count));
        return count;
    }
    let sign = |x: u16| cell(x).map(|c| if c.has_contents() { c.contents() } else { " " });
    let text: String = (x..x + count).filter_map(sign).collect();
    let shown = text.trim_end();
    if !shown.is_empty() {
        let bold = if first.bold() { " font-weight=\"bold\"" } else { "" };
        let under = if first.underline() { " text-decoration=\"underline\"" } else { "" };
        let escaped = shown.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            out,
            "<text xml:space=\"preserve\" x=\"{left}\" y=\"{}\" textLength=\"{}\" lengthAdjust=\"spacingAndGlyphs\" \
             fill=\"{front}\"{bold}{under}>{escaped}</text>",
            top + 13,
            shown.chars().count() as u16 * CELL.0
        );
    }
    count
}

/// The shapes of cells as one path.
fn path(screen: &Screen, (x, y): (u16, u16), count: u16) -> String {
    let mut path = String::new();
    for x in x..x + count {
        let shapes = screen.cell(y, x).and_then(|c| shape(c.contents())).unwrap_or_default();
        let eighth = |n: u16, of: u16| f32::from(n * of) / 8.0;
        for [left, top, width, height] in shapes {
            let left = f32::from(MARGIN + x * CELL.0) + eighth(left, CELL.0);
            let top = f32::from(MARGIN + y * CELL.1) + eighth(top, CELL.1);
            let (width, height) = (eighth(width, CELL.0), eighth(height, CELL.1));
            let _ = write!(path, "M{left} {top}h{width}v{height}h-{width}z");
        }
    }
    path
}

#[test]
fn the_picture_of_the_screen_is_of_this_version() {
    let terminal = explore("--model qwen3-30b-a3b-4bit --mac m4max-40/64 --context 32768", SIZE);
    terminal.until("an answer", answered);
    let drawn = svg(&terminal.screen());
    assert!(drawn.len() < 200_000, "{} bytes", drawn.len());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pictures/explore.svg");
    if std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always") {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, &drawn).expect("written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == drawn, "the screen has changed: renew {} as this file says", path.display());
}
