//! How many tokens an image becomes, by the rules of each model's image processor in mlx-vlm 0.7.10.
//!
//! A processor resizes an image, cuts it into patches or tiles, and puts markers around them. What decides are the
//! configuration, `preprocessor_config.json` where it is known, and the values that the published ones hold.

mod fixed;
mod kimi;
mod lfm2;
mod python_set;
mod resize;
mod step;
mod tiles;

pub(super) use fixed::{gemma3, gemma3n, llava, mllama, paligemma};
pub(super) use kimi::{kimi_k3, kimi_k25, kimi_vl};
pub(super) use lfm2::lfm2_vl;
pub(super) use resize::{gemma4, glm4v, minimax_m3, mistral3, muse, pixtral, qwen2, qwen3};
pub(super) use step::step3p7;
pub(super) use tiles::{idefics3, internvl, llama4, molmo2, phi3_v};

use super::keys::{divisor, nested};
use crate::model::{Config, ConfigError};

/// Size of an image in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageSize {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// Images of one size that a tower sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Patches down.
    pub rows: u32,
    /// Patches across.
    pub columns: u32,
    /// Number of such images.
    pub count: u32,
}

/// What an image becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageTokens {
    /// Positions of the prompt that hold features of the image.
    pub features: u64,
    /// Those and the markers that the processor inserts; markers of the chat template are not counted.
    pub prompt: u64,
    /// What the tower sees, tiles and thumbnails apart.
    pub views: Vec<View>,
}

impl ImageTokens {
    fn new(features: u64, markers: u64, views: Vec<View>) -> Self {
        Self { features, prompt: features.saturating_add(markers), views }
    }
}

/// A rule of a processor.
pub(in crate::graph) type ImageRule = fn(&ImageCall<'_>) -> Result<ImageTokens, ConfigError>;

/// What a rule decides from.
pub(in crate::graph) struct ImageCall<'a> {
    /// The configuration of the model.
    config: &'a Config,
    /// Its part for the tower.
    vision: Config,
    /// `preprocessor_config.json`, or nothing.
    given: Config,
    size: ImageSize,
}

impl<'a> ImageCall<'a> {
    pub(in crate::graph) fn new(
        config: &'a Config,
        preprocessor: Option<&Config>,
        size: ImageSize,
    ) -> Result<Self, ConfigError> {
        if size.width == 0 || size.height == 0 {
            return Err(config.invalid("image", "a size of at least 1x1 pixels"));
        }
        let empty = config.clone().emptied();
        let given = match preprocessor {
            Some(outer) => outer.opt_object("image_processor")?.unwrap_or_else(|| outer.clone()),
            None => empty,
        };
        Ok(Self { config, vision: nested(config, "vision_config")?, given, size })
    }

    fn width(&self) -> f64 {
        f64::from(self.size.width)
    }

    fn height(&self) -> f64 {
        f64::from(self.size.height)
    }

    /// A value that `preprocessor_config.json` gives, else the published one.
    fn given(&self, key: &str, published: u64) -> Result<u64, ConfigError> {
        self.given.dim_or(key, published)
    }

    /// A size that divides others.
    fn patch(&self, default: u64) -> Result<u64, ConfigError> {
        match self.given.opt_dim("patch_size")? {
            Some(_) => divisor(&self.given, "patch_size", default),
            None => divisor(&self.vision, "patch_size", default),
        }
    }

    /// Refuses an image that is more than 200 times as long as it is wide.
    fn check_ratio(&self) -> Result<(), ConfigError> {
        let (long, short) = (self.width().max(self.height()), self.width().min(self.height()));
        if long / short > 200.0 {
            return Err(self.config.invalid("image", "sides that differ by at most 200 times"));
        }
        Ok(())
    }
}

/// A view of `height` by `width` pixels in patches.
fn view(height: f64, width: f64, patch: u64, count: u64) -> View {
    let patches = |pixels: f64| (pixels / patch.max(1) as f64) as u32;
    View {
        rows: patches(height),
        columns: patches(width),
        count: u32::try_from(count).unwrap_or(u32::MAX),
    }
}

/// Tokens of a grid of pixels in steps of `factor`.
fn grid(height: f64, width: f64, factor: f64) -> u64 {
    ((height / factor).floor() * (width / factor).floor()).max(0.0) as u64
}
