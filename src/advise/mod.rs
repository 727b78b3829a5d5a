//! Answers built from predictions: what to run on a Mac, and which Mac to run it on.

pub mod check;
pub mod cluster;
pub mod drafts;
pub mod engine_update;
pub mod finetune;
pub mod formats;
pub mod macs;
pub mod money;
pub mod nearest;
pub mod offers;
pub mod picks;
mod popular;
pub mod purchase;
pub mod recommend;
pub mod serving;
pub mod session;
pub mod settings;
pub mod start;
pub mod sweep;
pub mod upgrade;
pub mod use_case;

pub use formats::{Formats, Largest, largest};
pub use macs::{MacChoice, macs_for};
pub use offers::{Offer, offer_for, offers};
pub use recommend::{Candidate, CannotRun, Predicted, Question, by_size, candidates, predictions};
pub use settings::{EngineSettings, usual_repository};
