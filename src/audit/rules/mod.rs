//! The rules, by what they look at.

pub(super) mod group;
pub(super) mod memory;
pub(super) mod method;
pub(super) mod speed;
pub(super) mod training;
