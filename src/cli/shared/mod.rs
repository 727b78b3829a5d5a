//! What commands share: flags, words and tables, and opening what arguments name. Nothing here knows a command.

pub(in crate::cli) mod caches;
pub(in crate::cli) mod context;
pub(in crate::cli) mod curve;
pub mod draft_args;
pub(in crate::cli) mod drafts;
pub mod engine_args;
pub(in crate::cli) mod evidence;
pub(in crate::cli) mod exit;
pub mod global;
#[cfg(mlx)]
pub(in crate::cli) mod here;
pub(in crate::cli) mod keys;
pub mod limit_args;
pub mod machine_args;
mod named_models;
pub(in crate::cli) mod names;
pub(in crate::cli) mod numbers;
pub(in crate::cli) mod opening;
pub(in crate::cli) mod output;
pub(in crate::cli) mod profiles;
pub(in crate::cli) mod progress;
pub(in crate::cli) mod row_cases;
pub mod run_args;
pub(in crate::cli) mod shipped;
pub(in crate::cli) mod signals;
pub(in crate::cli) mod speculation;
pub(in crate::cli) mod tables;
pub mod training_args;
pub(in crate::cli) mod training_keys;
#[cfg(feature = "explore")]
pub(in crate::cli) mod typed;
pub(in crate::cli) mod updates;
pub(in crate::cli) mod with_mlx;
pub(in crate::cli) mod words;
