//! What happens: keys, pastes, sizes, signals, replies. All of it arrives in one channel, so that the screen sleeps until
//! there is something to show.

use super::worker::Reply;
use crate::cli::shared::signals::is_ignored;
use ratatui::crossterm::event::{self, Event};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::thread;

/// Something that happened.
#[derive(Debug)]
pub(super) enum Happening {
    /// The terminal says something.
    Terminal(Event),
    /// The terminal says nothing any more.
    Gone(io::Error),
    /// A signal asks the program to end.
    Signal(i32),
    /// Something is known of a question, by its number.
    Reply(u64, Reply),
    /// A report was written, or not.
    Reported(Result<PathBuf, String>),
}

/// Listens to the terminal and to signals from now on.
///
/// # Errors
/// When the system gives no thread or no signals.
pub(super) fn listen(to: &Sender<Happening>) -> io::Result<()> {
    let signals: Vec<i32> =
        [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|s| !is_ignored(*s)).collect();
    let mut signals = Signals::new(signals)?;
    let told = to.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if told.send(Happening::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    let typed = to.clone();
    thread::Builder::new().name("keys".to_owned()).spawn(move || {
        loop {
            let happened = match event::read() {
                Ok(event) => Happening::Terminal(event),
                Err(error) => {
                    let _ = typed.send(Happening::Gone(error));
                    return;
                }
            };
            if typed.send(happened).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
