//! Recorded and published facts, replayed: readings of Macs, files of models, measurements, claims, runs on this machine.

mod audit;
mod field;
mod fit;
mod probe;
mod profiles;
mod published;
mod servers;
mod sources;
mod validate;
mod why;
mod wide;
mod widths;
