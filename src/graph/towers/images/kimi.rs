//! Processors of Kimi: an image shrunk to a number of patches, then cropped or padded to joined patches.

use super::{ImageCall, ImageTokens, view};
use crate::graph::towers::keys::divisor;
use crate::model::ConfigError;

type Tokens = Result<ImageTokens, ConfigError>;

/// Sides of the patches that are joined, down and across.
fn joined(call: &ImageCall<'_>) -> Result<[f64; 2], ConfigError> {
    match call.given.opt_dims("merge_kernel_size")?.as_deref() {
        None => Ok([2.0, 2.0]),
        Some(&[down, across]) if down > 0 && across > 0 => Ok([down as f64, across as f64]),
        Some(_) => Err(call.given.invalid("merge_kernel_size", "two sizes of at least 1")),
    }
}

fn tokens(sides: [f64; 2], patch: u64, joined: [f64; 2]) -> ImageTokens {
    let [rows, columns] = sides.map(|n| (n / patch as f64).floor());
    let tokens = (rows / joined[0]).floor() * (columns / joined[1]).floor();
    ImageTokens::new(tokens as u64, 0, vec![view(sides[0], sides[1], patch, 1)])
}

/// Kimi-VL, which crops.
pub(in crate::graph::towers) fn kimi_vl(call: &ImageCall<'_>) -> Tokens {
    let patch = divisor(&call.given, "patch_size", 14)?;
    let limit = call.given("in_token_limit", 4096)? as f64;
    let joined = joined(call)?;
    let size = patch as f64;
    let mut sides = [call.height(), call.width()];
    let patches = (sides[0] / size).floor() * (sides[1] / size).floor();
    if patches > limit {
        let scale = (limit / patches).sqrt();
        sides = sides.map(|n| (n * scale).floor());
    }
    let padded = call.given.bool_or("pad_input", false)?;
    for (side, joined) in sides.iter_mut().zip(joined) {
        let step = joined * size;
        let whole = *side / step;
        *side = step * if padded { whole.ceil() } else { whole.floor() };
    }
    if sides.iter().any(|n| n / size >= 512.0) {
        return Err(call.config.invalid("image", "fewer than 512 patches on each side"));
    }
    Ok(tokens(sides, patch, joined))
}

/// Kimi K2.5.
pub(in crate::graph::towers) fn kimi_k25(call: &ImageCall<'_>) -> Tokens {
    padded(call, call.given("in_token_limit", 16_384)?)
}

/// Kimi K3.
pub(in crate::graph::towers) fn kimi_k3(call: &ImageCall<'_>) -> Tokens {
    padded(call, call.given("in_patch_limit", 65_536)?)
}

/// An image shrunk to `limit` patches and to a limit of each side, and padded.
fn padded(call: &ImageCall<'_>, limit: u64) -> Tokens {
    let patch = divisor(&call.given, "patch_size", 14)?;
    let size = patch as f64;
    let longest = call.given("patch_limit_on_one_side", 512)?.max(1) as f64 * size;
    let joined = joined(call)?;
    let sides = [call.height(), call.width()];
    let [rows, columns] = sides.map(|n| (n / size).floor().max(1.0));
    let scale = (limit as f64 / (rows * columns)).sqrt();
    let scale = sides.iter().fold(scale.min(1.0), |scale, n| scale.min(longest / n));
    let mut sides = sides.map(|n| (n * scale).floor().max(1.0).min(longest));
    for (side, joined) in sides.iter_mut().zip(joined) {
        let step = joined * size;
        *side = (*side / step).ceil() * step;
    }
    Ok(tokens(sides, patch, joined))
}
