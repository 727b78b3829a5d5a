//! Prompts whose caches a server keeps in memory for later requests.

use crate::units::Bytes;

/// Caches of prompts that are kept beside those of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptPrompts {
    /// How many, at most.
    pub entries: u32,
    /// Bytes of all of them, at most; `None` where nothing limits them.
    pub bytes: Option<Bytes>,
    /// Share of the machine's memory that they may take, in percent; `None` where that is no limit.
    pub percent: Option<u8>,
}

impl KeptPrompts {
    /// None at all.
    pub const NONE: Self = Self { entries: 0, bytes: None, percent: None };

    /// Whether none are kept.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.entries == 0 || self.bytes == Some(Bytes::ZERO)
    }

    /// The same on a machine with so much memory: a share of it becomes bytes.
    #[must_use]
    pub fn on(self, memory: Bytes) -> Self {
        let share = self.percent.map(|percent| Bytes(memory.0 / 100 * u64::from(percent)));
        let bytes = match (self.bytes, share) {
            (Some(bytes), Some(share)) => Some(bytes.min(share)),
            (bytes, share) => bytes.or(share),
        };
        Self { bytes, percent: None, ..self }
    }

    /// Bytes of the kept caches where each is as large as `each`.
    #[must_use]
    pub fn total(self, each: Bytes) -> Bytes {
        let all = Bytes(each.0.saturating_mul(u64::from(self.entries)));
        self.bytes.map_or(all, |most| all.min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_bytes_and_a_share_of_memory_limit_what_is_kept() {
        let each = Bytes(1_000);
        let ten = KeptPrompts { entries: 10, ..KeptPrompts::NONE };
        assert_eq!(ten.total(each), Bytes(10_000));
        let few = KeptPrompts { bytes: Some(Bytes(2_500)), ..ten };
        assert_eq!(few.total(each), Bytes(2_500));
        let fifth = KeptPrompts { percent: Some(20), ..few };
        assert_eq!(fifth.on(Bytes(10_000)).total(each), Bytes(2_000));
        assert!(KeptPrompts::NONE.is_none() && !few.is_none());
        assert!(KeptPrompts { bytes: Some(Bytes::ZERO), ..ten }.is_none());
    }
}
