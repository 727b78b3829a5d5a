//! Files that the user names: read within bounds, written whole or not at all.
//!
//! Both directions refuse to be surprised by what stands behind a name. Reading takes regular files only, since a pipe
//! or a device may never end; writing replaces regular files and writes through everything else.

mod read;
mod write;

pub use read::{bytes, open, text};
pub use write::{write, write_new};
