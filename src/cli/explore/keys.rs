//! What keys and pastes do.

use super::knob::Knob;
use super::line::TypedLine;
use super::picker::Picker;
use super::state::{Effect, ExploreState, Overlay, ScrolledText, TextPage};
use super::steps::Direction;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Rows of a page.
const PAGE: isize = 10;

impl ExploreState {
    /// Takes what the terminal says.
    pub fn happened(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(key),
            Event::Paste(text) => {
                self.paste(&text);
                Vec::new()
            }
            Event::Resize(columns, rows) => {
                self.size = (columns, rows);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn key(&mut self, key: KeyEvent) -> Vec<Effect> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c' | 'C') => return vec![Effect::Quit],
                KeyCode::Char('l' | 'L') => return vec![Effect::Redraw],
                _ => {}
            }
        }
        match std::mem::replace(&mut self.over, Overlay::None) {
            Overlay::None => self.on_screen(key),
            Overlay::Picker(picker) => self.in_picker(picker, key),
            Overlay::Number(line) => self.in_number(line, key),
            Overlay::Text(text) => {
                self.in_text(text, key);
                Vec::new()
            }
        }
    }

    fn on_screen(&mut self, key: KeyEvent) -> Vec<Effect> {
        if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
            return Vec::new();
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return vec![Effect::Quit],
            KeyCode::Up => self.at = self.at.moved(-2),
            KeyCode::Down => self.at = self.at.moved(2),
            KeyCode::Tab => self.at = self.at.moved(1),
            KeyCode::BackTab => self.at = self.at.moved(-1),
            KeyCode::Right | KeyCode::Char('+' | '=') => return self.turn(self.at, Direction::On),
            KeyCode::Left | KeyCode::Char('-') => return self.turn(self.at, Direction::Back),
            KeyCode::Enter => self.enter(),
            KeyCode::Char(c) if c.is_ascii_digit() && self.at.is_number() => {
                let mut line = TypedLine::default();
                line.push(c);
                self.over = Overlay::Number(line);
            }
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.show(TextPage::Help),
            KeyCode::Char('i') if self.answer.is_some() => self.show(TextPage::Details),
            KeyCode::Char('c') => return self.copy(),
            KeyCode::Char('r') => return self.report(),
            KeyCode::Char(c) => return self.letter(c),
            _ => {}
        }
        Vec::new()
    }

    fn letter(&mut self, letter: char) -> Vec<Effect> {
        match Knob::of_key(letter) {
            Some(knob) if knob.is_picked() => {
                self.pick(knob);
                Vec::new()
            }
            Some(knob) if letter.is_ascii_uppercase() => self.turn(knob, Direction::Back),
            Some(knob) => self.turn(knob, Direction::On),
            None => Vec::new(),
        }
    }

    fn enter(&mut self) {
        match self.at {
            knob if knob.is_picked() => self.pick(knob),
            knob if knob.is_number() => self.over = Overlay::Number(TypedLine::default()),
            _ => self.told = Some("left and right change this".to_owned()),
        }
    }

    fn show(&mut self, page: TextPage) {
        self.over = Overlay::Text(ScrolledText { page, gone: 0 });
    }

    fn copy(&mut self) -> Vec<Effect> {
        if !self.is_complete() {
            return Vec::new();
        }
        self.show(TextPage::Command);
        vec![Effect::Copy(self.inquiry.command())]
    }

    fn report(&mut self) -> Vec<Effect> {
        if !self.is_complete() || self.reporting {
            return Vec::new();
        }
        if self.inquiry.machine.bandwidth.is_some() {
            self.told = Some("no report: a report needs a Mac that has a name".to_owned());
            return Vec::new();
        }
        self.reporting = true;
        self.told = Some("writing the report…".to_owned());
        vec![Effect::Report]
    }

    fn in_picker(&mut self, mut picker: Picker, key: KeyEvent) -> Vec<Effect> {
        if edits(&mut picker.line, key) {
            picker.narrow(&self.choices);
        } else {
            match key.code {
                KeyCode::Esc if self.is_complete() => return Vec::new(),
                KeyCode::Esc => return vec![Effect::Quit],
                KeyCode::Enter => {
                    if let Some(row) = picker.chosen() {
                        let (knob, typed) = (picker.knob, row.typed.clone());
                        return self.choose(knob, &typed);
                    }
                }
                KeyCode::Up => picker.go(-1),
                KeyCode::Down => picker.go(1),
                KeyCode::PageUp => picker.go(-PAGE),
                KeyCode::PageDown => picker.go(PAGE),
                KeyCode::Tab | KeyCode::BackTab => {
                    let other = if picker.knob == Knob::Mac { Knob::Model } else { Knob::Mac };
                    self.pick(other);
                    return Vec::new();
                }
                _ => {}
            }
        }
        self.over = Overlay::Picker(picker);
        Vec::new()
    }

    fn in_number(&mut self, mut line: TypedLine, key: KeyEvent) -> Vec<Effect> {
        if !edits(&mut line, key) {
            match key.code {
                KeyCode::Esc => return Vec::new(),
                KeyCode::Enter => {
                    return match self.inquiry.set(self.at, line.text()) {
                        Ok(()) => self.changed(),
                        Err(why) => {
                            self.told = Some(why);
                            Vec::new()
                        }
                    };
                }
                _ => {}
            }
        }
        self.over = Overlay::Number(line);
        Vec::new()
    }

    /// Scrolls a text, or closes it with any other key.
    fn in_text(&mut self, mut text: ScrolledText, key: KeyEvent) {
        let most = self.scrollable(text.page);
        let by = match key.code {
            KeyCode::Up => -1,
            KeyCode::Down => 1,
            KeyCode::PageUp => -PAGE,
            KeyCode::PageDown | KeyCode::Char(' ') => PAGE,
            KeyCode::Home => isize::MIN,
            KeyCode::End => isize::MAX,
            _ => return,
        };
        let gone = usize::from(text.gone).saturating_add_signed(by);
        text.gone = gone.min(usize::from(most)) as u16;
        self.over = Overlay::Text(text);
    }

    fn paste(&mut self, text: &str) {
        match &mut self.over {
            Overlay::Picker(picker) => {
                picker.line.paste(text);
                picker.narrow(&self.choices);
            }
            Overlay::Number(line) => line.paste(text),
            // Pasted letters are no keys.
            Overlay::None | Overlay::Text(_) => {}
        }
    }
}

/// Changes a line by a key; whether the key was one that does.
fn edits(line: &mut TypedLine, key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('u' | 'U') if control => line.clear(),
        KeyCode::Char('w' | 'W') if control => line.pop_word(),
        KeyCode::Char('h' | 'H') if control => line.pop(),
        KeyCode::Char(_) if control || key.modifiers.contains(KeyModifiers::ALT) => {}
        KeyCode::Char(c) => line.push(c),
        KeyCode::Backspace => line.pop(),
        _ => return false,
    }
    true
}
