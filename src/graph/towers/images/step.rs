//! Step 3.7: the whole image and windows of its square, resized to two fixed sizes.

use super::{ImageCall, ImageTokens, View};
use crate::model::ConfigError;

/// Tokens of the whole image and of a window.
const WHOLE: u64 = 169;
const WINDOW: u64 = 81;
/// Longest side; side of the whole image and of a window in pixels; pixels of a patch.
const LONGEST: f64 = 3024.0;
const WHOLE_SIDE: f64 = 728.0;
const WINDOW_SIDE: f64 = 504.0;
const PATCH: f64 = 14.0;

/// Step 3.7.
pub(in crate::graph::towers) fn step3p7(call: &ImageCall<'_>) -> Result<ImageTokens, ConfigError> {
    let square = call.width().max(call.height());
    let square = if square > LONGEST { (square * (LONGEST / square)).floor() } else { square };
    let view = |side: f64, count: u64| {
        let side = (side / PATCH) as u32;
        View { rows: side, columns: side, count: count as u32 }
    };
    let mut views = vec![view(WHOLE_SIDE, 1)];
    if square <= WHOLE_SIDE {
        return Ok(ImageTokens::new(WHOLE, 2, views));
    }
    let ratio = square / WINDOW_SIDE;
    let spare = ratio - ratio.floor();
    let cropped = WINDOW_SIDE * (ratio.floor() + if spare > 0.2 { 1.0 } else { 0.0 });
    let cropped = if ratio < 1.0 { square } else { cropped };
    let side = if cropped <= WINDOW_SIDE { 1 } else { (cropped / WINDOW_SIDE).ceil() as u64 };
    let windows = side * side;
    views.push(view(WINDOW_SIDE, windows));
    // Start and end of each, and a line feed behind each row of windows but the last.
    let markers = 2 + 2 * windows + (side - 1);
    Ok(ImageTokens::new(WHOLE + WINDOW * windows, markers, views))
}
