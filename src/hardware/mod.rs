//! Hardware: the chip and Mac catalogs, machine specifications, the GPU memory limit, and the probe.
//!
//! A [`Machine`] is what the rest of mlxplan plans for. It comes from a specification
//! ([`spec::resolve`]: `m4max-40/128`, `"MacBook Pro 16 M4 Max 64GB"`, `this`), from a [`probe`] of the machine
//! mlxplan runs on, or from figures given by the user ([`CustomMachine`]). Every figure in it says where it came from.
//!
//! ```
//! use mlxplan::hardware::{Macs, spec};
//!
//! let catalog = Macs::embedded();
//! let machine = spec::resolve("M4 Max 40-core 128GB", &catalog)?;
//! assert_eq!(machine.id, "m4max-40/128");
//! assert_eq!(machine.bandwidth.value.gbs(), 546.0);
//! assert_eq!(machine.gpu_limit.bytes.0, 115_448_725_504);
//! # Ok::<(), mlxplan::hardware::SpecError>(())
//! ```

pub mod cap;
pub mod catalog;
pub mod limits;
pub mod machine;
pub mod power;
pub mod probe;
pub mod provenance;
pub mod spec;
pub mod tier;

pub use catalog::{Chip, Mac, MacConfig, Macs, MacsError};
pub use limits::{GpuLimit, MlxLimits};
pub use machine::{CustomMachine, Machine, MachineError};
pub use probe::{Probe, ProbeError};
pub use provenance::{Confidence, Provenance, Sourced};
pub use spec::SpecError;
pub use tier::{ArchClass, Tier};
