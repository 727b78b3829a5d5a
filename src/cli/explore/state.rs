//! What the screen is about, and what keys make of it. Nothing here draws, computes or touches the terminal.

use super::answering::SpeedAt;
use super::choices::Choices;
use super::inquiry::{Inquiry, ModelFacts};
use super::knob::Knob;
use super::line::TypedLine;
use super::picker::Picker;
use super::steps::Direction;
use super::worker::Reply;
use crate::cli::shared::curve::MemoryStack;
use crate::estimate::Prediction;
use std::path::PathBuf;

/// Everything that a frame shows.
#[derive(Debug)]
pub(super) struct ExploreState {
    /// What is asked now.
    pub inquiry: Inquiry,
    /// The number of the newest question.
    pub number: u64,
    /// Whether its answer is still to come, at least in part.
    pub computing: bool,
    /// The newest answer; of an older question while the newest is computed.
    pub answer: Option<ShownAnswer>,
    /// Why the newest question has no answer.
    pub failed: Option<String>,
    /// What is known of the model.
    pub facts: Option<ModelFacts>,
    /// The knob that arrows turn.
    pub at: Knob,
    /// What lies over the screen.
    pub over: Overlay,
    /// The last thing that was done, in words.
    pub told: Option<String>,
    /// What can be chosen.
    pub choices: Choices,
    /// Whether this machine is a Mac.
    pub here: bool,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// Whether a report is being written.
    pub reporting: bool,
}

/// An answer as far as it has come.
#[derive(Debug)]
pub(super) struct ShownAnswer {
    /// The number of its question.
    pub number: u64,
    /// The prediction.
    pub prediction: Box<Prediction>,
    /// The speed over the context, of this question or the one before.
    pub speeds: Vec<SpeedAt>,
    /// The memory over the context, likewise.
    pub memory: Vec<MemoryStack>,
}

/// What lies over the screen.
#[derive(Clone, Debug)]
pub(super) enum Overlay {
    /// Nothing.
    None,
    /// A list to choose from.
    Picker(Picker),
    /// A number that is typed.
    Number(TypedLine),
    /// A text that scrolls.
    Text(ScrolledText),
}

/// A text over the screen, scrolled by lines.
#[derive(Clone, Debug)]
pub(super) struct ScrolledText {
    /// Which.
    pub page: TextPage,
    /// Lines that have gone.
    pub gone: u16,
}

/// The texts that may lie over the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextPage {
    /// The keys.
    Help,
    /// The prediction as `mlxplan predict` prints it.
    Details,
    /// The command that was copied.
    Command,
}

/// What the program has to do after a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Answer the question as it stands now.
    Ask,
    /// Put a text into the clipboard.
    Copy(String),
    /// Write the report.
    Report,
    /// Draw everything anew.
    Redraw,
    /// End.
    Quit,
}

impl ExploreState {
    /// The screen at its start. Where the Mac or the model is not said, it asks.
    pub fn new(inquiry: Inquiry, choices: Choices, here: bool, size: (u16, u16)) -> Self {
        let mut state = Self {
            inquiry,
            number: 0,
            computing: false,
            answer: None,
            failed: None,
            facts: None,
            at: Knob::Context,
            over: Overlay::None,
            told: None,
            choices,
            here,
            size,
            reporting: false,
        };
        state.ask_for_more();
        state
    }

    /// What is not said yet, and cannot be taken for granted.
    fn missing(&self) -> Option<Knob> {
        if !self.here && self.inquiry.machine.is_here() {
            return Some(Knob::Mac);
        }
        self.inquiry.model.is_none().then_some(Knob::Model)
    }

    /// Whether the question can be asked.
    pub fn is_complete(&self) -> bool {
        self.missing().is_none()
    }

    fn ask_for_more(&mut self) {
        if let Some(knob) = self.missing() {
            self.pick(knob);
        }
    }

    /// Opens the list of Macs or of models.
    pub fn pick(&mut self, knob: Knob) {
        self.at = knob;
        self.over = Overlay::Picker(Picker::new(knob, &self.choices));
    }

    /// Takes what was chosen from a list.
    pub fn choose(&mut self, knob: Knob, typed: &str) -> Vec<Effect> {
        self.over = Overlay::None;
        if knob == Knob::Mac {
            self.inquiry.machine = crate::cli::shared::machine_args::MachineArgs {
                mac: Some(typed.to_owned()),
                ..Default::default()
            };
        } else {
            self.inquiry.model = Some(typed.to_owned());
            self.inquiry.quant = None;
            self.inquiry.assume = None;
            self.facts = None;
        }
        self.changed()
    }

    /// Turns a knob.
    pub fn turn(&mut self, knob: Knob, way: Direction) -> Vec<Effect> {
        self.at = knob;
        match self.inquiry.step(knob, way, self.facts.as_ref()) {
            Ok(()) => self.changed(),
            Err(why) => {
                self.told = Some(why.to_owned());
                Vec::new()
            }
        }
    }

    /// Asks anew, or for what is missing.
    pub fn changed(&mut self) -> Vec<Effect> {
        self.told = None;
        self.ask_for_more();
        if !self.is_complete() {
            return Vec::new();
        }
        self.number += 1;
        self.computing = true;
        vec![Effect::Ask]
    }

    /// Takes a reply, unless it is about an older question.
    pub fn take(&mut self, number: u64, reply: Reply) {
        if number != self.number {
            return;
        }
        match reply {
            Reply::Prediction(prediction, facts) => {
                let (speeds, memory) =
                    self.answer.take().map_or_else(Default::default, |a| (a.speeds, a.memory));
                self.answer = Some(ShownAnswer { number, prediction, speeds, memory });
                self.facts = Some(facts);
                self.failed = None;
            }
            Reply::Helped(prediction) => self.with_answer(|a| a.prediction = prediction),
            Reply::Speeds(speeds) => self.with_answer(|a| a.speeds = speeds),
            Reply::Memory(memory) => self.with_answer(|a| a.memory = memory),
            Reply::Done => self.computing = false,
            Reply::Failed(why) => {
                self.failed = Some(why);
                self.computing = false;
            }
        }
    }

    fn with_answer(&mut self, change: impl FnOnce(&mut ShownAnswer)) {
        if let Some(answer) = &mut self.answer {
            change(answer);
        }
    }

    /// Takes what became of a report.
    pub fn reported(&mut self, outcome: Result<PathBuf, String>) {
        self.reporting = false;
        self.told = Some(match outcome {
            Ok(path) => format!("report written: {}", path.display()),
            Err(why) => format!("no report: {why}"),
        });
    }
}

#[cfg(test)]
mod tests;
