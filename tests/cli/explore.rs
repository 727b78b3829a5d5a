//! `mlxplan explore` on a real pseudo-terminal: the screen, the keys, every way out.

use crate::run;
use crate::terminal::TestTerminal;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

const ASKED: &str = "--model smollm2-135m-4bit --mac m4pro-20/24";

/// The screen with these arguments, on so many columns and rows.
pub fn explore(arguments: &str, size: (u16, u16)) -> TestTerminal {
    explore_with(arguments, &[], size)
}

fn explore_with(arguments: &str, more: &[(&str, &str)], size: (u16, u16)) -> TestTerminal {
    let words = format!("explore --offline {arguments}");
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut variables = vec![("TERM", "xterm-256color"), ("HOME", "/nonexistent")];
    variables.extend(["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HF_HOME"].map(|v| (v, "/nonexistent")));
    variables.extend(more);
    TestTerminal::start(Path::new(env!("CARGO_BIN_EXE_mlxplan")), &words, &variables, size)
}

/// Whether all of an answer is there.
pub fn answered(text: &str) -> bool {
    text.contains("predicted") && text.contains("max context") && !text.contains("computing")
}

#[test]
fn figures_are_those_of_predict() {
    let terminal = explore(ASKED, (120, 40));
    let text = terminal.until("an answer", answered);
    let (_, predicted, _) = run(&format!("predict {ASKED}"));
    let rate = |text: &str| {
        let at = text.find(" tok/s, 80 %").expect("a rate");
        let line = text[..at].rfind('\n').map_or(0, |n| n + 1);
        text[line..at].split_whitespace().last().map(str::to_owned)
    };
    assert_eq!(rate(&text), rate(&predicted), "{text}\n{predicted}");
}

#[test]
fn a_mac_and_a_model_are_chosen_by_typing() {
    let terminal = explore("", (80, 24));
    if !cfg!(target_os = "macos") {
        terminal.until("the list of Macs", |t| t.contains("Which Mac?"));
        terminal.send("m4 pro 20 24\r");
    }
    terminal.until("the list of models", |t| t.contains("Which model?"));
    terminal.send("smollm2 135");
    terminal.until("the model", |t| t.contains("smollm2-135m"));
    terminal.send("\r");
    let text = terminal.until("an answer", answered);
    assert!(text.contains("‹4096›"), "{text}");
    // Every key is answered, and the last one counts.
    terminal.send("xxxxXk");
    terminal.until("another context", |t| {
        t.contains("‹32768›") && t.contains("‹8 bit›") && answered(t)
    });
    terminal.send("u");
    terminal.until("two users", |t| t.contains("of all 2"));
    // A number is typed at the knob that was turned last.
    terminal.send("3\r");
    terminal.until("three users", |t| t.contains("of all 3"));
}

#[test]
fn the_command_goes_to_the_clipboard() {
    let terminal = explore(ASKED, (80, 24));
    terminal.until("an answer", answered);
    terminal.send("c");
    terminal.until("the command", |t| t.contains("mlxplan predict --model smollm2-135m-4bit"));
    let raw = String::from_utf8_lossy(&terminal.raw()).into_owned();
    assert!(raw.contains("\u{1b}]52;c;bWx4cGxhbiBwcmVkaWN0"), "OSC 52");
}

#[test]
fn every_way_out_gives_the_terminal_back() {
    for (out, name) in [("q", "q"), ("\u{1b}", "Esc"), ("\u{3}", "Ctrl-C")] {
        let mut terminal = explore(ASKED, (80, 24));
        terminal.until("a screen", |t| t.contains("mlxplan explore"));
        assert!(!terminal.is_as_before());
        terminal.send(out);
        assert_eq!(terminal.wait().code(), Some(0), "{name}");
        assert!(terminal.is_as_before(), "{name}");
    }
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let mut terminal = explore(ASKED, (80, 24));
        terminal.until("a screen", |t| t.contains("mlxplan explore"));
        // SAFETY: the process is a child of this one that has not been waited for.
        assert_eq!(unsafe { libc::kill(terminal.id(), signal) }, 0);
        let status = terminal.wait();
        assert!(
            status.signal() == Some(signal) || status.code() == Some(130),
            "{signal}: {status}"
        );
        assert!(terminal.is_as_before(), "{signal}");
    }
}

#[test]
fn sizes_change_while_it_runs() {
    let terminal = explore(ASKED, (80, 24));
    terminal.until("an answer", answered);
    terminal.resize(40, 10);
    terminal.until("what is missing", |t| t.contains("needs 60 columns"));
    terminal.resize(120, 40);
    terminal.until("more of it", |t| answered(t) && t.contains("footprint"));
    terminal.resize(60, 20);
    let text = terminal.until("less of it", |t| answered(t) && !t.contains("footprint"));
    assert!(text.lines().all(|l| l.chars().count() <= 60), "{text}");
}

#[test]
fn garbage_and_pastes_do_no_harm() {
    let mut terminal = explore(ASKED, (80, 24));
    terminal.until("an answer", answered);
    // A paste of ten kilobytes with a way out, a report and sequences in it: none of them is a key.
    let paste = "rq\u{3}\u{1b}[31mé日\u{7f}".repeat(800);
    terminal.send(&format!("\u{1b}[200~{paste}\u{1b}[201~"));
    terminal.send("?");
    terminal.until("the help", |t| t.contains("Keys"));
    terminal.send("m");
    terminal.send("m");
    terminal.until("the list", |t| t.contains("Which model?"));
    terminal.send(&format!("\u{1b}[200~{paste}\u{1b}[201~"));
    // Keys that nobody presses: arrows with everything, functions, mice, unknown sequences, broken UTF-8 aside.
    terminal
        .send("\u{1b}[1;8D\u{1b}[24~\u{1b}[<0;1;1M\u{1b}[?1;2c\u{1b}[99;99u\u{2}\u{6}\u{15}日本");
    terminal.until("what was typed", |t| t.contains("日本"));
    terminal.send("\u{3}");
    assert_eq!(terminal.wait().code(), Some(0));
    assert!(terminal.is_as_before());
}

#[test]
fn a_report_is_written_into_this_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    // `env` starts it in the folder.
    let program = env!("CARGO_BIN_EXE_mlxplan");
    let line =
        format!("cd '{}' && exec '{program}' explore --offline {ASKED}", folder.path().display());
    let variables = [("TERM", "xterm"), ("HOME", "/nonexistent")];
    let terminal = TestTerminal::start(Path::new("/bin/sh"), &["-c", &line], &variables, (100, 30));
    terminal.until("an answer", answered);
    terminal.send("r");
    terminal.until("a report", |t| {
        t.contains("report written: ./mlxplan-smollm2-135m-4bit-m4pro-20-24.html")
    });
    let path = folder.path().join("mlxplan-smollm2-135m-4bit-m4pro-20-24.html");
    let page = std::fs::read_to_string(path).expect("the report");
    assert!(page.contains("</html>"));
}

#[test]
fn without_color_nothing_is_colored() {
    for (arguments, variables, colored) in [
        (ASKED.to_owned(), vec![("NO_COLOR", "1")], false),
        (format!("{ASKED} --color never"), vec![], false),
        (ASKED.to_owned(), vec![], true),
    ] {
        let terminal = explore_with(&arguments, &variables, (80, 24));
        terminal.until("an answer", answered);
        let screen = terminal.screen();
        let cells = (0..24).flat_map(|y| (0..80).map(move |x| (y, x)));
        let any = cells
            .filter_map(|(y, x)| screen.cell(y, x))
            .any(|c| c.fgcolor() != vt100::Color::Default);
        assert_eq!(any, colored, "{arguments}");
    }
}

#[test]
fn where_no_screen_can_be_it_says_so() {
    let (code, out, err) = run(&format!("explore {ASKED}"));
    assert_eq!((code, &*out), (2, ""));
    assert!(err.contains("standard output is none") && err.contains("mlxplan predict"), "{err}");
    let (code, _, err) = run(&format!("explore {ASKED} --json"));
    assert!(code == 2 && err.contains("--format"), "{err}");
    for term in ["dumb", ""] {
        let mut terminal = explore_with(ASKED, &[("TERM", term)], (80, 24));
        assert_eq!(terminal.wait().code(), Some(2));
        assert!(terminal.text().contains("TERM"), "{}", terminal.text());
        assert!(terminal.is_as_before());
    }
}
