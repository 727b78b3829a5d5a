//! Panics: one on the screen's own thread gives the terminal back before it is told; one elsewhere becomes a text on the
//! screen, which its message would otherwise spoil.

use super::terminal;
use crate::cli::shared::output::error_text;
use anyhow::Result;
use std::panic::{self, AssertUnwindSafe};
use std::thread;

/// From now on panics of this thread restore the terminal, and those of others print nothing.
pub(super) fn keep_the_screen() {
    let (before, own) = (panic::take_hook(), thread::current().id());
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() == own {
            terminal::restore();
            before(info);
        } else if !terminal::is_taken() {
            before(info);
        }
    }));
}

/// What a calculation gives, or the text of its error or of its panic.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T, String> {
    match panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| error_text(&error)),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            let text = text.unwrap_or("no message");
            Err(format!(
                "mlxplan failed in itself: {text}\nhint: `mlxplan doctor` has what a bug report needs; other settings still \
                 work"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{caught, keep_the_screen};
    use crate::cli::explore::terminal::Screen;
    use crate::test_terminal::TestTerminal;
    use anyhow::bail;

    #[test]
    fn errors_and_panics_are_texts() {
        assert_eq!(caught(|| Ok(7)), Ok(7));
        assert_eq!(caught::<()>(|| bail!("no such file")), Err("no such file".to_owned()));
        let told = caught::<()>(|| panic!("lost {}", "count")).expect_err("a panic");
        assert!(told.contains("lost count") && told.contains("doctor"), "{told}");
    }

    #[test]
    #[ignore = "takes the terminal: the next test runs it on one of its own"]
    fn dies_on_the_screen() {
        keep_the_screen();
        let mut screen = Screen::take().expect("a terminal");
        screen
            .draw(|area, cells| cells.set_style(area, ratatui::style::Color::Red))
            .expect("drawn");
        panic!("what happened");
    }

    #[test]
    fn a_panic_gives_the_terminal_back_and_is_told() {
        let program = std::env::current_exe().expect("this test");
        let name = "cli::explore::panics::tests::dies_on_the_screen";
        let arguments = ["--ignored", "--exact", "--nocapture", name];
        let mut terminal =
            TestTerminal::start(&program, &arguments, &[("TERM", "xterm")], (80, 24));
        terminal.until("the message", |text| text.contains("what happened"));
        assert!(!terminal.wait().success());
        assert!(terminal.is_as_before(), "{}", terminal.text());
    }
}
