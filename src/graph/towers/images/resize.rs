//! Processors that keep an image in one piece: its sides are rounded to whole patches within limits of its area.

use super::{ImageCall, ImageTokens, grid, python_set, view};
use crate::graph::towers::keys::divisor;
use crate::model::ConfigError;

type Tokens = Result<ImageTokens, ConfigError>;

/// Sides rounded to multiples of `factor`, shrunk or grown to between `low` and `high` pixels; `frames` is how often the
/// image counts (`smart_resize` of Qwen2-VL and, with two frames, of GLM-4V).
fn smart(call: &ImageCall<'_>, factor: f64, [low, high]: [f64; 2], frames: f64) -> [f64; 2] {
    let (mut height, mut width) = (call.height(), call.width());
    if frames > 1.0 && (height < factor || width < factor) {
        let scale = (factor / height).max(factor / width);
        (height, width) = ((height * scale).floor(), (width * scale).floor());
    }
    let rounded = [height, width].map(|n| (n / factor).round_ties_even() * factor);
    let area = frames * rounded[0] * rounded[1];
    if area > high {
        let beta = (frames * height * width / high).sqrt();
        return [height, width].map(|n| factor.max((n / beta / factor).floor() * factor));
    }
    if area < low {
        let beta = (low / (frames * height * width)).sqrt();
        return [height, width].map(|n| (n * beta / factor).ceil() * factor);
    }
    rounded
}

/// Limits of the area, which newer files call edges.
fn limits(call: &ImageCall<'_>, low: u64, high: u64) -> Result<[f64; 2], ConfigError> {
    let mut limits = [call.given("min_pixels", low)?, call.given("max_pixels", high)?];
    if let Some(size) = call.given.opt_object("size")? {
        for (limit, key) in limits.iter_mut().zip(["shortest_edge", "longest_edge"]) {
            *limit = size.opt_dim(key)?.filter(|n| *n > 0).unwrap_or(*limit);
        }
    }
    // A value beside `size` wins.
    for (limit, key) in limits.iter_mut().zip(["min_pixels", "max_pixels"]) {
        *limit = call.given.opt_dim(key)?.unwrap_or(*limit);
    }
    Ok(limits.map(|n| n.max(1) as f64))
}

fn merged(call: &ImageCall<'_>, patch: u64, merge: u64, limits: [f64; 2], frames: f64) -> Tokens {
    call.check_ratio()?;
    let factor = patch.saturating_mul(merge.max(1)) as f64;
    let [height, width] = smart(call, factor, limits, frames);
    Ok(ImageTokens::new(grid(height, width, factor), 0, vec![view(height, width, patch, 1)]))
}

/// Qwen2-VL and Qwen2.5-VL.
pub(in crate::graph::towers) fn qwen2(call: &ImageCall<'_>) -> Tokens {
    let patch = divisor(&call.given, "patch_size", 14)?;
    let limits = limits(call, 3136, 12_845_056)?;
    merged(call, patch, call.given("merge_size", 2)?, limits, 1.0)
}

/// Qwen3-VL and Qwen3.5.
pub(in crate::graph::towers) fn qwen3(call: &ImageCall<'_>) -> Tokens {
    let patch = call.vision.dim_or("patch_size", call.given("patch_size", 16)?)?.max(1);
    let merge = call.vision.dim_or("spatial_merge_size", call.given("merge_size", 2)?)?;
    merged(call, patch, merge, limits(call, 65_536, 16_777_216)?, 1.0)
}

/// GLM-4.1V, which counts an image as two frames.
pub(in crate::graph::towers) fn glm4v(call: &ImageCall<'_>) -> Tokens {
    let patch = divisor(&call.given, "patch_size", 14)?;
    let limits = limits(call, 12_544, 9_633_792)?;
    merged(call, patch, call.given("merge_size", 2)?, limits, 2.0)
}

/// Gemma 4: as many patches as the budget holds in the image's shape, pooled.
pub(in crate::graph::towers) fn gemma4(call: &ImageCall<'_>) -> Tokens {
    let patch = call.patch(16)?;
    let pool = match call.given.opt_dim("pooling_kernel_size")? {
        Some(pool) => pool,
        None => call.vision.dim_or("pooling_kernel_size", 3)?,
    }
    .max(1);
    let budget = match call.given.opt_dim("max_soft_tokens")? {
        Some(budget) => budget,
        None => match call.vision.opt_dim("default_output_length")? {
            Some(budget) => budget,
            None => call.config.dim_or("vision_soft_tokens_per_image", 280)?,
        },
    };
    let pixels = (budget.saturating_mul(pool * pool)).saturating_mul(patch * patch) as f64;
    let (height, width) = (call.height(), call.width());
    let factor = (pixels / (height * width)).sqrt();
    let step = (pool * patch) as f64;
    let mut sides = [height, width].map(|n| (factor * n / step).floor() * step);
    let longest = budget as f64 * step;
    match sides {
        [0.0, 0.0] => return Err(call.config.invalid("image", "a larger image")),
        [0.0, _] => sides = [step, ((width / height).floor() * step).min(longest)],
        [_, 0.0] => sides = [((height / width).floor() * step).min(longest), step],
        _ => {}
    }
    let patches = grid(sides[0], sides[1], patch as f64);
    Ok(ImageTokens::new(patches / (pool * pool), 2, vec![view(sides[0], sides[1], patch, 1)]))
}

/// Mistral Small 3.1 and later, which joins patches.
pub(in crate::graph::towers) fn mistral3(call: &ImageCall<'_>) -> Tokens {
    let merge = call.config.dim_or("spatial_merge_size", 1)?.max(1);
    longest_edge(call, divisor(&call.vision, "patch_size", 14)?, merge, 1540)
}

/// Pixtral.
pub(in crate::graph::towers) fn pixtral(call: &ImageCall<'_>) -> Tokens {
    longest_edge(call, divisor(&call.vision, "patch_size", 16)?, 1, 1024)
}

/// An image shrunk into a square, with a marker behind every row of tokens.
fn longest_edge(call: &ImageCall<'_>, patch: u64, merge: u64, edge: u64) -> Tokens {
    let [high, wide] = edges(call, edge)?;
    let (mut height, mut width) = (call.height(), call.width());
    let ratio = (height / high).max(width / wide);
    if ratio > 1.0 {
        (height, width) = ((height / ratio).floor(), (width / ratio).floor());
    }
    let step = patch.saturating_mul(merge) as f64;
    let [rows, columns] = [height, width].map(|n| ((n - 1.0) / step).floor() + 1.0);
    let seen = view(rows * step, columns * step, patch, 1);
    Ok(ImageTokens::new((rows * columns) as u64, rows as u64, vec![seen]))
}

/// The largest height and width.
fn edges(call: &ImageCall<'_>, published: u64) -> Result<[f64; 2], ConfigError> {
    if call.given.get("size").is_some_and(serde_json::Value::is_object)
        && let Some(size) = call.given.opt_object("size")?
    {
        if let Some(edge) = size.opt_dim("longest_edge")? {
            return Ok([edge.max(1) as f64; 2]);
        }
        let [height, width] = ["height", "width"].map(|key| size.dim_or(key, published));
        return Ok([height?.max(1) as f64, width?.max(1) as f64]);
    }
    Ok([call.given("size", published)?.max(1) as f64; 2])
}

/// Muse Glimmer: the grid within the budget whose shape is nearest to the image's.
pub(in crate::graph::towers) fn muse(call: &ImageCall<'_>) -> Tokens {
    let patch = call.patch(14)?;
    let merge = call.given("merge_size", 2)?.max(1);
    let budget = call.given("max_image_tokens", 4096)?.max(1) as f64;
    let factor = (patch * merge) as f64;
    let (mut rows, mut columns) = (call.height() / factor, call.width() / factor);
    let ratio = columns / rows;
    if rows * columns > budget {
        rows = (budget / ratio).sqrt();
        columns = rows * ratio;
    }
    let shape = call.height() / call.width();
    let [r, c] = [rows, columns].map(|n| [n.floor() as u64, n.ceil() as u64]);
    let pairs = [[r[0], c[0]], [r[0], c[1]], [r[1], c[0]], [r[1], c[1]]];
    let candidates = python_set::listed(pairs)
        .into_iter()
        .map(|[r, c]| [r as f64, c as f64])
        .filter(|&[r, c]| r >= 1.0 && c >= 1.0 && r * c <= budget);
    let nearest = candidates
        .min_by(|a, b| (a[0] / a[1] - shape).abs().total_cmp(&(b[0] / b[1] - shape).abs()));
    let [rows, columns] =
        nearest.unwrap_or_else(|| [rows, columns].map(|n| n.round_ties_even().max(1.0)));
    let seen = view(rows * factor, columns * factor, patch, 1);
    Ok(ImageTokens::new((rows * columns) as u64, 2, vec![seen]))
}

/// MiniMax M3.
pub(in crate::graph::towers) fn minimax_m3(call: &ImageCall<'_>) -> Tokens {
    call.check_ratio()?;
    let patch = divisor(&call.given, "patch_size", 14)?;
    let factor = patch.saturating_mul(call.given("merge_size", 2)?.max(1)) as f64;
    let (height, width) = (call.height(), call.width());
    let rounded = |n: f64| factor.max((n / factor).round_ties_even() * factor);
    let sides = match call.given.opt_dim("max_long_side_pixel")? {
        None => {
            let low = call.given("min_pixels", 3136)? as f64;
            let high = call.given("max_pixels", 451_584)?.max(1) as f64;
            let sides = [rounded(height), rounded(width)];
            if sides[0] * sides[1] > high || sides[0] * sides[1] < low {
                smart(call, factor, [low, high], 1.0)
            } else {
                sides
            }
        }
        Some(longest) => {
            let shortest = call.given("min_short_side_pixel", 112)? as f64;
            let scale = if height.max(width) > longest as f64 {
                longest as f64 / height.max(width)
            } else if height.min(width) < shortest {
                shortest / height.min(width)
            } else {
                1.0
            };
            [rounded(height * scale), rounded(width * scale)]
        }
    };
    let area = call.given("max_total_pixels", 3584 * 3584)? as f64;
    if sides[0] * sides[1] > area {
        return Err(call.config.invalid("image", format!("at most {area} pixels after resizing")));
    }
    let seen = view(sides[0], sides[1], patch, 1);
    Ok(ImageTokens::new(grid(sides[0], sides[1], factor), 2, vec![seen]))
}
