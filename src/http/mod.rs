//! What everything that speaks HTTP shares: how a client is set up, how an answer is read within bounds, what of an
//! address and of an error is shown, and where a stranger may not send us.

mod address;
mod body;

pub(crate) use address::{is_local, is_loopback, shown};
pub(crate) use body::{ReadProblem, read};

use reqwest::blocking::ClientBuilder;
use std::time::Duration;

/// A client that says who it is, follows no redirect by itself and waits no longer than `silence` for anything; it goes
/// through no proxy where the server is on this machine.
pub(crate) fn client(connect: Duration, silence: Duration, loopback: bool) -> ClientBuilder {
    // Only the first call in a process installs the provider; later ones report that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::blocking::Client::builder()
        .user_agent(concat!("mlxplan/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect)
        .timeout(silence);
    if loopback { builder.no_proxy() } else { builder }
}

/// The innermost causes of an error, which are the telling ones.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(inner) = source {
        texts.push(inner.to_string());
        source = inner.source();
    }
    let last = texts.len().saturating_sub(2);
    let mut shown: Vec<String> = texts.drain(last..).collect();
    shown.dedup();
    shown.join(": ")
}
