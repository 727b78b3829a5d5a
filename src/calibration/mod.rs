//! What kernels take on a machine: which are timed, the fit, and the stored profile.
//!
//! A decode step is a list of operations; every operation belongs to a [`Class`] of kernels whose time is linear in a
//! few counts. Calibration times each class over sizes and fits its coefficients; the time of any model's step is then
//! the sum over its trace.

pub mod evidence;
pub mod fidelity;
pub mod fit;
pub mod profile;
pub mod shipped;
pub mod transfer;
pub mod widths;
pub mod work;

pub use fidelity::Fidelity;
pub use fit::{KernelFit, TimedKernel};
pub use profile::{Host, Profile, ProfileError};
pub use work::{Class, KernelWork, decode_work, prefill_work, training_work};
