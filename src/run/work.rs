//! The work of a run: what is read and what is generated.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Prompt, output and sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Tokens of the prompt, which are in the cache when decoding starts; those of images are among them as soon as
    /// [`Images::tokens_each`] is known.
    pub context_tokens: u32,
    /// Tokens of the prompt that a kept cache holds when the request arrives: only those behind them are read.
    pub cached_tokens: u32,
    /// Tokens generated after the prompt.
    pub generate_tokens: u32,
    /// Sequences processed together.
    pub batch: u32,
    /// Images in the prompt.
    pub images: Option<Images>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            context_tokens: 4096,
            cached_tokens: 0,
            generate_tokens: 256,
            batch: 1,
            images: None,
        }
    }
}

impl Work {
    /// Tokens of the prompt that are read: at least the last one, whose logits no cache holds.
    #[must_use]
    pub fn read_tokens(&self) -> u32 {
        self.context_tokens.saturating_sub(self.cached_tokens).max(1)
    }
}

/// Images of one size in a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Images {
    /// Number of images.
    pub count: u32,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Tokens that each becomes, its markers included; `None` until the model is known.
    pub tokens_each: Option<u32>,
}

/// Side of an image whose size was not said, in pixels.
const SIDE: u32 = 1024;
/// More images, and more pixels along a side, than any engine takes.
const MOST_IMAGES: u32 = 4096;
const MOST_PIXELS: u32 = 65_535;

/// A text that names no images.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "'{0}' is no number of images; write N or N@WIDTHxHEIGHT, such as 2@1024x768, with up to {MOST_IMAGES} images of \
     up to {MOST_PIXELS} pixels a side"
)]
pub struct ImagesError(pub String);

impl FromStr for Images {
    type Err = ImagesError;

    fn from_str(text: &str) -> Result<Self, ImagesError> {
        let wrong = || ImagesError(text.to_owned());
        let number = |n: &str, most: u32| {
            n.trim().parse().ok().filter(|n| (1..=most).contains(n)).ok_or_else(wrong)
        };
        let (count, size) = match text.split_once('@') {
            Some((count, size)) => (count, Some(size)),
            None => (text, None),
        };
        let (width, height) = match size {
            Some(size) => {
                let (width, height) = size.split_once(['x', 'X', '×']).ok_or_else(wrong)?;
                (number(width, MOST_PIXELS)?, number(height, MOST_PIXELS)?)
            }
            None => (SIDE, SIDE),
        };
        Ok(Self { count: number(count, MOST_IMAGES)?, width, height, tokens_each: None })
    }
}

impl fmt::Display for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, width, height, tokens_each } = self;
        let plural = if *count == 1 { "" } else { "s" };
        write!(f, "{count} image{plural} of {width}x{height} pixels")?;
        match tokens_each {
            Some(tokens) if *count == 1 => write!(f, " ({tokens} tokens)"),
            Some(tokens) => write!(f, " ({tokens} tokens each)"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_a_number_and_perhaps_a_size() {
        let of = |text: &str| text.parse::<Images>();
        let images = |count, width, height| Images { count, width, height, tokens_each: None };
        assert_eq!(of("2"), Ok(images(2, 1024, 1024)));
        assert_eq!(of("1@4000x6000"), Ok(images(1, 4000, 6000)));
        for wrong in ["", "0", "x", "2@", "2@1024", "2@0x5", "2@1x99999", "-1", "1@2x3x4"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        let seen = Images { tokens_each: Some(1026), ..images(2, 640, 480) };
        assert_eq!(seen.to_string(), "2 images of 640x480 pixels (1026 tokens each)");
    }
}
