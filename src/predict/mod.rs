//! From a model, a machine and a request to a prediction.

pub mod subject;

pub use subject::{Opened, Sources, Subject, SubjectError};
