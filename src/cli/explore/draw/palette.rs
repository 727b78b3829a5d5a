//! Styles: the sixteen colors of the terminal, which its user has chosen, or none.

use ratatui::style::{Color, Modifier, Style};

/// How the screen looks.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::explore) struct Palette {
    /// Whether there is color.
    pub color: bool,
    /// Whether only ASCII can be shown.
    pub ascii: bool,
}

impl Palette {
    fn colored(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// The title.
    pub fn title(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What matters less.
    pub fn faint(self) -> Style {
        self.colored(Color::DarkGray)
    }

    /// Labels.
    pub fn label(self) -> Style {
        self.colored(Color::Cyan)
    }

    /// Figures that were asked for.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What the arrows turn, and the row of a list.
    pub fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Doubts.
    pub fn warning(self) -> Style {
        self.colored(Color::Yellow)
    }

    /// What was done.
    pub fn told(self) -> Style {
        self.colored(Color::Green)
    }

    /// What fits, may fit, and does not.
    pub fn good(self) -> Style {
        self.colored(Color::Green).add_modifier(Modifier::BOLD)
    }

    /// What may not fit.
    pub fn doubtful(self) -> Style {
        self.colored(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// What does not fit.
    pub fn bad(self) -> Style {
        self.colored(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Weights, also as the middle of a curve.
    pub fn weights(self) -> Style {
        self.colored(Color::Blue)
    }

    /// Caches.
    pub fn cache(self) -> Style {
        self.colored(Color::Magenta)
    }

    /// What else a run needs.
    pub fn work(self) -> Style {
        self.colored(Color::Cyan)
    }

    /// A curve.
    pub fn curve(self) -> Style {
        self.colored(Color::Cyan)
    }

    /// Limits.
    pub fn limit(self) -> Style {
        self.colored(Color::Red)
    }
}
