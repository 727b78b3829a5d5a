//! The terminal as the screen takes it, and gives it back however the program ends.

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::Rect;
use std::io::{self, IsTerminal, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the screen has the terminal.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether the screen has the terminal now.
pub(super) fn is_taken() -> bool {
    TAKEN.load(Ordering::SeqCst)
}

/// Refuses what is no terminal on which a screen can be drawn.
pub(super) fn check(term: Option<&str>) -> Result<()> {
    let text = "`mlxplan predict` and `mlxplan recommend` answer in text";
    for (is_terminal, name) in
        [(io::stdout().is_terminal(), "output"), (io::stdin().is_terminal(), "input")]
    {
        if !is_terminal {
            bail!("explore draws on a terminal, and standard {name} is none; {text}");
        }
    }
    match term {
        None | Some("" | "dumb" | "unknown") => {
            let now = term.map_or_else(|| "is not set".to_owned(), |t| format!("is '{t}'"));
            bail!(
                "explore draws all over a terminal, and the variable TERM {now}, so this one cannot; set it to what the \
                 terminal is, such as xterm-256color, or leave it at text: {text}"
            )
        }
        Some(_) => Ok(()),
    }
}

/// The terminal while the screen has it.
pub(super) struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When it does not obey.
    pub fn take() -> io::Result<Self> {
        // In this order: when taking fails half-way, everything is given back.
        TAKEN.store(true, Ordering::SeqCst);
        let taken = enable_raw_mode()
            .and_then(|()| execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, Hide))
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        if taken.is_err() {
            restore();
        }
        taken.map(Self)
    }

    /// Columns and rows.
    ///
    /// # Errors
    /// When the terminal does not tell.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        self.0.size().map(|s| (s.width, s.height))
    }

    /// Draws a frame.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn draw(&mut self, draw: impl FnOnce(Rect, &mut Buffer)) -> io::Result<()> {
        self.0.draw(|frame| draw(frame.area(), frame.buffer_mut())).map(|_| ())
    }

    /// Forgets what is on the terminal, so that the next frame draws all of it.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn forget(&mut self) -> io::Result<()> {
        // Not `Terminal::clear`, which asks the terminal where its cursor is and would miss the answer.
        execute!(io::stdout(), Clear(ClearType::All))?;
        self.0 = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(())
    }

    /// Asks the terminal to put a text into the clipboard of the machine in front of which the user sits.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout();
        out.write_all(clipboard(text).as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// The sequence OSC 52 with a text.
fn clipboard(text: &str) -> String {
    format!("\u{1b}]52;c;{}\u{7}", STANDARD.encode(text))
}

/// Gives the terminal back, once.
pub(super) fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // What cannot be told cannot be mended, either.
        let _ = execute!(io::stdout(), DisableBracketedPaste, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

#[cfg(test)]
mod tests {
    use super::clipboard;

    #[test]
    fn the_clipboard_takes_any_text() {
        assert_eq!(clipboard("ls"), "\u{1b}]52;c;bHM=\u{7}");
        assert_eq!(clipboard("é"), "\u{1b}]52;c;w6k=\u{7}");
    }
}
