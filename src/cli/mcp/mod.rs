//! `mlxplan mcp`: the planner as tools of an agent, over standard input and output (Model Context Protocol).
//!
//! A tool is a command of the command line: its arguments are the command's flags, its answer the same object.

mod argument_schema;
mod arguments;
mod prompts;
mod server;
mod tools;
mod transport;

use super::shared::exit::ExitStatus;
use super::shared::global::Global;
use anyhow::{Context as _, Result};
use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use server::McpServer;
use std::time::Duration;
use transport::Patient;

/// Calls that are answered at once, each in a thread; more of them wait.
const CALLS: usize = 4;
/// Threads that read the input and write the output. Were they taken by calls, nothing would be answered before all have begun.
const STREAMS: usize = 2;
/// Stack of a thread that answers, bytes: as much as the main thread of a command has.
const STACK_BYTES: usize = 8 << 20;
/// How long answers may still take when nobody reads them.
const GRACE: Duration = Duration::from_millis(100);

/// Serves until standard input ends.
///
/// # Errors
/// Data of the user's that cannot be read, or a system that gives no threads.
pub(super) fn run(global: Global) -> Result<ExitStatus> {
    let server = McpServer::new(global, CALLS)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(CALLS + STREAMS)
        .thread_stack_size(STACK_BYTES)
        .build()
        .context("cannot start the server")?;
    let served = runtime.block_on(async {
        match server.serve(Patient::new()).await {
            Ok(running) => running.waiting().await.map(drop).context("the server stopped"),
            // The client went away before it said anything.
            Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
            Err(error) => Err(error).context("the client did not open a session"),
        }
    });
    runtime.shutdown_timeout(GRACE);
    served.map(|()| ExitStatus::Ok)
}
