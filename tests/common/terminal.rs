//! A terminal for programs under test: a pseudo-terminal, and what a real one would show of it.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
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
    pty: Arc<File>,
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
        let (pty, its) = pair(columns, rows);
        let end = || its.try_clone().expect("another descriptor");
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(variables.to_vec());
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: both calls are allowed between fork and exec.
        unsafe { command.pre_exec(control) };
        let child = command.spawn().expect("started");
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
        let size = size(columns, rows);
        // SAFETY: the descriptor is open, and the call reads the structure it is given.
        let done = unsafe { libc::ioctl(self.pty.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(done, 0, "resized");
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

/// A pseudo-terminal: our end and that of a program.
fn pair(columns: u16, rows: u16) -> (File, OwnedFd) {
    let (mut ours, mut its, mut size) = (-1, -1, size(columns, rows));
    let none = std::ptr::null_mut();
    // SAFETY: the call writes two descriptors and reads the size; it gets no name and no settings.
    let done = unsafe {
        libc::openpty(&raw mut ours, &raw mut its, none, std::ptr::null_mut(), &raw mut size)
    };
    assert_eq!(done, 0, "a pseudo-terminal");
    // SAFETY: the call succeeded, so both are open and nobody else's.
    let (ours, its) = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(its)) };
    // Programs get copies of theirs as standard input and output, and nothing else.
    for end in [ours.as_raw_fd(), its.as_raw_fd()] {
        // SAFETY: the descriptor is open.
        let done = unsafe { libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC) };
        assert_eq!(done, 0, "closed in programs");
    }
    (ours, its)
}

fn size(columns: u16, rows: u16) -> libc::winsize {
    libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Makes the terminal on standard input the one that the program is controlled by.
fn control() -> std::io::Result<()> {
    // SAFETY: neither call touches memory.
    let done = unsafe { libc::setsid() != -1 && libc::ioctl(0, libc::TIOCSCTTY, 0) != -1 };
    if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// A size that is not nothing.
fn some(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).expect("at least one")
}
