//! The texts that may lie over the screen, as lines.

use super::state::{ExploreState, TextPage};
use crate::cli::shared::output::is_utf8;
use crate::report::{Answer, Format, Style};

/// Columns that a frame and margins around a text take, and rows.
pub(super) const AROUND: (u16, u16) = (4, 4);
/// Widest lines of a text.
const WIDEST: u16 = 100;

const HELP: &str = "\
Figures are those of `mlxplan predict`; intervals hold
80 and 90 % of measurements.

a m         choose the Mac, the model: type words of its
            name. Tab: the other list. Names of the hub,
            folders, .gguf files and tags are taken too
up down     go to a setting, Tab too
left right  change it; so do - and +
f x k       format, context, KV cache: the next;
o u e d     output, users, engine, drafts; Shift: back
0-9         type a number: 32k is 32768; Enter takes it

c           copy the command that predicts the same
r           write the report into this folder
i           all of the prediction: doubts, limits, what
            would help
?           this text
q Esc       leave, so does Ctrl-C; Ctrl-L draws anew

The bar is all memory of the Mac. Weights, cache and
work make the peak; macOS and other programs keep the
right end. Users are sequences generated at once; the
tokens per second are of all of them.";

impl ExploreState {
    /// Columns that a text may take.
    pub fn text_width(&self) -> u16 {
        self.size.0.saturating_sub(AROUND.0).clamp(20, WIDEST)
    }

    /// The lines of a text, as wide as the screen allows.
    pub fn page(&self, page: TextPage) -> Vec<String> {
        let width = self.text_width();
        match page {
            TextPage::Help => wrapped(HELP, width),
            TextPage::Command => wrapped(&self.inquiry.command(), width),
            TextPage::Details => self.details(width),
        }
    }

    fn details(&self, width: u16) -> Vec<String> {
        let Some(answer) = &self.answer else { return Vec::new() };
        let style = Style { width, color: false, ascii: !is_utf8() };
        let text = Answer::of(answer.prediction.as_ref().clone()).render(Format::Table, style);
        wrapped(&text.unwrap_or_else(|e| e.to_string()), width)
    }

    /// How many lines of a text do not fit at once.
    pub fn scrollable(&self, page: TextPage) -> u16 {
        let rows = usize::from(self.size.1.saturating_sub(AROUND.1));
        self.page(page).len().saturating_sub(rows).min(usize::from(u16::MAX)) as u16
    }
}

/// A text in lines of a width. Lines that are indented go on indented.
pub(super) fn wrapped(text: &str, width: u16) -> Vec<String> {
    let of = |line: &str| -> Vec<String> {
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        let deep = indent.len() * 2 > usize::from(width);
        let next = if deep { "" } else { &*indent };
        let options = textwrap::Options::new(usize::from(width)).subsequent_indent(next);
        textwrap::wrap(line, options).into_iter().map(|l| l.into_owned()).collect()
    };
    text.lines().flat_map(of).collect()
}
