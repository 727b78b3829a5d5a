//! Models that are on this machine.

use crate::model::source::cache::{CacheRoots, Discovery, discover};

/// The models in the folders of Hugging Face, LM Studio and Ollama.
pub(in crate::cli) fn cached() -> Discovery {
    let home = std::env::home_dir();
    discover(&CacheRoots::from_env(&|name| std::env::var_os(name), home.as_deref()))
}
