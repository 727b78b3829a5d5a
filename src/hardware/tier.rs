//! Tiers of an Apple chip family and the Metal architecture names that go with them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Tier of a chip within its family.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// A phone chip in a Mac (A18 Pro).
    Phone,
    /// The plain chip (M4).
    Base,
    /// Pro.
    Pro,
    /// Max.
    Max,
    /// Ultra: two Max dies.
    Ultra,
}

impl Tier {
    /// The tier's word in chip names and ids; empty for the base tier.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Base => "",
            Self::Phone | Self::Pro => "pro",
            Self::Max => "max",
            Self::Ultra => "ultra",
        }
    }

    /// Class of the GPU, where its Metal architecture has not been observed.
    #[must_use]
    pub const fn arch_class(self) -> ArchClass {
        match self {
            Self::Phone => ArchClass::Phone,
            Self::Base => ArchClass::Base,
            Self::Pro | Self::Max => ArchClass::Max,
            Self::Ultra => ArchClass::Ultra,
        }
    }
}

/// Class of a GPU: the last letter of its Metal architecture name, which MLX chooses kernels by
/// (`mlx/backend/metal/device.cpp`; `architecture` in `mx.device_info()`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArchClass {
    /// `p`: chips of phones, as in the MacBook Neo.
    Phone,
    /// `g`: base chips, and Pro chips up to M2.
    Base,
    /// `s`: Max chips, and Pro chips from M3 on.
    Max,
    /// `d`: Ultra chips.
    Ultra,
}

impl ArchClass {
    /// The letter in the name of the architecture.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Phone => 'p',
            Self::Base => 'g',
            Self::Max => 's',
            Self::Ultra => 'd',
        }
    }

    /// The class that a letter stands for; letters of other classes than these have not been seen.
    #[must_use]
    pub const fn of_letter(letter: char) -> Option<Self> {
        match letter {
            'p' => Some(Self::Phone),
            'g' => Some(Self::Base),
            's' => Some(Self::Max),
            'd' => Some(Self::Ultra),
            _ => None,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Phone => "phone",
            Self::Base => "base",
            Self::Pro => "pro",
            Self::Max => "max",
            Self::Ultra => "ultra",
        })
    }
}

impl FromStr for Tier {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "phone" => Ok(Self::Phone),
            "base" => Ok(Self::Base),
            "pro" => Ok(Self::Pro),
            "max" => Ok(Self::Max),
            "ultra" => Ok(Self::Ultra),
            _ => Err(()),
        }
    }
}

/// Metal architecture name of a chip that has not been seen: M1 is generation 13, and each family adds one
/// (`applegpu_g16s` is an M4 Pro or M4 Max).
#[must_use]
pub fn default_metal_arch(generation: u32, tier: Tier) -> String {
    format!("applegpu_g{}{}", generation.saturating_add(12), tier.arch_class().letter())
}

/// Generation number and class of a Metal architecture name: `applegpu_g17s` is 17 and [`ArchClass::Max`]. The class is
/// `None` for an unknown letter.
#[must_use]
pub fn split_metal_arch(arch: &str) -> Option<(u32, Option<ArchClass>)> {
    let rest = arch.strip_prefix("applegpu_g")?;
    let letter = rest.chars().next_back().filter(char::is_ascii_lowercase)?;
    let digits = rest.strip_suffix(letter)?;
    Some((digits.parse().ok()?, ArchClass::of_letter(letter)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architecture_names_split_into_generation_and_class() {
        assert_eq!(split_metal_arch("applegpu_g17s"), Some((17, Some(ArchClass::Max))));
        assert_eq!(split_metal_arch("applegpu_g13g"), Some((13, Some(ArchClass::Base))));
        assert_eq!(split_metal_arch("applegpu_g19z"), Some((19, None)));
        for class in [ArchClass::Phone, ArchClass::Base, ArchClass::Max, ArchClass::Ultra] {
            assert_eq!(ArchClass::of_letter(class.letter()), Some(class));
        }
        for bad in
            ["", "applegpu_g", "applegpu_g17", "applegpu_gs", "apple_paravirt", "applegpu_g1é"]
        {
            assert_eq!(split_metal_arch(bad), None, "{bad}");
        }
    }

    #[test]
    fn architecture_follows_generation_and_tier() {
        assert_eq!(default_metal_arch(2, Tier::Pro), "applegpu_g14s");
        assert_eq!(default_metal_arch(6, Tier::Base), "applegpu_g18g");
        assert_eq!(default_metal_arch(7, Tier::Ultra), "applegpu_g19d");
    }
}
