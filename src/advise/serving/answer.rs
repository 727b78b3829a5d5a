//! The answer for several users.

use super::scheduler::Scheduler;
use crate::advise::EngineSettings;
use crate::estimate::memory::Fit;
use crate::estimate::{EngineAnswer, ModelAnswer};
use crate::hardware::machine::MachineSummary;
use crate::run::Version;
use crate::units::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// A model for several users at once on a Mac.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Serving {
    /// The model.
    pub model: ModelAnswer,
    /// The machine.
    pub machine: MachineSummary,
    /// The engine.
    pub engine: EngineAnswer,
    /// Whether the engine was not named, and taken because it serves several users.
    pub engine_assumed: bool,
    /// How it serves.
    pub scheduler: Scheduler,
    /// Users that were asked for.
    pub users: u32,
    /// Tokens of each prompt.
    pub prompt_tokens: u32,
    /// Tokens generated for each.
    pub output_tokens: u32,
    /// Tokens per second that each user is to get, where that was asked.
    pub min_tok_s: Option<f64>,
    /// Seconds to the first token that are allowed, where that was asked.
    pub max_ttft_s: Option<f64>,
    /// How many users there can be, and what decides.
    pub fit: UsersThatFit,
    /// 1, 2, 4 … users.
    pub rows: Vec<UserRow>,
    /// Where more users hardly raise the total.
    pub knee: Knee,
    /// What users see when requests arrive at a rate, where one was given.
    pub load: Option<UnderRate>,
    /// The same at other rates, up to the most that the server keeps up with; empty where no rate was given.
    pub by_rate: Vec<AtRate>,
    /// What a newer MLX would change.
    pub update: Option<NewerMlx>,
    /// How to start the server for the users that fit.
    pub settings: Option<EngineSettings>,
    /// Doubts.
    pub warnings: Vec<String>,
    /// What was assumed.
    pub notes: Vec<String>,
}

/// Some users, all of whom send their request at the same time.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize)]
pub struct UserRow {
    /// Users.
    pub users: u32,
    /// How many of them the engine serves at once; the others wait.
    pub at_once: u32,
    /// Generated tokens per second of all together while all generate.
    pub total_tokens_per_s: f64,
    /// The same of each.
    pub per_user_tokens_per_s: f64,
    /// Interval of the total that holds 80 % of measurements.
    pub interval_80: [f64; 2],
    /// Interval of the total that holds 90 % of measurements.
    pub interval_90: [f64; 2],
    /// The same of each.
    pub per_user_interval_90: [f64; 2],
    /// Median time to the first token in seconds.
    pub ttft_median_s: f64,
    /// Its 90 % interval.
    pub ttft_median_interval_90_s: [f64; 2],
    /// Time to the first token that nine of ten stay below, in seconds.
    pub ttft_p90_s: f64,
    /// Its 90 % interval.
    pub ttft_p90_interval_90_s: [f64; 2],
    /// Peak memory.
    pub peak_bytes: u64,
    /// Its 90 % interval.
    pub peak_interval_90_bytes: [Bytes; 2],
    /// Whether it fits.
    pub fits: Fit,
}

/// How many users there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct UsersThatFit {
    /// The least of all: as many can be served.
    pub users: u32,
    /// The same at the unfavorable ends of all intervals.
    pub safe: u32,
    /// Which of them decides.
    pub decides: Decides,
    /// By memory, as expected, up to [`MOST_USERS`].
    pub by_memory: u32,
    /// By memory at the upper end of the interval and the lowest limit.
    pub by_memory_safe: u32,
    /// By the speeds that were asked for, as expected; `null` where none was.
    pub by_speed: Option<u32>,
    /// The same at the slow ends of the intervals.
    pub by_speed_safe: Option<u32>,
    /// At once, by the settings of the engine.
    pub by_engine: u32,
}

/// Users up to which memory is looked at.
pub const MOST_USERS: u32 = 512;

/// What ends the number of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decides {
    /// Memory.
    Memory,
    /// The speeds that were asked for.
    Speed,
    /// The settings of the engine.
    Engine,
}

impl Decides {
    /// The word in sentences.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Speed => "speed",
            Self::Engine => "the engine",
        }
    }
}

/// Where more users hardly raise the total.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct Knee {
    /// Users up to which each adds at least a quarter of what one alone gets.
    pub users: u32,
    /// Tokens per second of all of them together.
    pub total_tokens_per_s: f64,
    /// What the next user costs most; `null` where the total grows as far as the engine serves.
    pub cause: Option<KneeCause>,
    /// The most that any number of users gets together, up to what the engine serves.
    pub most_tokens_per_s: f64,
    /// The fewest users that get nearly as much, 95 %.
    pub most_at: u32,
}

/// What another user costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KneeCause {
    /// Arithmetic: weights are unpacked and multiplied for every sequence.
    Arithmetic,
    /// Further experts are read.
    Experts,
    /// Keys, values and states of every sequence.
    Cache,
    /// The server samples and waits for every sequence.
    Server,
}

impl KneeCause {
    /// The cause in words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Arithmetic => "arithmetic: weights are unpacked and multiplied for every user",
            Self::Experts => "experts: every user needs others",
            Self::Cache => "the cache: keys and values of every user are read in every step",
            Self::Server => "the server: it samples and waits for every user's token",
        }
    }
}

/// What users see when requests arrive independently at a rate.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct UnderRate {
    /// Requests per second, of all users together.
    pub requests_per_s: f64,
    /// Requests that were replayed.
    pub requests: usize,
    /// Whether the queue stays short.
    pub holds: LoadVerdict,
    /// Requests per second from which the queue grows without end.
    pub most_requests_per_s: f64,
    /// Its 90 % interval.
    pub most_requests_interval_90_per_s: [f64; 2],
    /// Median time to the first token in seconds.
    pub ttft_median_s: f64,
    /// With speeds at the ends of their 90 % intervals.
    pub ttft_median_interval_90_s: [f64; 2],
    /// Time to the first token that nine of ten stay below.
    pub ttft_p90_s: f64,
    /// With speeds at the ends of their 90 % intervals.
    pub ttft_p90_interval_90_s: [f64; 2],
    /// Median of the users' tokens per second.
    pub per_user_tokens_per_s: f64,
    /// Tokens per second that nine of ten get at least.
    pub slowest_tenth_tokens_per_s: f64,
    /// With speeds at the ends of their 90 % intervals.
    pub slowest_tenth_interval_90: [f64; 2],
    /// Share of the server's work that is reading prompts.
    pub reading_share: f64,
    /// Prompts read at once that give nine of ten the soonest first token.
    pub prompts_at_once: u32,
    /// The time that nine of ten stay below with that setting.
    pub ttft_p90_then_s: f64,
}

/// What users wait at one rate of requests.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct AtRate {
    /// Requests per second, of all users together.
    pub requests_per_s: f64,
    /// Median time to the first token in seconds.
    pub ttft_median_s: f64,
    /// Time to the first token that nine of ten stay below.
    pub ttft_p90_s: f64,
}

/// Whether a server keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadVerdict {
    /// It does, also at the slow ends of the intervals.
    Holds,
    /// As expected, but not at the slow ends of the intervals.
    Uncertain,
    /// It does not: the queue grows without end.
    Overloaded,
}

/// What a newer MLX would change.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub struct NewerMlx {
    /// The version that was predicted.
    pub from: Version,
    /// The newer one.
    pub to: Version,
    /// Users at which they are compared.
    pub users: u32,
    /// Tokens per second of all together over those of now, less 1.
    pub gain: f64,
}
