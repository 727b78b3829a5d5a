//! From a model, a machine and a request to a prediction.

pub mod memory;
pub mod request;
pub mod subject;

pub use memory::Memory;
pub use request::{Request, gpu};
pub use subject::{Opened, Sources, Subject, SubjectError};
