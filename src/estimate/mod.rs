//! From a model, a machine and a request to a prediction.

pub mod chance;
pub mod memory;
pub mod prediction;
pub mod request;
pub mod speed;
pub mod subject;

pub use chance::{Outcome, Spread};
pub use memory::Memory;
pub use prediction::{Fidelity, PredictError, Prediction, Settings};
pub use request::{Request, gpu};
pub use speed::{Decode, Engine, Prefill, Speed, SpeedRequest};
pub use subject::{Opened, Sources, Subject, SubjectError};
