//! Keys, pastes and replies, one after the other.

use super::*;
use crate::cli::args::{Cli, Command};
use clap::Parser as _;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

fn state(line: &str, here: bool) -> ExploreState {
    let words = format!("mlxplan explore {line}");
    let inquiry = match Cli::try_parse_from(words.split_whitespace()).expect(line).command {
        Some(Command::Explore(args)) => args.inquiry(),
        other => panic!("{other:?}"),
    };
    ExploreState::new(inquiry, Choices::built_in(here.then_some("a Mac")), here, (80, 24))
}

fn press(state: &mut ExploreState, code: KeyCode) -> Vec<Effect> {
    state.happened(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

fn control(state: &mut ExploreState, letter: char) -> Vec<Effect> {
    state.happened(Event::Key(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL)))
}

fn types(state: &mut ExploreState, text: &str) {
    text.chars().for_each(|c| assert_eq!(press(state, KeyCode::Char(c)), [], "{c}"));
}

#[test]
fn what_is_not_said_is_asked_for() {
    let mut state = state("", false);
    assert!(!state.is_complete());
    types(&mut state, "m4 max 40 128");
    assert_eq!(press(&mut state, KeyCode::Enter), [], "there is no model yet");
    assert_eq!(state.inquiry.machine.mac.as_deref(), Some("m4max-40/128"));
    types(&mut state, "qwen3 32b");
    assert_eq!(press(&mut state, KeyCode::Enter), [Effect::Ask]);
    assert_eq!(state.inquiry.model.as_deref(), Some("qwen3-32b"));
    assert!(state.computing && state.number == 1);
    let here = self::state("--model qwen3-8b", true);
    assert!(here.is_complete() && matches!(here.over, Overlay::None));
}

#[test]
fn every_way_out_leaves() {
    for out in [KeyCode::Char('q'), KeyCode::Esc] {
        assert_eq!(press(&mut state("--model x --mac y", false), out), [Effect::Quit]);
    }
    let mut asking = state("", false);
    assert_eq!(press(&mut asking, KeyCode::Char('q')), [], "a letter of a name");
    assert_eq!(press(&mut asking, KeyCode::Esc), [Effect::Quit]);
    let mut help = state("--model x --mac y", false);
    press(&mut help, KeyCode::Char('?'));
    assert_eq!(control(&mut help, 'c'), [Effect::Quit]);
    assert_eq!(press(&mut help, KeyCode::Esc), [], "closes the text");
    assert_eq!(press(&mut help, KeyCode::Esc), [Effect::Quit]);
}

#[test]
fn letters_arrows_and_numbers_change_the_run() {
    let mut state = state("--model x --mac y", false);
    assert_eq!(press(&mut state, KeyCode::Char('x')), [Effect::Ask]);
    assert_eq!(press(&mut state, KeyCode::Char('X')), [Effect::Ask]);
    assert_eq!(state.inquiry.run.context, 4096);
    assert_eq!(press(&mut state, KeyCode::Right), [Effect::Ask], "the knob that was turned last");
    assert_eq!(state.inquiry.run.context, 8192);
    types(&mut state, "100k");
    assert_eq!(press(&mut state, KeyCode::Enter), [Effect::Ask]);
    assert_eq!((state.inquiry.run.context, state.number), (102_400, 4));
    press(&mut state, KeyCode::Enter);
    types(&mut state, "0");
    assert_eq!(press(&mut state, KeyCode::Enter), []);
    assert!(state.told.as_deref().is_some_and(|t| t.contains("from 1 to")), "{:?}", state.told);
    assert_eq!(press(&mut state, KeyCode::Char('f')), [], "no model is open");
    assert!(state.told.is_some());
}

#[test]
fn the_command_is_copied_and_shown() {
    let mut state = state("--model x --mac y --batch 2", false);
    let command = "mlxplan predict --model x --mac y --batch 2".to_owned();
    assert_eq!(press(&mut state, KeyCode::Char('c')), [Effect::Copy(command.clone())]);
    assert_eq!(state.page(TextPage::Command).join(" "), command);
    assert_eq!(press(&mut state, KeyCode::Char('q')), [], "closes the text");
    assert!(matches!(state.over, Overlay::None));
}

#[test]
fn one_report_at_a_time() {
    let mut state = state("--model x --mac y", false);
    assert_eq!(press(&mut state, KeyCode::Char('r')), [Effect::Report]);
    assert_eq!(press(&mut state, KeyCode::Char('r')), []);
    state.reported(Err("the disk is full".to_owned()));
    assert_eq!(state.told.as_deref(), Some("no report: the disk is full"));
    assert_eq!(press(&mut state, KeyCode::Char('r')), [Effect::Report]);
    let mut figures = self::state("--model x --bandwidth 500 --gpu-cores 40 --memory 64", false);
    assert_eq!(press(&mut figures, KeyCode::Char('r')), [], "it has no name to report by");
}

#[test]
fn a_paste_is_no_key() {
    let mut state = state("--model x --mac y", false);
    let garbage = format!("qqq\u{3}\u{1b}[31mrrr{}", "x".repeat(10_000));
    assert_eq!(state.happened(Event::Paste(garbage.clone())), []);
    assert!(matches!(state.over, Overlay::None) && state.number == 0);
    press(&mut state, KeyCode::Char('m'));
    assert_eq!(state.happened(Event::Paste(garbage)), []);
    let Overlay::Picker(picker) = &state.over else { panic!("a list") };
    assert!(picker.line.text().len() < 200 && !picker.line.text().contains('\u{1b}'));
    control(&mut state, 'u');
    state.happened(Event::Paste("qwen3 8b\n".to_owned()));
    let Overlay::Picker(picker) = &state.over else { panic!("a list") };
    assert_eq!(picker.chosen().map(|row| &*row.typed), Some("qwen3-8b"));
}

#[test]
fn old_replies_change_nothing() {
    let mut state = state("--model x --mac y", false);
    state.changed();
    state.changed();
    state.take(1, Reply::Failed("old".to_owned()));
    assert!(state.computing && state.failed.is_none());
    state.take(2, Reply::Failed("new".to_owned()));
    assert!(!state.computing && state.failed.as_deref() == Some("new"));
    state.take(2, Reply::Speeds(Vec::new()));
}

#[test]
fn texts_scroll_within_their_ends() {
    let mut state = state("--model x --mac y", false);
    press(&mut state, KeyCode::Char('?'));
    let most = state.scrollable(TextPage::Help);
    assert!(most > 0);
    for (key, gone) in
        [(KeyCode::End, most), (KeyCode::Down, most), (KeyCode::Home, 0), (KeyCode::Up, 0)]
    {
        press(&mut state, key);
        let Overlay::Text(text) = &state.over else { panic!("a text") };
        assert_eq!(text.gone, gone, "{key:?}");
    }
}
