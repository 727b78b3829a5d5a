//! Published measurements: reading them, joining them to models and Macs, and comparing predictions with them.

pub mod baselines;
pub mod beyond;
pub mod dataset;
pub mod distributed;
mod engine;
pub mod evaluate;
pub mod fitting;
pub mod held_out;
pub mod import;
pub mod join;
pub mod measurement;
mod peaks;
pub mod score;
pub mod speculation;
pub mod training;
mod users;

pub use evaluate::{FitBasis, MeasuredMetric, Tools, Validation};
pub use join::{Joined, Reason, join};
pub use measurement::{Measurement, ReadError, read};
