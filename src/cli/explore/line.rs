//! A line that is typed.

use crate::clean::acts;

/// Most characters of a line: names are shorter, and what is pasted by mistake is not.
const LONGEST: usize = 160;

/// A line of text without anything that acts on a terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TypedLine(String);

impl TypedLine {
    /// What was typed.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Adds a character, unless the line is full or the character acts.
    pub fn push(&mut self, c: char) {
        if !acts(c) && !c.is_control() && self.0.chars().count() < LONGEST {
            self.0.push(c);
        }
    }

    /// Adds a text; its breaks become spaces.
    pub fn paste(&mut self, text: &str) {
        // Nothing is gained by reading on: the line is full by then.
        text.chars()
            .take(4 * LONGEST)
            .for_each(|c| self.push(if c.is_whitespace() { ' ' } else { c }));
    }

    /// Takes the last character away.
    pub fn pop(&mut self) {
        self.0.pop();
    }

    /// Takes the last word away.
    pub fn pop_word(&mut self) {
        let kept = self.0.trim_end();
        let end = kept.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        // A white space may take several bytes.
        let end = (end..=kept.len()).find(|at| kept.is_char_boundary(*at)).unwrap_or(0);
        self.0.truncate(end);
    }

    /// Takes all of it away.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_short_line() {
        let mut line = TypedLine::default();
        line.paste("a\u{1b}[31m\nb\t\u{202e}c\u{9b}");
        assert_eq!(line.text(), "a[31m b c");
        line.paste(&"x".repeat(10_000));
        assert_eq!(line.text().chars().count(), LONGEST);
        line.clear();
        line.paste("日本 e\u{301} 👩‍💻");
        line.pop();
        assert!(line.text().starts_with("日本 e\u{301} "));
    }

    #[test]
    fn the_last_word_goes() {
        let mut line = TypedLine::default();
        line.paste("m4 max\u{3000}64  ");
        line.pop_word();
        assert_eq!(line.text(), "m4 max ");
        line.pop_word();
        line.pop_word();
        assert_eq!(line.text(), "");
        line.pop_word();
        assert_eq!(line.text(), "");
    }
}
