//! Questions: what they are typed as, and how they change.

use super::*;
use crate::cli::args::{Cli, Command};
use clap::Parser as _;

fn inquiry(line: &str) -> Inquiry {
    let words = shlex::split(&format!("mlxplan explore {line}")).expect("words");
    match Cli::try_parse_from(words).expect(line).command {
        Some(Command::Explore(args)) => args.inquiry(),
        other => panic!("{other:?}"),
    }
}

fn facts(base: Option<&str>, quant: &str) -> ModelFacts {
    ModelFacts { base: base.map(str::to_owned), quant: quant.to_owned() }
}

#[test]
fn the_command_means_the_same_again() {
    for line in [
        "--model qwen3-8b --mac m4max-40/64",
        "--model 'a folder/it'\\''s' --bandwidth 546.5 --gpu-cores 40 --memory 128 --assume llama",
        "--model x --mac 'M4 Max 64GB' --context 8192 --generate 64 --batch 4 --images 2@640x480",
        "--model x --kv-bits 8 --prompt-cache 8GB --parallel 4 --prefill-step 512 --reserve 6.5 --quant 6bit",
        "--model x --kv-type q8_0 --gpu-limit 58GiB --budget-memory 24GB --power low --sustained 30",
        "--model x --engine llama.cpp@b9452 --macos 26.2 --nax off --evidence 'my runs.json'",
        "--model x --engine mlx-lm@0.31.3 --mlx 0.32.2 --gpu-limit 49151MiB --prompt-cache 0GB",
        "--model x --draft qwen3-0.6b --acceptance 0.65 --draft-tokens 4",
        "--model x --draft auto --acceptance 0.6..0.85 --draft-tokens auto",
        "--model x --engine lm-studio@2026-06-11 --gpu-limit 12345B --nax on",
    ] {
        let asked = inquiry(line);
        let command = asked.command();
        let again = inquiry(command.strip_prefix("mlxplan predict ").expect("a prediction"));
        assert_eq!(format!("{again:?}"), format!("{asked:?}"), "{command}");
        let words = shlex::split(&command).expect("words");
        assert!(Cli::try_parse_from(words).is_ok(), "predict takes it too: {command}");
    }
    assert_eq!(inquiry("--model qwen3-8b").command(), "mlxplan predict --model qwen3-8b");
}

#[test]
fn numbers_and_the_cache_step() {
    let mut asked = inquiry("--model x --context 5000 --kv-type q4_0");
    let mut turn = |knob, way| asked.step(knob, way, None).expect("turns");
    turn(Knob::Context, Direction::On);
    turn(Knob::Users, Direction::On);
    turn(Knob::Users, Direction::On);
    turn(Knob::Output, Direction::Back);
    turn(Knob::Kv, Direction::Back);
    turn(Knob::Draft, Direction::Back);
    assert_eq!(asked.drafts.draft.as_deref(), Some("mtp"));
    asked.step(Knob::Draft, Direction::On, None).expect("turns");
    assert_eq!(asked.drafts.draft, None);
    let run = &asked.run;
    assert_eq!((run.context, run.batch, run.generate), (8192, 4, 128));
    assert_eq!((run.kv_bits, run.kv_type), (Some(8), None), "from 4 bit back to 8");
    assert!(asked.step(Knob::Mac, Direction::On, None).is_err(), "chosen by typing");
}

#[test]
fn formats_are_those_of_the_program() {
    let mut asked = inquiry("--model qwen3-8b-4bit");
    let known = facts(Some("Qwen/Qwen3-8B"), "affine-4-g64");
    asked.step(Knob::Format, Direction::Back, Some(&known)).expect("known");
    assert_eq!(
        (asked.quant.as_deref(), asked.model.as_deref()),
        (Some("5bit"), Some("Qwen/Qwen3-8B"))
    );
    while !asked.program().runs_gguf() {
        asked.step(Knob::Engine, Direction::On, None).expect("turns");
    }
    assert_eq!(asked.quant, None, "what MLX stores is no GGUF file");
    let known = facts(Some("Qwen/Qwen3-8B"), "gguf-Q4_K_M");
    asked.step(Knob::Format, Direction::Back, Some(&known)).expect("known");
    assert_eq!(asked.quant.as_deref(), Some("Q5_K_M"));
    let files = facts(None, "affine-4-g64");
    let why = asked.step(Knob::Format, Direction::On, Some(&files)).expect_err("files decide");
    assert!(why.contains("files"), "{why}");
    assert!(asked.step(Knob::Format, Direction::On, None).is_err(), "not opened yet");
}

#[test]
fn the_default_engine_is_not_typed() {
    let mut asked = inquiry("--model x --engine mlx-lm@0.31.3 --mlx 0.32.2");
    for _ in Program::ALL {
        asked.step(Knob::Engine, Direction::On, None).expect("turns");
    }
    assert_eq!(asked.command(), "mlxplan predict --model x");
}

#[test]
fn numbers_are_typed_as_people_write_them() {
    let mut asked = inquiry("--model x");
    for (text, tokens) in [("32k", 32_768), ("1,000", 1000), (" 7 ", 7), ("16384K", 16_777_216)] {
        asked.set(Knob::Context, text).expect(text);
        assert_eq!(asked.run.context, tokens);
    }
    for wrong in ["", "0", "k", "-1", "1.5", "99999999999", "16385k", "日本", "4194304k"] {
        let why = asked.set(Knob::Context, wrong).expect_err(wrong);
        assert!(why.contains("16777216"), "{why}");
    }
    assert!(asked.set(Knob::Users, "513").is_err() && asked.set(Knob::Engine, "1").is_err());
}
