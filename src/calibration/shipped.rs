//! The profiles that people have sent, which every build carries.

use super::Profile;
use std::path::Path;

include!(concat!(env!("OUT_DIR"), "/shipped_profiles.rs"));

/// All of them. The tests see to it that each can be read; what cannot is left out.
#[must_use]
pub fn shipped() -> Vec<Profile> {
    FILES.iter().filter_map(|(name, text)| Profile::parse(Path::new(name), text).ok()).collect()
}
