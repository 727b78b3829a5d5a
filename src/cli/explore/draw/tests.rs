//! Whole screens, as they were when somebody last looked at them.

use super::*;
use crate::cli::args::{Cli, Command};
use crate::cli::explore::answering::{Answering, drafts, open};
use crate::cli::explore::choices::Choices;
use crate::cli::explore::worker::Reply;
use crate::cli::shared::context::Context;
use clap::Parser as _;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

/// The plain look.
const PLAIN: Palette = Palette { color: false, ascii: false };

/// The screen at its start, and after its question was answered.
fn state(line: &str, size: (u16, u16), answered: bool) -> ExploreState {
    let words = shlex::split(&format!("mlxplan explore --offline {line}")).expect("words");
    let cli = Cli::try_parse_from(words).expect(line);
    let Some(Command::Explore(args)) = cli.command else { panic!("{line}") };
    let context = Context::new(cli.global).expect("a context");
    let choices = Choices::new(&context.catalogs, None).expect("built in");
    let inquiry = args.inquiry();
    let mut state = ExploreState::new(inquiry.clone(), choices, false, size);
    if !answered {
        return state;
    }
    state.changed();
    let number = state.number;
    let model = match open(&context, &inquiry) {
        Ok(model) => model,
        Err(why) => {
            state.take(number, Reply::Failed(format!("{why:#}")));
            return state;
        }
    };
    let drafts = drafts(&context, &inquiry, &model).expect("drafts");
    let answering =
        Answering::new(&context, &inquiry, &model, drafts.as_ref()).expect("a question");
    let prediction = answering.prediction().expect("a prediction");
    let facts = answering.facts(&prediction);
    state.take(number, Reply::Prediction(Box::new(prediction), facts));
    state.take(number, Reply::Speeds(answering.speeds().expect("speeds")));
    state.take(number, Reply::Memory(answering.memory(&|| false).expect("memory")));
    state.take(number, Reply::Done);
    state
}

/// What a terminal shows.
fn shown(state: &ExploreState, palette: Palette) -> String {
    let backend = TestBackend::new(state.size.0, state.size.1);
    let mut terminal = Terminal::new(backend).expect("a terminal");
    terminal.draw(|frame| draw(state, palette, frame.area(), frame.buffer_mut())).expect("drawn");
    terminal.backend().to_string()
}

fn same(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(format!("explore-{name}"), text));
}

const ASKED: &str = "--model qwen3-8b-4bit --mac m4pro-20/24 --context 8192";

#[test]
fn an_answer_at_three_sizes() {
    let mut state = state(ASKED, (80, 24), true);
    for size in [(80, 24), (120, 40), (60, 20)] {
        state.size = size;
        same(&format!("{}x{}", size.0, size.1), &shown(&state, PLAIN));
    }
}

#[test]
fn what_does_not_fit_and_what_has_no_answer() {
    same(
        "too-much",
        &shown(&state("--model llama-3.3-70b-8bit --mac m4pro-20/24", (80, 24), true), PLAIN),
    );
    same(
        "no-answer",
        &shown(&state("--model no-such-model --mac m4pro-20/24", (60, 20), true), PLAIN),
    );
}

#[test]
fn drafts_are_a_line() {
    let asked = "--model qwen3-32b-4bit --mac m4max-40/64 --draft qwen3-0.6b-4bit";
    same("draft", &shown(&state(asked, (80, 24), true), PLAIN));
}

#[test]
fn lists_and_texts() {
    let mut state = state("", (80, 24), false);
    same("macs", &shown(&state, PLAIN));
    "m4 max 128".chars().for_each(|c| press(&mut state, KeyCode::Char(c)));
    same("macs-typed", &shown(&state, PLAIN));
    let mut state = self::state(ASKED, (80, 24), true);
    for (key, name) in [('m', "models"), ('?', "help"), ('i', "details"), ('c', "command")] {
        press(&mut state, KeyCode::Char(key));
        same(name, &shown(&state, PLAIN));
        press(&mut state, KeyCode::Esc);
    }
}

fn press(state: &mut ExploreState, code: KeyCode) {
    state.happened(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
}

#[test]
fn a_small_terminal_is_told_what_is_missing() {
    let state = state("", (59, 20), false);
    assert!(shown(&state, PLAIN).contains("60 columns and 20 rows"));
    for (width, height) in [(1, 1), (0, 0), (7, 3), (59, 200), (300, 19)] {
        let area = Rect::new(0, 0, width, height);
        draw(&state, PLAIN, area, &mut Buffer::empty(area));
    }
}

#[test]
fn every_size_can_be_drawn() {
    let mut answered = state(ASKED, (80, 24), true);
    for size in [(60, 20), (61, 21), (79, 23), (100, 20), (60, 60), (200, 50), (500, 100)] {
        answered.size = size;
        for key in ['z', '?', 'i', 'c', 'm', 'a'] {
            press(&mut answered, KeyCode::Char(key));
            shown(&answered, PLAIN);
            press(&mut answered, KeyCode::Esc);
            answered.over = Overlay::None;
        }
    }
}

#[test]
fn without_colors_and_without_unicode() {
    let state = state(ASKED, (80, 24), true);
    let area = Rect::new(0, 0, 80, 24);
    let mut cells = Buffer::empty(area);
    draw(&state, Palette { color: false, ascii: true }, area, &mut cells);
    for cell in &cells.content {
        assert!(cell.symbol().is_ascii(), "{:?}", cell.symbol());
        assert_eq!(cell.fg, ratatui::style::Color::Reset, "{:?}", cell.symbol());
        assert_eq!(cell.bg, ratatui::style::Color::Reset);
    }
    // Every sign that the screen draws stands for something.
    let mut signs = Buffer::empty(area);
    draw(&state, PLAIN, area, &mut signs);
    for (plain, sign) in cells.content.iter().zip(&signs.content) {
        assert!(plain.symbol() != "?" || sign.symbol() == "?", "{:?}", sign.symbol());
    }
    let mut colored = Buffer::empty(area);
    draw(&state, Palette { color: true, ascii: false }, area, &mut colored);
    assert!(colored.content.iter().any(|c| c.fg != ratatui::style::Color::Reset));
}

#[test]
fn names_of_others_are_shown_by_their_columns() {
    let mut state = state("", (60, 20), false);
    state.happened(Event::Paste("日本語モデル👩‍💻e\u{301}".repeat(9)));
    assert!(shown(&state, PLAIN).contains('日'));
    press(&mut state, KeyCode::Enter);
    press(&mut state, KeyCode::Esc);
    state.over = Overlay::None;
    let text = shown(&state, PLAIN);
    assert!(text.contains('日') && text.contains('…'), "{text}");
}
