//! mlxplan predicts speed, memory and maximum context of language models on Apple Silicon, with error bars.
//!
//! Two objects carry everything. A [`Graph`] is what one forward pass of a model does, operation by operation, symbolic in
//! tokens, depth and batch; weights, cache, traffic, peak memory and execution are readings of it. A [`Run`] is everything
//! else that decides an answer besides the machine: the file that is run, the engine with its settings, and the work. An
//! [`Estimator`] answers a run on any number of machines:
//!
//! ```text
//! name, folder, file, hub ──> OpenedModel (Config, Graph) ─┐
//! file × engine × work    ──> Run                          ─┼─> Estimator(basis).at(Machine) ──> Prediction
//! chips, Macs, limits     ──> Machine                      ─┘
//! ```
//!
//! # A prediction
//!
//! ```
//! use mlxplan::{Basis, Coefficients, Estimator, HubOptions, Macs, Models, Opened, OpenedModel, Run, Sources};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let models = Models::built_in()?;
//! let hub = HubOptions::from_env(&|name| std::env::var_os(name), None);
//! let program = mlxplan::run::Program::MlxLm;
//! let sources = Sources { catalog: &models, hub, progress: &|_| (), assume: None, program };
//! let Opened::Model(model) = OpenedModel::open("qwen3-8b", Some("4bit"), &sources)? else {
//!     return Err("a size class, not a model".into());
//! };
//! let mac = mlxplan::resolve_mac("m4max-40/64", &Macs::embedded())?;
//! let estimator = Estimator::new(Coefficients::embedded()?, &model, Run::default(), Basis::Spec);
//! let prediction = estimator.at(&mac)?;
//! let [low, high] = prediction.decode.interval_90;
//! assert!(low < prediction.decode.tokens_per_s && prediction.decode.tokens_per_s < high);
//! # Ok(())
//! # }
//! ```
//!
//! # The readings of a graph
//!
//! ```
//! use mlxplan::{Config, Graph, Scheme, Weights};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::parse(
//!     r#"{ "model_type": "qwen3", "hidden_size": 2048, "num_hidden_layers": 28, "intermediate_size": 6144,
//!          "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
//!          "max_position_embeddings": 40960, "tie_word_embeddings": true }"#,
//! )?;
//! let graph = Graph::quantized(&config, Scheme::DEFAULT)?;
//! let weights = Weights::of(&graph);
//! let cache = mlxplan::ledger::cache::bytes_after(&graph, &[4096])?;
//! assert_eq!((weights.parameters, cache[0]), (1_720_574_976, 469_762_048));
//! # Ok(())
//! # }
//! ```
//!
//! Bytes are bytes, GB is 1e9 of them and GiB 2^30; times are seconds, rates per second. `docs/architecture.md` in the
//! repository draws the whole and explains its words. Modules that are not shown here serve the program and its tests;
//! they may change at any time.

// No input may end the program with a panic. Where one is impossible, `#[expect]` says why.
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
// Standard error may be closed; writing there must not end the program.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

#[doc(hidden)]
pub mod advise;
#[doc(hidden)]
pub mod audit;
#[doc(hidden)]
pub mod bench;
#[doc(hidden)]
pub mod calibration;
mod chart;
mod clean;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod data_dir;
#[doc(hidden)]
pub mod engine;
pub mod estimate;
mod files;
pub mod graph;
pub mod hardware;
mod http;
pub mod ledger;
pub mod model;
mod report;
pub mod roofline;
pub mod run;
#[doc(hidden)]
pub mod stats;
pub mod units;
#[doc(hidden)]
pub mod validation;
#[doc(hidden)]
pub mod versions;
#[doc(hidden)]
pub mod why;

pub use estimate::memory::{Fit, MaxContext};
pub use estimate::{
    Basis, Decode, EstimateError, Estimator, Fidelity, Figures, Memory, OpenError, Opened,
    OpenedModel, Prediction, Prefill, Sources, Timing, Warning, Widening,
};
pub use graph::{Graph, GraphError};
pub use hardware::Macs;
pub use hardware::machine::Machine;
pub use hardware::spec::resolve as resolve_mac;
pub use ledger::weights::Weights;
pub use model::catalog::Models;
pub use model::source::hub::HubOptions;
pub use model::{Config, ConfigError, DType, Scheme};
pub use roofline::Coefficients;
pub use run::{Program, Run};
pub use units::{Bytes, Seconds, TokensPerSecond};

#[cfg(all(test, feature = "explore"))]
#[path = "../tests/common/terminal.rs"]
mod test_terminal;
