//! LFM2-VL: a small image in one piece, a large one in tiles with a thumbnail.

use super::tiles::{Closeness, closest};
use super::{ImageCall, ImageTokens, View, view};
use crate::model::{Config, ConfigError};

/// What decides, from the processor's file, else from the configuration, else the published value.
struct Settings {
    factor: u64,
    patch: u64,
    low: u64,
    high: u64,
    tile: u64,
    tolerance: f64,
    tiles: [u64; 2],
    splits: bool,
    thumbnail: bool,
}

impl Settings {
    fn read(call: &ImageCall<'_>) -> Result<Self, ConfigError> {
        let has = |c: &Config, key: &str| c.get(key).is_some();
        let from = |key: &str| if has(&call.given, key) { &call.given } else { call.config };
        let dim = |key: &str, default| from(key).dim_or(key, default);
        let given = &call.given;
        let patch = match has(given, "encoder_patch_size") || !has(given, "patch_size") {
            true => dim("encoder_patch_size", 16)?,
            false => given.dim_or("patch_size", 16)?,
        };
        let key = "max_pixels_tolerance";
        Ok(Self {
            factor: dim("downsample_factor", 2)?.clamp(1, 1 << 16),
            patch: patch.clamp(1, 1 << 16),
            low: dim("min_image_tokens", 64)?,
            high: dim("max_image_tokens", 256)?.max(1),
            tile: dim("tile_size", 512)?.max(1),
            tolerance: from(key).number_or(key, 2.0)?,
            // mlx-vlm takes these from the processor's file or its own defaults, never from the configuration.
            tiles: [given.dim_or("min_tiles", 2)?, given.dim_or("max_tiles", 10)?],
            splits: given.bool_or("do_image_splitting", true)?,
            thumbnail: given.bool_or("use_thumbnail", true)?,
        })
    }

    /// Pixels of a token, squared.
    fn area(&self) -> f64 {
        (self.patch * self.factor).pow(2) as f64
    }

    /// Sides of the image in one piece.
    fn whole(&self, call: &ImageCall<'_>) -> [f64; 2] {
        let step = (self.patch * self.factor) as f64;
        let sides = [call.height(), call.width()];
        let rounded = sides.map(|n| step.max((n / step).round_ties_even() * step));
        let (low, high) = (self.low as f64 * self.area(), self.high as f64 * self.area());
        let area = rounded[0] * rounded[1];
        if area > high {
            let beta = (sides[0] * sides[1] / high).sqrt();
            return sides.map(|n| step.max((n / beta / step).floor() * step));
        }
        if area < low {
            let beta = (low / (sides[0] * sides[1])).sqrt();
            return sides.map(|n| (n * beta / step).ceil() * step);
        }
        rounded
    }

    fn is_large(&self, call: &ImageCall<'_>) -> bool {
        let step = (self.patch * self.factor) as f64;
        let [height, width] = [call.height(), call.width()]
            .map(|n| (self.patch as f64).max((n / step).round_ties_even() * step));
        height * width > self.high as f64 * self.area() * self.tolerance
    }

    /// Tokens of a view, whose odd rows and columns of patches are padded.
    fn tokens(&self, v: View) -> u64 {
        let side = |n: u32| u64::from(n).div_ceil(self.factor);
        side(v.rows) * side(v.columns) * u64::from(v.count)
    }
}

/// LFM2-VL.
pub(in crate::graph::towers) fn lfm2_vl(call: &ImageCall<'_>) -> Result<ImageTokens, ConfigError> {
    let s = Settings::read(call)?;
    let [height, width] = s.whole(call);
    let whole = view(height, width, s.patch, 1);
    if !(s.splits && s.is_large(call)) {
        return Ok(ImageTokens::new(s.tokens(whole), 2, vec![whole]));
    }
    let [across, down] = closest(call, s.tiles, s.tile, Closeness::LargerWhereHalfFull);
    let tiles = across * down;
    let tile = s.tile as f64;
    let mut views = vec![view(tile, tile, s.patch, tiles)];
    let markers = if tiles > 1 {
        if s.thumbnail {
            views.push(whole);
        }
        2 + tiles + u64::from(s.thumbnail)
    } else {
        2
    };
    Ok(ImageTokens::new(views.iter().map(|v| s.tokens(*v)).sum(), markers, views))
}
