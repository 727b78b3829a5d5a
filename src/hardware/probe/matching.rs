//! Which bin of the catalog a probed machine is.

use super::super::catalog::Chip;
use super::super::tier::Tier;

/// What the catalog says to a brand string, a number of GPU cores and a memory size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BinMatch<'c> {
    /// Brand, GPU cores and memory are those of this bin.
    Exact(&'c Chip),
    /// Brand and GPU cores are those of this bin; its memory options do not list this size.
    OtherMemory(&'c Chip),
    /// The GPU cores could not be read, but only this bin is sold with this memory.
    OnlyWithMemory(&'c Chip),
    /// The brand is known, but no bin has these GPU cores, or several fit what could be read.
    UnknownBin,
    /// No chip has this brand.
    UnknownChip,
}

impl<'c> BinMatch<'c> {
    /// Finds the bin.
    #[must_use]
    pub fn find(
        chips: &'c [Chip],
        brand: &str,
        gpu_cores: Option<u32>,
        memory_gib: Option<u64>,
    ) -> Self {
        let bins: Vec<&Chip> = chips.iter().filter(|chip| chip.brand_string == brand).collect();
        if bins.is_empty() {
            return Self::UnknownChip;
        }
        let offers = |chip: &Chip| memory_gib.is_some_and(|gib| chip.memory_gib.contains(&gib));
        if let Some(cores) = gpu_cores {
            let mut bins = bins.into_iter().filter(|chip| chip.gpu_cores == cores);
            return match bins.next() {
                Some(first) => match std::iter::once(first).chain(bins).find(|chip| offers(chip)) {
                    Some(chip) => Self::Exact(chip),
                    None => Self::OtherMemory(first),
                },
                None => Self::UnknownBin,
            };
        }
        let fitting: Vec<&Chip> = bins.into_iter().filter(|chip| offers(chip)).collect();
        match fitting.as_slice() {
            [only] => Self::OnlyWithMemory(only),
            _ => Self::UnknownBin,
        }
    }

    /// The bin, if one was found.
    #[must_use]
    pub const fn chip(self) -> Option<&'c Chip> {
        match self {
            Self::Exact(chip) | Self::OtherMemory(chip) | Self::OnlyWithMemory(chip) => Some(chip),
            Self::UnknownBin | Self::UnknownChip => None,
        }
    }
}

/// Family number and tier from a brand string: `Apple M7 Max` is `(7, Max)`, whether or not the catalog has it.
#[must_use]
pub fn family_of(brand: &str) -> Option<(u32, Tier)> {
    let mut words = brand.strip_prefix("Apple M")?.split_whitespace();
    let generation = words.next()?.parse().ok()?;
    let tier = match words.next() {
        None => Tier::Base,
        Some(word) => word.to_lowercase().parse().ok()?,
    };
    Some((generation, tier))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::Macs;

    #[test]
    fn bins_are_told_apart_by_cores_then_memory() {
        let catalog = Macs::embedded();
        let chips = catalog.chips().unwrap();
        let find = |brand, cores, gib| BinMatch::find(chips, brand, cores, gib);
        let id = |found: BinMatch<'_>| found.chip().map(|chip| chip.id.clone());
        let exact = find("Apple M4 Max", Some(32), Some(36));
        assert!(matches!(exact, BinMatch::Exact(_)));
        assert_eq!(id(exact).as_deref(), Some("m4max-32"));
        let other = find("Apple M4 Max", Some(40), Some(96));
        assert!(matches!(other, BinMatch::OtherMemory(_)));
        assert_eq!(id(other).as_deref(), Some("m4max-40"));
        let only = find("Apple M4 Max", None, Some(64));
        assert!(matches!(only, BinMatch::OnlyWithMemory(_)));
        assert_eq!(find("Apple M2 Ultra", None, Some(64)), BinMatch::UnknownBin);
        assert_eq!(find("Apple M4 Max", Some(38), Some(64)), BinMatch::UnknownBin);
        assert_eq!(find("Apple M4 Max", None, None), BinMatch::UnknownBin);
        assert_eq!(find("Apple M7", Some(14), Some(16)), BinMatch::UnknownChip);
    }

    #[test]
    fn families_are_read_from_brands() {
        assert_eq!(family_of("Apple M7"), Some((7, Tier::Base)));
        assert_eq!(family_of("Apple M12 Ultra"), Some((12, Tier::Ultra)));
        for other in
            ["Apple A18 Pro", "Apple M", "Apple Mx", "Apple M4 Turbo", "Intel(R) Core(TM) i9"]
        {
            assert_eq!(family_of(other), None, "{other}");
        }
    }
}
