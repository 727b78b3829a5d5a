//! Choosing a Mac or a model by typing.

use super::choices::{Choices, Offered};
use super::knob::Knob;
use super::line::TypedLine;

/// A list that a text narrows, with one row chosen.
#[derive(Clone, Debug)]
pub(super) struct Picker {
    /// What is chosen: the Mac or the model.
    pub knob: Knob,
    /// What was typed.
    pub line: TypedLine,
    /// The rows.
    pub rows: Vec<PickerRow>,
    /// The chosen row.
    pub at: usize,
}

/// A row of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PickerRow {
    /// As the command line takes it.
    pub typed: String,
    /// What it is.
    pub name: String,
}

impl From<&Offered> for PickerRow {
    fn from(offered: &Offered) -> Self {
        Self { typed: offered.typed.clone(), name: offered.name.clone() }
    }
}

impl Picker {
    /// A list with nothing typed.
    pub fn new(knob: Knob, choices: &Choices) -> Self {
        let mut picker = Self { knob, line: TypedLine::default(), rows: Vec::new(), at: 0 };
        picker.narrow(choices);
        picker
    }

    /// Finds the rows anew. What was typed can be taken as it stands: names of the hub, folders, files, formats.
    pub fn narrow(&mut self, choices: &Choices) {
        let text = self.line.text().trim();
        self.rows = choices.found(self.knob, text).into_iter().map(PickerRow::from).collect();
        self.at = 0;
        if text.is_empty() || self.rows.iter().any(|row| row.typed.eq_ignore_ascii_case(text)) {
            return;
        }
        let as_typed = PickerRow { typed: text.to_owned(), name: "as typed".to_owned() };
        // Letters that only stand somewhere are a guess; what was typed is not.
        let at = if choices.has(self.knob, text) { self.rows.len() } else { 0 };
        self.rows.insert(at, as_typed);
    }

    /// Goes so many rows down, or up.
    pub fn go(&mut self, rows: isize) {
        let last = self.rows.len().saturating_sub(1);
        self.at = self.at.saturating_add_signed(rows).min(last);
    }

    /// The chosen row.
    pub fn chosen(&self) -> Option<&PickerRow> {
        self.rows.get(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Picker {
        let choices = Choices::built_in(None);
        let mut picker = Picker::new(Knob::Model, &choices);
        picker.line.paste(text);
        picker.narrow(&choices);
        picker
    }

    #[test]
    fn what_was_typed_can_be_taken_as_it_stands() {
        let known = typed("qwen3 32b");
        assert_eq!(known.chosen().map(|r| &*r.typed), Some("qwen3-32b"));
        assert_eq!(known.rows.last().map(|r| &*r.name), Some("as typed"));
        let other = typed("hf:some/Repository-8bit");
        assert_eq!(other.chosen().map(|r| &*r.typed), Some("hf:some/Repository-8bit"));
        let exact = typed("qwen3-32b");
        assert!(exact.rows.iter().all(|r| r.name != "as typed"));
    }

    #[test]
    fn no_step_leaves_the_rows() {
        let mut picker = typed("");
        picker.go(-5);
        assert_eq!(picker.at, 0);
        picker.go(100_000);
        assert_eq!(picker.at, picker.rows.len() - 1);
        let mut none = Picker { rows: Vec::new(), ..picker };
        none.go(1);
        assert!(none.at == 0 && none.chosen().is_none());
    }
}
