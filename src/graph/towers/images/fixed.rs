//! Processors that make every image the same size.

use super::{ImageCall, ImageTokens, View};
use crate::graph::towers::keys::divisor;
use crate::model::ConfigError;

type Tokens = Result<ImageTokens, ConfigError>;

/// Patches along the side of a square.
fn side(call: &ImageCall<'_>, image: u64, patch: u64) -> Result<u64, ConfigError> {
    let patch = divisor(&call.vision, "patch_size", patch)?;
    Ok(call.vision.dim_or("image_size", image)? / patch)
}

fn square(side: u64, count: u32) -> Vec<View> {
    let side = u32::try_from(side).unwrap_or(u32::MAX);
    vec![View { rows: side, columns: side, count }]
}

/// Tokens that the configuration fixes, between a begin and an end.
fn fixed(call: &ImageCall<'_>, views: Vec<View>) -> Tokens {
    let sources = [
        call.given.opt_dim("image_seq_length")?,
        call.config.opt_dim("mm_tokens_per_image")?,
        call.config.opt_dim("vision_soft_tokens_per_image")?,
    ];
    let tokens = sources.into_iter().flatten().find(|n| *n > 0).unwrap_or(256);
    Ok(ImageTokens::new(tokens, 2, views))
}

/// Gemma 3: a square of patches, pooled.
pub(in crate::graph::towers) fn gemma3(call: &ImageCall<'_>) -> Tokens {
    fixed(call, square(side(call, 224, 14)?, 1))
}

/// Gemma 3n: a convolutional tower without patches.
pub(in crate::graph::towers) fn gemma3n(call: &ImageCall<'_>) -> Tokens {
    fixed(call, Vec::new())
}

/// PaliGemma.
pub(in crate::graph::towers) fn paligemma(call: &ImageCall<'_>) -> Tokens {
    let side = side(call, 224, 14)?;
    Ok(ImageTokens::new(side.saturating_mul(side), 0, square(side, 1)))
}

/// LLaVA: the patches, with the token of the class unless it is left out.
pub(in crate::graph::towers) fn llava(call: &ImageCall<'_>) -> Tokens {
    let side = side(call, 336, 14)?;
    let left_out = call.config.opt_str("vision_feature_select_strategy")? == Some("default");
    let tokens = side.saturating_mul(side).saturating_add(u64::from(!left_out));
    Ok(ImageTokens::new(tokens, 0, square(side, 1)))
}

/// Llama 3.2 Vision: features that are no positions of the prompt, behind one marker.
pub(in crate::graph::towers) fn mllama(call: &ImageCall<'_>) -> Tokens {
    let side = side(call, 560, 14)?;
    let tiles = u32::try_from(call.vision.dim_or("max_num_tiles", 4)?).unwrap_or(u32::MAX);
    Ok(ImageTokens::new(0, 1, square(side, tiles)))
}
