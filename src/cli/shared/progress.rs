//! Progress of anything slow: a bar on standard error, on a terminal only, and never with `--quiet`.

use crate::clean::clean;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// Time between two frames of what moves by itself.
const FRAME: Duration = Duration::from_millis(120);

/// How far something is. Without a terminal it shows nothing.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Progress(ProgressBar);

impl Progress {
    /// So many steps, with the time that is left; `what` stands in front.
    pub fn steps(quiet: bool, what: &str, steps: u64) -> Self {
        Self::new(quiet, what, Some(steps), "{prefix} {wide_bar} {pos}/{len} {msg} {eta}")
    }

    /// Work of unknown length, with the time that it has taken.
    pub fn unknown(quiet: bool, what: &str) -> Self {
        Self::new(quiet, what, None, "{spinner} {prefix} {msg} {elapsed}")
    }

    fn new(quiet: bool, what: &str, steps: Option<u64>, template: &str) -> Self {
        let target = match !quiet && std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(steps, target);
        // The templates are written here and valid; the default style would do as well.
        if let Ok(style) = ProgressStyle::with_template(template) {
            let style = if super::output::is_utf8() {
                style.progress_chars("█▉▊▋▌▍▎▏ ")
            } else {
                style.progress_chars("#- ").tick_chars("|/-\\ ")
            };
            bar.set_style(style);
        }
        bar.set_prefix(clean(what).into_owned());
        bar.enable_steady_tick(FRAME);
        Self(bar)
    }

    /// One more step is done.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// So many of so many steps are done.
    pub fn set(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// What is being done now.
    pub fn say(&self, message: impl Into<String>) {
        self.0.set_message(clean(&message.into()).into_owned());
    }

    /// A line that stays, above the bar; also without a terminal.
    pub fn line(&self, text: &str) {
        self.0.suspend(|| super::output::say(text));
    }
}

/// The bar goes when the work is over; what it did is said elsewhere.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.0.is_finished() {
            return;
        }
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_nothing_is_drawn_and_everything_works() {
        let steps = Progress::steps(false, "reading", 3);
        steps.say("a.safetensors");
        steps.step();
        steps.set(2, 4);
        assert_eq!((steps.0.position(), steps.0.length()), (2, Some(4)));
        assert!(steps.0.is_hidden());
        let unknown = Progress::unknown(true, "thinking");
        unknown.step();
        assert!(unknown.0.is_hidden());
    }
}
