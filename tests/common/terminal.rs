//! A terminal for programs under test: a pseudo-terminal, and what a real one would show of it.

use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Longest time that anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// A program on a terminal.
pub struct TestTerminal {
    child: Child,
    pty: Arc<Pty>,
    shown: Arc<Mutex<Shown>>,
}

/// What came out of the program.
struct Shown {
    parser: vt100::Parser,
    raw: Vec<u8>,
}

impl Drop for TestTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(dead_code, reason = "each of several tests uses some of it")]
impl TestTerminal {
    /// Starts a program with arguments and nothing but these variables, on so many columns and rows.
    pub fn start(
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
        (columns, rows): (u16, u16),
    ) -> Self {
        let (pty, pts) = open().expect("a pseudo-terminal");
        pty.resize(Size::new(rows, columns)).expect("resized");
        let command = Command::new(program).args(arguments).env_clear().envs(variables.to_vec());
        let child = command.spawn(pts).expect("started");
        let parser = vt100::Parser::new(some(rows), some(columns), 0);
        let shown = Arc::new(Mutex::new(Shown { parser, raw: Vec::new() }));
        let pty = Arc::new(pty);
        let (from, to) = (Arc::clone(&pty), Arc::clone(&shown));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The end of the program is an error on some systems.
            while let Ok(n @ 1..) = (&*from).read(&mut buffer) {
                let mut shown = to.lock().unwrap_or_else(PoisonError::into_inner);
                shown.parser.process(&buffer[..n]);
                shown.raw.extend_from_slice(&buffer[..n]);
            }
        });
        Self { child, pty, shown }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Types a text.
    pub fn send(&self, text: &str) {
        let mut to = &*self.pty;
        to.write_all(text.as_bytes()).expect("typed");
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.shown().parser.screen().contents()
    }

    /// The screen itself.
    pub fn screen(&self) -> vt100::Screen {
        self.shown().parser.screen().clone()
    }

    /// Everything that the program has written.
    pub fn raw(&self) -> Vec<u8> {
        self.shown().raw.clone()
    }

    /// Waits until the screen shows something, and returns all of it.
    pub fn until(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let text = self.text();
            if is_there(&text) {
                return text;
            }
            assert!(start.elapsed() < PATIENCE, "no {what} on the screen:\n{text}");
            thread::sleep(LOOK);
        }
    }

    /// Gives the terminal another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.shown().parser.screen_mut().set_size(some(rows), some(columns));
        self.pty.resize(Size::new(rows, columns)).expect("resized");
    }

    /// The number of the process.
    pub fn id(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits for the end of the program.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("waited") {
                // What it wrote last may still be on its way.
                thread::sleep(10 * LOOK);
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end:\n{}", self.text());
            thread::sleep(LOOK);
        }
    }

    /// Whether the terminal is as programs without a screen leave it: lines are edited and echoed, the cursor shows.
    pub fn is_as_before(&self) -> bool {
        let mut now = std::mem::MaybeUninit::<libc::termios>::zeroed();
        // SAFETY: the descriptor is open, and the call fills the structure it is given.
        let asked = unsafe { libc::tcgetattr(self.pty.as_raw_fd(), now.as_mut_ptr()) };
        // SAFETY: all-zero bytes are a valid value of this plain structure.
        let lines = unsafe { now.assume_init() }.c_lflag;
        let cooked = asked == 0 && lines & libc::ICANON != 0 && lines & libc::ECHO != 0;
        let shown = self.shown();
        let screen = shown.parser.screen();
        cooked && !screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste()
    }
}

/// A size that is not nothing.
fn some(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).expect("at least one")
}
