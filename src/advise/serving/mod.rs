//! Several users at once: how many fit, how fast it is for each, and what a server does under a load.
//!
//! Turns of the server's scheduler ([`replay`]) cost what the one estimator says ([`costs`]).

pub mod answer;
pub mod costs;
pub mod load;
pub mod question;
pub mod replay;
pub mod scheduler;

pub use answer::{
    AtRate, Decides, Knee, KneeCause, LoadVerdict, NewerMlx, Serving, UnderRate, UserRow,
    UsersThatFit,
};
pub use costs::{EstimatedCosts, Pace};
pub use question::{UsersOn, UsersQuestion};
pub use replay::{Demand, ServedDemand, ServedLoad, TurnCosts, serve};
pub use scheduler::{OneAtATime, Scheduler};

#[cfg(test)]
mod tests;
