//! Processors that cut an image into tiles of the tower's size: InternVL, Llama 4, Idefics 3, Phi-3.5 and Molmo 2.

use super::{ImageCall, ImageTokens, View, view};
use crate::graph::towers::keys::{divisor, side};
use crate::model::ConfigError;

type Tokens = Result<ImageTokens, ConfigError>;

/// Which of two grids of the same shape is taken.
#[derive(Clone, Copy)]
pub(super) enum Closeness {
    /// The larger one if the image has more than half its pixels.
    LargerWhereHalfFull,
    /// The one whose pixels are nearer to the image's.
    NearerArea,
}

/// More tiles than any processor allows; bounds the search on a hostile file.
const MOST_TILES: u64 = 256;

/// The grid of tiles, across and down, whose shape is nearest to the image's, with a number of tiles within `range`.
pub(super) fn closest(
    call: &ImageCall<'_>,
    range: [u64; 2],
    tile: u64,
    closeness: Closeness,
) -> [u64; 2] {
    let [low, high] = range.map(|n| n.min(MOST_TILES));
    let mut grids: Vec<[u64; 2]> = (1..=high)
        .flat_map(|across| (1..=high).map(move |down| [across, down]))
        .filter(|[across, down]| (low..=high).contains(&(across * down)))
        .collect();
    grids.sort_by_key(|[across, down]| across * down);
    let shape = call.width() / call.height();
    let area = call.width() * call.height();
    let pixels = |[across, down]: [u64; 2]| (tile * tile * across * down) as f64;
    let mut best = ([1, 1], f64::INFINITY);
    for grid in grids {
        let distance = (shape - grid[0] as f64 / grid[1] as f64).abs();
        let better = distance == best.1
            && match closeness {
                Closeness::LargerWhereHalfFull => area > 0.5 * pixels(grid),
                Closeness::NearerArea => {
                    (area - pixels(grid)).abs() < (area - pixels(best.0)).abs()
                }
            };
        if distance < best.1 || better {
            best = (grid, distance);
        }
    }
    best.0
}

/// InternVL.
pub(in crate::graph::towers) fn internvl(call: &ImageCall<'_>) -> Tokens {
    let c = call.config;
    let size = match c.get("force_image_size") {
        Some(_) => side(c, "force_image_size", 448)?,
        None => side(&call.vision, "image_size", 448)?,
    };
    let patch = side(&call.vision, "patch_size", 14)?.max(1);
    let range = [
        c.dim_or("min_dynamic_patch", call.given("min_patches", 1)?)?,
        c.dim_or("max_dynamic_patch", call.given("max_patches", 12)?)?,
    ];
    let [across, down] = closest(call, range, size, Closeness::NearerArea);
    let tiles = across * down;
    let thumbnail = c.bool_or("use_thumbnail", true)? && tiles > 1;
    let views = tiles + u64::from(thumbnail);
    let grid = (size / patch) as f64;
    let each = (grid * grid * c.number_or("downsample_ratio", 0.5)?.powi(2)) as u64;
    let seen = view(size as f64, size as f64, patch, views);
    Ok(ImageTokens::new(views.saturating_mul(each), 2, vec![seen]))
}

/// Grids of Llama 4, down and across.
const LLAMA4: [[u64; 2]; 8] = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]];

/// Llama 4: tiles and, where there are several, the whole image.
pub(in crate::graph::towers) fn llama4(call: &ImageCall<'_>) -> Tokens {
    let size = match call.given.get("size") {
        Some(serde_json::Value::Object(_)) => call.given.object("size")?.dim_or("height", 336)?,
        Some(_) => call.given.dim("size")?,
        None => call.vision.dim_or("image_size", 336)?,
    };
    let most = call.given("max_patches", 16)?;
    let fit = |[down, across]: [u64; 2]| {
        let (high, wide) = ((down * size) as f64, (across * size) as f64);
        let scale = (wide / call.width()).min(high / call.height());
        (call.width() * scale - wide).abs() + (call.height() * scale - high).abs()
    };
    let mut best = ([1, 1], f64::INFINITY);
    for grid in LLAMA4.into_iter().filter(|[down, across]| down * across <= most) {
        if fit(grid) < best.1 {
            best = (grid, fit(grid));
        }
    }
    let [rows, columns] = best.0;
    let patch = divisor(&call.vision, "patch_size", 14)?;
    let ratio = call.vision.number_or("pixel_shuffle_ratio", 0.5)?;
    let joined = (1.0 / (ratio * ratio)).round_ties_even().max(1.0) as u64;
    let each = (size / patch).pow(2) / joined;
    let tiles = rows * columns;
    let views = if tiles > 1 { tiles + 1 } else { 1 };
    let markers = 3 + if tiles > 1 { rows * (columns - 1) + rows } else { 0 };
    let seen = view(size as f64, size as f64, patch, views);
    Ok(ImageTokens::new(each.saturating_mul(views), markers, vec![seen]))
}

/// Idefics 3 and SmolVLM: the image at its longest edge in tiles, and the whole image.
pub(in crate::graph::towers) fn idefics3(call: &ImageCall<'_>) -> Tokens {
    let edge = |key: &str, published| -> Result<f64, ConfigError> {
        let size = call.given.opt_object(key)?;
        let edge = size.map_or(Ok(published), |s| s.dim_or("longest_edge", published))?;
        Ok(edge.max(1) as f64)
    };
    let (longest, tile) = (edge("size", 2048)?, edge("max_image_size", 512)?);
    let ratio = call.width() / call.height();
    let even = |n: f64| n.floor() + n.floor() % 2.0;
    let whole = |n: f64| (n / tile).ceil() * tile;
    let (mut height, mut width) = if call.width() >= call.height() {
        (even(longest / ratio).max(1.0), longest)
    } else {
        (longest, even(longest * ratio).max(1.0))
    };
    let ratio = width / height;
    if width >= height {
        width = whole(width);
        height = whole((width / ratio).floor());
    } else {
        height = whole(height);
        width = whole((height * ratio).floor());
    }
    let (rows, columns) = if height.max(width) > tile {
        ((height / tile) as u64, (width / tile) as u64)
    } else {
        (0, 0)
    };
    let patch = divisor(&call.vision, "patch_size", 14)?;
    let factor = divisor(call.config, "scale_factor", 2)?;
    let each = ((tile as u64) / patch).pow(2) / (factor * factor);
    let each = call.given("image_seq_len", each)?;
    let views = rows * columns + 1;
    let markers = 2 * rows * columns + rows + 3 + u64::from(rows > 0);
    Ok(ImageTokens::new(each.saturating_mul(views), markers, vec![view(tile, tile, patch, views)]))
}

/// Side of the tiles of Phi-3.5 and patches along it.
const PHI_TILE: u64 = 336;
const PHI_PATCHES: u32 = 24;

/// Phi-3.5 Vision: tiles in rows with separators, and the whole image.
pub(in crate::graph::towers) fn phi3_v(call: &ImageCall<'_>) -> Tokens {
    let crops = call.given("num_crops", 16)?.clamp(1, MOST_TILES);
    let (long, short) = (call.width().max(call.height()), call.width().min(call.height()));
    let ratio = long / short;
    let across = (1..=crops).take_while(|&n| n as f64 * (n as f64 / ratio).ceil() <= crops as f64);
    let across = across.last().unwrap_or(0);
    let pixels = ((across * PHI_TILE) as f64 / ratio).floor();
    let down = (pixels / PHI_TILE as f64).ceil() as u64;
    let rows = if call.width() < call.height() { across } else { down };
    let tiles = across * down + 1;
    let each = call.given("num_img_tokens", 144)?;
    let tokens = tiles.saturating_mul(each).saturating_add(1 + (rows + 1) * 12);
    let count = u32::try_from(tiles).unwrap_or(u32::MAX);
    let seen = View { rows: PHI_PATCHES, columns: PHI_PATCHES, count };
    Ok(ImageTokens::new(tokens, 0, vec![seen]))
}

/// Patches along the side of a crop of Molmo 2, and those of them that overlap with neighbors.
const MOLMO_CROP: u64 = 27;
const MOLMO_OVERLAP: u64 = 8;
const MOLMO_PATCH: u64 = 14;
const MOLMO_CROPS: u64 = 8;

/// Molmo 2: the whole image and overlapping crops, both pooled two by two.
pub(in crate::graph::towers) fn molmo2(call: &ImageCall<'_>) -> Tokens {
    let window = MOLMO_CROP - MOLMO_OVERLAP;
    let margin = (MOLMO_OVERLAP * MOLMO_PATCH) as f64;
    let [down, across] =
        tiling([call.height() - margin, call.width() - margin], (window * MOLMO_PATCH) as f64);
    let pooled = |patches: u64| patches.div_ceil(2);
    let low = pooled(MOLMO_CROP);
    let [rows, columns] = [down, across].map(|n| pooled(n * window + MOLMO_OVERLAP));
    let side = MOLMO_CROP as u32;
    let count = u32::try_from(down * across + 1).unwrap_or(u32::MAX);
    let seen = View { rows: side, columns: side, count };
    Ok(ImageTokens::new(low * low + rows * columns, 4 + low + rows, vec![seen]))
}

/// The grid that shows the image largest without enlarging it or, where none holds it, that shrinks it least.
fn tiling(sides: [f64; 2], window: f64) -> [u64; 2] {
    let mut grids: Vec<[u64; 2]> = (1..=MOLMO_CROPS)
        .flat_map(|down| (1..=MOLMO_CROPS).map(move |across| [down, across]))
        .filter(|[down, across]| down * across <= MOLMO_CROPS)
        .collect();
    grids.sort_by_key(|&[down, across]| (down * across, down));
    let scale = |grid: [u64; 2]| {
        let [high, wide] = [0, 1].map(|i| grid[i] as f32 * window as f32 / sides[i] as f32);
        high.min(wide)
    };
    let mut best = [1, 1];
    let mut least = f32::INFINITY;
    if grids.iter().all(|g| scale(*g) < 1.0) {
        for grid in grids {
            if least.is_infinite() || scale(grid) > least {
                (best, least) = (grid, scale(grid));
            }
        }
    } else {
        for grid in grids.into_iter().filter(|g| scale(*g) >= 1.0) {
            if scale(grid) < least {
                (best, least) = (grid, scale(grid));
            }
        }
    }
    best
}
