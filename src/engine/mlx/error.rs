//! Errors of MLX and of running a model.

use crate::graph::tape::TraceError;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::path::PathBuf;
use std::sync::Once;

/// Why a model cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// MLX refused an operation or failed to evaluate it.
    #[error("MLX failed in {operation}: {message}")]
    Mlx {
        /// What was asked of MLX.
        operation: &'static str,
        /// What MLX said.
        message: String,
    },
    /// The model itself cannot run.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// An operation that this engine cannot execute.
    #[error("the engine cannot execute {0}; please report the model")]
    Unsupported(String),
    /// A folder without a file that is needed.
    #[error("{path}: {reason}")]
    Files {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// More memory than there may be used.
    #[error(
        "this needs {} of memory, more than the {} that may be used; --force runs it nevertheless",
        crate::units::Bytes(*needed), crate::units::Bytes(*limit)
    )]
    Memory {
        /// Bytes needed.
        needed: u64,
        /// Bytes that may be used.
        limit: u64,
    },
    /// A token that the model does not have.
    #[error("the model has the tokens 0 to {}, not {id}; is the tokenizer another model's?", rows.saturating_sub(1))]
    Token {
        /// The token.
        id: u32,
        /// Rows of the table of embeddings.
        rows: u32,
    },
    /// A tensor is missing or has another shape or type than the model needs.
    #[error("{0}")]
    Tensor(String),
}

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

extern "C" fn remember(message: *const c_char, _: *mut c_void) {
    // SAFETY: mlx-c passes a valid string that lives as long as this call.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    LAST.with(|last| *last.borrow_mut() = Some(text));
}

/// Makes MLX report errors to [`last`] instead of ending the process.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // mlx-rs installs its own handler on first use; ours must come after it.
        let _ = super::rs::memory::active_memory();
        // SAFETY: the handler is a function without state.
        unsafe { mlx_sys::mlx_set_error_handler(Some(remember), std::ptr::null_mut(), None) };
    });
}

/// The last error of this thread, as the error of `operation`.
pub(super) fn last(operation: &'static str) -> EngineError {
    let message = LAST.with(|last| last.borrow_mut().take());
    EngineError::Mlx { operation, message: message.unwrap_or_else(|| "no reason given".into()) }
}
