//! From a model, a machine and a request to a prediction.

pub mod speed;
pub mod subject;

pub use speed::{Decode, Engine, Prefill, Speed, SpeedRequest};
pub use subject::{Opened, Sources, Subject, SubjectError};
