//! Times of kept caches: copied within memory, read from a disk, written to it.
//!
//! ```text
//! copy  = 2·bytes/(0.75·BW)       a hit in memory: the kept cache is read and a copy of it written
//! load  = bytes/7 GB/s            of one file, from the SSD or the file cache of macOS
//! load  = bytes/0.5 GB/s          of a store of blocks
//! save  = bytes/7 GB/s
//! ```
//! 26 saves and 14 loads of 0.1 to 6.6 GB on an M2 Ultra lie in the ranges (`data/beyond.csv`, topic cache); the lowest
//! rate of a file is that of the SSD of a small Mac, and rates of blocks are those of servers that keep them.

use super::Silicon;
use schemars::JsonSchema;
use serde::Serialize;

/// A rate in bytes per second: lowest, usual, highest.
type Rate = [f64; 3];

/// Seconds: usual, and the ends of the interval that holds nine of ten.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KeptTime {
    /// Seconds.
    pub seconds: f64,
    /// Shortest and longest.
    pub interval_90: [f64; 2],
}

/// Writing a cache to a file.
const SAVE: Rate = [2.8e9, 7.0e9, 7.7e9];
/// Reading it: from the SSD of a small Mac, or while macOS still has the file in memory.
const FILE: Rate = [1.5e9, 7.0e9, 12.0e9];
/// Reading it block by block, and putting the blocks together.
const BLOCKS: Rate = [0.15e9, 0.5e9, 5.0e9];
/// Part of the bus that a copy reaches.
const COPY: Rate = [0.5, 0.75, 0.95];

/// Where a kept cache comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptPlace {
    /// Memory of the program: it is copied, so that the kept one stays.
    Memory,
    /// A file.
    File,
    /// Files of blocks of tokens.
    Blocks,
    /// The cells that the same sequence used: nothing is moved.
    Slot,
}

impl KeptTime {
    fn at(bytes: f64, [low, usual, high]: Rate) -> Self {
        Self { seconds: bytes / usual, interval_90: [bytes / high, bytes / low] }
    }

    /// Seconds until a cache of so many bytes can be used.
    #[must_use]
    pub fn to_use(place: KeptPlace, bytes: u64, silicon: &Silicon) -> Self {
        let bytes = bytes as f64;
        match place {
            KeptPlace::Memory => Self::at(2.0 * bytes, COPY.map(|part| part * silicon.bandwidth)),
            KeptPlace::File => Self::at(bytes, FILE),
            KeptPlace::Blocks => Self::at(bytes, BLOCKS),
            KeptPlace::Slot => Self::default(),
        }
    }

    /// Seconds to write a cache of so many bytes to a file.
    #[must_use]
    pub fn to_save(bytes: u64) -> Self {
        Self::at(bytes as f64, SAVE)
    }
}
