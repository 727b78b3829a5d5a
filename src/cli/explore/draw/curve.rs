//! Curves over the context: speed with its band, memory with its limits. The context is on a logarithmic scale.

use super::palette::Palette;
use super::words::put;
use crate::cli::explore::state::ShownAnswer;
use crate::units::TokensPerSecond;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

/// Points of a curve: logarithm of the tokens, value.
type Points = Vec<(f64, f64)>;

/// Decode speed over the context.
pub(super) fn speed(answer: &ShownAnswer, palette: Palette, area: Rect, cells: &mut Buffer) {
    let of = |value: fn(&super::super::answering::SpeedAt) -> f64| -> Points {
        answer.speeds.iter().map(|s| (s.tokens.log2(), value(s))).collect()
    };
    let curves = [
        (of(|s| s.interval_90[0]), palette.faint()),
        (of(|s| s.interval_90[1]), palette.faint()),
        (of(|s| s.rate), palette.curve()),
    ];
    let title = "tok/s by context, with the 90 % band";
    plot(title, &curves, answer, |y| TokensPerSecond(y).to_string(), palette, area, cells);
}

/// Memory over the context.
pub(super) fn memory(answer: &ShownAnswer, palette: Palette, area: Rect, cells: &mut Buffer) {
    let of = |value: fn(&crate::cli::shared::curve::MemoryStack) -> f64| -> Points {
        answer.memory.iter().map(|s| (s.tokens.log2(), value(s))).collect()
    };
    let limit = answer.prediction.machine.gpu_limit.bytes.gb();
    let level = of(|_| 0.0).into_iter().map(|(x, _)| (x, limit)).collect();
    let curves = [
        (level, palette.limit()),
        (of(|s| s.weights), palette.weights()),
        (of(|s| s.cached), palette.cache()),
        (of(|s| s.peak), palette.work()),
    ];
    let title = "GB by context, with the GPU limit";
    plot(title, &curves, answer, |y| format!("{y:.0}"), palette, area, cells);
}

fn plot(
    title: &str,
    curves: &[(Points, Style)],
    answer: &ShownAnswer,
    label: impl Fn(f64) -> String,
    palette: Palette,
    area: Rect,
    cells: &mut Buffer,
) {
    put(cells, Rect { height: 1, ..area }, 1, title, palette.label());
    let all = || curves.iter().flat_map(|(points, _)| points);
    let (Some(first), Some(last)) = (curves[0].0.first(), curves[0].0.last()) else { return };
    let top = all().map(|(_, y)| *y).fold(0.0, f64::max) * 1.02;
    if !(top.is_finite() && top > 0.0) {
        return;
    }
    // Where the prompt of the run stands.
    let now = f64::from(answer.prediction.run.work.context_tokens).log2().clamp(first.0, last.0);
    let mark = [(now, 0.0), (now, top)];
    let line = |points, style| {
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(style)
            .data(points)
    };
    let mut sets = vec![line(&mark, palette.faint())];
    sets.extend(curves.iter().map(|(points, style)| line(points, *style)));
    let faint = |text: String| Line::styled(text, palette.faint());
    let middle = first.0.midpoint(last.0);
    let x = [first.0, middle, last.0].map(|x| faint(tokens(x)));
    let y = [0.0, top / 2.0, top].map(|y| faint(label(y)));
    let chart = Chart::new(sets)
        .legend_position(None)
        .x_axis(Axis::default().bounds([first.0, last.0]).labels(x).style(palette.faint()))
        .y_axis(Axis::default().bounds([0.0, top]).labels(y).style(palette.faint()));
    let below =
        Rect { x: area.x + 1, y: area.y + 1, width: area.width - 2, height: area.height - 1 };
    chart.render(below, cells);
}

/// A number of tokens by its logarithm, in thousands of 1024 where it is large.
fn tokens(log2: f64) -> String {
    let n = log2.exp2().round();
    if n < 1024.0 { format!("{n:.0}") } else { format!("{:.0}k", n / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::tokens;

    #[test]
    fn tokens_are_short() {
        assert_eq!(
            [256.0_f64, 3238.0, 40960.0, 1_048_576.0].map(|n| tokens(n.log2())),
            ["256", "3k", "40k", "1024k"]
        );
    }
}
