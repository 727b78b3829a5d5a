//! `mlxplan explore`: a terminal screen on which a Mac, a model and a run are chosen and the prediction follows.
//!
//! The state knows nothing of the terminal ([`state`], [`keys`]), drawing is a function of the state ([`draw`]), and
//! predictions are made in threads by the estimator of all commands ([`answering`], [`worker`]).

mod answering;
pub(super) mod args;
mod choices;
mod draw;
mod events;
mod inquiry;
mod keys;
mod knob;
mod line;
mod pages;
mod panics;
mod picker;
mod report_file;
mod state;
mod steps;
mod terminal;
mod worker;

pub(in crate::cli) use inquiry::Inquiry;

use super::shared::context::Context;
use super::shared::exit::ExitStatus;
use super::shared::global::Color;
use super::shared::machine_args::MachineArgs;
use super::shared::output::is_utf8;
use crate::report::Format;
use anyhow::{Context as _, Result, bail};
use args::ExploreArgs;
use choices::Choices;
use draw::{Palette, draw};
use events::{Happening, listen};
use signal_hook::low_level::emulate_default_handler;
use state::{Effect, ExploreState};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use terminal::Screen;
use worker::{Sink, Workers};

/// What writes the report of a question into a file.
pub(super) type WriteReport = fn(&Context, &Inquiry, &Path) -> Result<()>;

pub(super) fn run(
    mut context: Context,
    args: &ExploreArgs,
    write_report: WriteReport,
) -> Result<ExitStatus> {
    if context.printer.style.format() != Format::Table || context.printer.output.is_some() {
        bail!(
            "explore draws a screen and answers nothing else; `mlxplan predict` has --format and --output"
        );
    }
    terminal::check(std::env::var("TERM").ok().as_deref())?;
    // Nothing may be said over the screen.
    (context.printer.quiet, context.printer.verbose) = (true, false);
    let palette = Palette { color: has_color(context.printer.style.color()), ascii: !is_utf8() };
    let here = context.machine(&MachineArgs::default()).ok();
    let choices = Choices::new(&context.catalogs, here.as_ref().map(|m| &*m.name))?;
    let (sender, receiver) = channel();
    let context = Arc::new(context);
    let told = sender.clone();
    let sink: Sink = Arc::new(move |number, reply| {
        // Nobody listens any more when the screen is gone.
        let _ = told.send(Happening::Reply(number, reply));
    });
    let workers = Workers::start(Arc::clone(&context), sink).context("cannot start a thread")?;
    panics::keep_the_screen();
    let mut screen = Screen::take().context("cannot draw on this terminal")?;
    listen(&sender).context("cannot listen to keys and signals")?;
    let size = screen.size()?;
    let state = ExploreState::new(args.inquiry(), choices, here.is_some(), size);
    let session = Session { state, palette, workers, context, sender, write_report };
    session.last(&mut screen, &receiver)
}

/// Whether the screen has colors.
fn has_color(asked: Color) -> bool {
    match asked {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
    }
}

/// How the screen ends.
enum Ending {
    /// The user left.
    Left,
    /// A signal.
    Signal(i32),
}

/// A screen with all that moves it.
struct Session {
    state: ExploreState,
    palette: Palette,
    workers: Workers,
    context: Arc<Context>,
    sender: Sender<Happening>,
    write_report: WriteReport,
}

impl Session {
    /// Lasts until the user leaves.
    fn last(mut self, screen: &mut Screen, happenings: &Receiver<Happening>) -> Result<ExitStatus> {
        if self.state.is_complete() {
            let effects = self.state.changed();
            self.all(effects, screen)?;
        }
        loop {
            screen
                .draw(|area, cells| draw(&self.state, self.palette, area, cells))
                .context("the terminal cannot be drawn on any more")?;
            // Whatever has happened by now is one frame.
            let first = happenings.recv().context("nothing is listened to any more")?;
            let mut next = Some(first);
            while let Some(happened) = next {
                if let Some(ending) = self.happened(happened, screen)? {
                    return Ok(end(&ending));
                }
                next = happenings.try_recv().ok();
            }
        }
    }

    fn happened(&mut self, happened: Happening, screen: &mut Screen) -> Result<Option<Ending>> {
        match happened {
            Happening::Terminal(event) => {
                let effects = self.state.happened(event);
                return self.all(effects, screen);
            }
            Happening::Gone(error) => return Err(error).context("the terminal is gone"),
            Happening::Signal(signal) => return Ok(Some(Ending::Signal(signal))),
            Happening::Reply(number, reply) => self.state.take(number, reply),
            Happening::Reported(outcome) => self.state.reported(outcome),
        }
        Ok(None)
    }

    fn all(&mut self, effects: Vec<Effect>, screen: &mut Screen) -> Result<Option<Ending>> {
        for effect in effects {
            match effect {
                Effect::Quit => return Ok(Some(Ending::Left)),
                Effect::Ask => self.workers.ask(self.state.number, self.state.inquiry.clone()),
                Effect::Copy(text) => screen.copy(&text)?,
                Effect::Redraw => screen.forget()?,
                Effect::Report => self.report()?,
            }
        }
        Ok(None)
    }

    /// Writes the report in a thread of its own.
    fn report(&self) -> Result<()> {
        let (context, sender) = (Arc::clone(&self.context), self.sender.clone());
        let (inquiry, write) = (self.state.inquiry.clone(), self.write_report);
        let work = move || {
            let written = panics::caught(|| {
                let path = report_file::path(&inquiry, Path::new("."));
                write(&context, &inquiry, &path)?;
                Ok(path)
            });
            let _ = sender.send(Happening::Reported(written));
        };
        std::thread::Builder::new().name("report".to_owned()).spawn(work)?;
        Ok(())
    }
}

/// Gives the terminal back and ends as the user or the signal wants.
fn end(ending: &Ending) -> ExitStatus {
    terminal::restore();
    match ending {
        Ending::Left => ExitStatus::Ok,
        Ending::Signal(signal) => {
            // Who waits for this program sees which signal ended it.
            let _ = emulate_default_handler(*signal);
            ExitStatus::Interrupted
        }
    }
}
