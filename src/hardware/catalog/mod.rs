//! The catalogs of chips, Macs and GPU memory limits: embedded data, and files of the user laid over it.
//!
//! Each file is parsed when it is first asked for. In a folder of [`DataDirs`], `chips.toml`, `macs.toml` and
//! `gpu_memory_limits.toml` have the format of the embedded files; an entry with a known id needs only the keys that
//! change, an entry with a new id needs all of them. A limit is known by memory size and rule, and replaced as a whole.
//!
//! `prices.toml` holds the user's own prices:
//!
//! ```toml
//! [[price]]
//! mac = "studio-m4max-40-2025"     # id of the Mac
//! memory_gib = 128
//! ssd_gb = 512                     # may be left out when the Mac has one configuration with this memory
//! usd_now = 2899
//! source = "refurbished store, 2026-11-20"   # optional
//! ```

mod chip;
pub(crate) mod document;
mod gpu_limit;
mod mac;
mod price;

use std::sync::OnceLock;

use crate::data_dir::DataDirs;
use document::{TomlFile, sources};

pub use chip::Chip;
pub use document::{MacsError, Problem};
pub use gpu_limit::{LimitBasis, LimitEntry, LimitRule};
pub use mac::{Mac, MacConfig, Status};

const CHIPS: &str = include_str!("../../../data/chips.toml");
const MACS: &str = include_str!("../../../data/macs.toml");
const LIMITS: &str = include_str!("../../../data/gpu_memory_limits.toml");

/// Date of the public knowledge in the embedded catalogs.
pub const AS_OF: &str = "2026-10-10";

type Lazy<T> = OnceLock<Result<Vec<T>, MacsError>>;

/// The hardware catalogs. Cheap to make; each catalog is parsed on first use.
#[derive(Debug, Default)]
pub struct Macs {
    dirs: DataDirs,
    chips: Lazy<Chip>,
    macs: Lazy<Mac>,
    limits: Lazy<LimitEntry>,
}

impl Macs {
    /// Only the embedded data.
    #[must_use]
    pub fn embedded() -> Self {
        Self::default()
    }

    /// The embedded data with the files of these folders laid over it.
    #[must_use]
    pub fn new(dirs: DataDirs) -> Self {
        Self { dirs, ..Self::default() }
    }

    /// All chips, in the order of the files.
    ///
    /// # Errors
    /// When a data file cannot be read or has problems; all problems of the file are listed.
    pub fn chips(&self) -> Result<&[Chip], MacsError> {
        lazily(&self.chips, |problems| {
            Ok(chip::read(&self.sources("chips.toml", CHIPS)?, problems))
        })
    }

    /// All Macs, in the order of the files, with the prices of `prices.toml` laid over them.
    ///
    /// # Errors
    /// As [`Macs::chips`].
    pub fn macs(&self) -> Result<&[Mac], MacsError> {
        lazily(&self.macs, |problems| {
            let chips = self.chips()?;
            let mut macs = mac::read(&self.sources("macs.toml", MACS)?, chips, problems);
            price::apply(&sources("prices.toml", None, &self.dirs)?, &mut macs, problems);
            Ok(macs)
        })
    }

    /// The observed default GPU memory limits, by ascending memory size.
    ///
    /// # Errors
    /// As [`Macs::chips`].
    pub fn limits(&self) -> Result<&[LimitEntry], MacsError> {
        lazily(&self.limits, |problems| {
            Ok(gpu_limit::read(&self.sources("gpu_memory_limits.toml", LIMITS)?, problems))
        })
    }

    /// The chip with this id.
    ///
    /// # Errors
    /// As [`Macs::chips`].
    pub fn chip(&self, id: &str) -> Result<Option<&Chip>, MacsError> {
        Ok(self.chips()?.iter().find(|chip| chip.id == id))
    }

    /// The Mac with this id.
    ///
    /// # Errors
    /// As [`Macs::chips`].
    pub fn mac(&self, id: &str) -> Result<Option<&Mac>, MacsError> {
        Ok(self.macs()?.iter().find(|mac| mac.id == id))
    }

    fn sources(&self, name: &str, text: &'static str) -> Result<Vec<TomlFile>, MacsError> {
        Ok(sources(name, Some(text), &self.dirs)?)
    }
}

fn lazily<T>(
    cell: &Lazy<T>,
    read: impl FnOnce(&mut Vec<Problem>) -> Result<Vec<T>, MacsError>,
) -> Result<&[T], MacsError> {
    let result = cell.get_or_init(|| {
        let mut problems = Vec::new();
        let entries = read(&mut problems)?;
        if problems.is_empty() { Ok(entries) } else { Err(MacsError::Invalid(problems.into())) }
    });
    result.as_deref().map_err(Clone::clone)
}

#[cfg(test)]
mod tests;
