//! Memory as a bar over all that the Mac has, against its limits.

use super::palette::Palette;
use super::words::{columns, put};
use crate::estimate::memory::Memory;
use crate::estimate::{Prediction, PredictionAnswer};
use crate::hardware::machine::Machine;
use crate::units::Bytes;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// A part of the bar.
#[derive(Clone, Copy, Debug, PartialEq)]
struct BarPart {
    name: &'static str,
    sign: char,
    style: Style,
    bytes: u64,
}

/// The parts of a peak: weights, caches, and whatever else there is at the peak.
fn parts(p: &Prediction, memory: &Memory, palette: Palette) -> [BarPart; 3] {
    let (mut weights, mut cache) = (0, 0);
    for part in PredictionAnswer::from(p).memory.parts {
        match part.part {
            "scores" | "run_ahead" | "compute" => {}
            "kv" | "state" | "prompt_cache" => cache += part.bytes,
            _ => weights += part.bytes,
        }
    }
    let peak = memory.peak.peak_bytes;
    let weights = weights.min(peak);
    let cache = cache.min(peak - weights);
    [
        BarPart { name: "weights", sign: '█', style: palette.weights(), bytes: weights },
        BarPart { name: "cache", sign: '▓', style: palette.cache(), bytes: cache },
        BarPart { name: "work", sign: '▒', style: palette.work(), bytes: peak - weights - cache },
    ]
}

/// Draws the bar and, a row below, what its signs mean.
pub(super) fn draw(
    p: &Prediction,
    (memory, machine): (&Memory, &Machine),
    palette: Palette,
    area: Rect,
    cells: &mut Buffer,
) {
    let parts = parts(p, memory, palette);
    let needed: u64 = parts.iter().map(|part| part.bytes).sum();
    let scale = machine.memory.value.0.max(needed).max(1);
    let width = u64::from(area.width);
    let at = |bytes: u64| (u128::from(bytes) * u128::from(width) / u128::from(scale)) as u16;
    put(cells, area, 0, &"·".repeat(width as usize), palette.faint());
    let reserve = at(machine.memory.value.0.saturating_sub(memory.reserve.0));
    for x in reserve..at(machine.memory.value.0) {
        put(cells, area, x, "░", palette.faint());
    }
    let mut below = 0;
    for part in parts {
        let (from, to) = (at(below), at(below + part.bytes));
        let mut sign = [0; 4];
        for x in from..to {
            put(cells, area, x, part.sign.encode_utf8(&mut sign), part.style);
        }
        below += part.bytes;
    }
    let mark = at(machine.gpu_limit.bytes.0).min(area.width.saturating_sub(1));
    put(cells, area, mark, "│", palette.limit());
    legend(
        &parts,
        (memory.reserve, machine.gpu_limit.bytes),
        palette,
        Rect { y: area.y + 1, ..area },
        cells,
    );
}

fn legend(
    parts: &[BarPart; 3],
    (reserve, limit): (Bytes, Bytes),
    palette: Palette,
    row: Rect,
    cells: &mut Buffer,
) {
    put(cells, row, 0, "GB", palette.faint());
    let all = parts.iter().map(|p| (p.sign, p.name, p.bytes, p.style));
    let kept = ('░', "reserve", reserve.0, palette.faint());
    let mark = ('│', "GPU limit", limit.0, palette.limit());
    let mut x = 3;
    for (sign, name, bytes, style) in all.chain([kept, mark]) {
        put(cells, row, x, sign.encode_utf8(&mut [0; 4]), style);
        let text = format!(" {name} {:.1}  ", Bytes(bytes).gb());
        put(cells, row, x + 1, &text, Style::new());
        x += 1 + columns(&text) as u16;
    }
}
